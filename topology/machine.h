// The machine as the price model sees it: hosts, cores and costs per class of link.
//
// Threads    Pure, but for reading the number of cores.

#pragma once

#include <string>
#include <vector>

#include "gossamer/types.h"
#include "src/price.h"

namespace gossamer {

// Cores that this process may run on.
int usable_cores();

// `ranks` on this one host over `transport` ("shm", "tcp", "loopback").
Machine default_machine(Rank ranks, const std::string& transport = "shm");

// One entry per rank, in rank order: on which host it runs. Hosts are numbered in order of their
// first rank.
Machine machine_of(const std::vector<std::string>& host_per_rank, int cores_per_host,
                   const std::string& transport);

}  // namespace gossamer
