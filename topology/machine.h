// The machine as the price model sees it: hosts, cores and costs per class of link.
//
// Threads    Pure, but for looking at this host.

#pragma once

#include <string>
#include <vector>

#include "gossamer/types.h"
#include "src/price.h"

namespace gossamer {

// Cores that the calling thread may run on.
int usable_cores();

// Their numbers, as text that ranks exchange: "0-3,8".
std::string usable_core_numbers();
// Cores that are in any of such texts. Malformed parts count for nothing, and there is at least
// one.
int cores_in_any(const std::vector<std::string>& core_numbers);

// What of a host decides prices. Ranks take the least of all hosts, so that they agree.
struct HostSize {
  int cores = 1;
  uint64_t cache_bytes = 0;  // last level, all of the host
};
HostSize this_host();

// What devices say of the links between ranks; 0: not known, the transport's usual cost holds.
struct LinkSpeed {
  double bytes_per_us = 0;  // one way
  double message_us = 0;    // processor time of a message at each end, beyond its bytes
  double byte_us = 0;       // processor time of a byte at each end
  double fold_byte_us = 0;  // and more, of a byte that is folded on arrival
};

// `ranks` on this one host over `transport` ("shm", "tcp", "ucx", "ucx+shm", "verbs", "loopback").
Machine default_machine(Rank ranks, const std::string& transport = "shm");

// One entry per rank, in rank order: on which host it runs. Hosts are numbered in order of their
// first rank. `inside` and `between` hosts: the transports; `speed`: of links that cross a device,
// which those inside a host do over verbs alone.
Machine machine_of(const std::vector<std::string>& host_per_rank, const HostSize& host,
                   const std::string& inside, const std::string& between,
                   const LinkSpeed& speed = {});

}  // namespace gossamer
