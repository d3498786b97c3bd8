// Prices a schedule: predicted time from measured costs, which is how the planner chooses.
//
// Per rank three clocks: transmit port, receive port, arithmetic (LogGP; Alexandrov et al., "LogGP:
// Incorporating Long Messages into the LogP Model", SPAA 1995). Ranks of one host that outnumber
// its cores share them: their processor time adds up, and every wait that must hand the core to
// another rank costs a switch. The ranks of a host share its port to the other hosts. Congestion
// inside a network switch is outside the model.
//
// Threads    Pure.
// Units      Microseconds, bytes.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/schedule.h"

namespace gossamer {

// One class of link, from one rank to another.
struct LinkCost {
  double latency_us = 1;        // alpha: from send to arrival, of an empty message
  double overhead_us = 0.1;     // processor time per message at each end
  double send_us_per_byte = 0;  // processor time of the sender per byte (staging copy, syscall)
  double recv_us_per_byte = 0;  // processor time of the receiver per byte (copy out)
  double wire_us_per_byte = 0;  // beta: occupancy of the port per byte
  double fold_us_per_byte = 0;  // more of the receiver's for a byte that is folded on arrival
  bool lends = false;  // what is not eager is read where it lies until it has left (no staging)
  // A message longer than this has left the cache before its receiver gets to it: processor time
  // more for each byte beyond, at both ends.
  double long_bytes = 1e18;
  double long_us_per_byte = 0;
};

// The machine as the model sees it. Identical on every rank (exchanged at creation), so every rank
// chooses the same.
struct Machine {
  std::vector<Rank> host_of;  // per rank, ascending from 0
  int cores_per_host = 1;
  double switch_us = 1.2;       // handing a core to another rank
  double fold_us_per_byte = 0;  // gamma, in cache
  double copy_us_per_byte = 0;
  double memory_us_per_byte = 0;  // beyond the cache: every byte read or written, shared by a host
  double cache_bytes = 32e6;      // of a host
  double step_us = 0.03;          // engine overhead
  LinkCost same_host;
  LinkCost other_host;

  const LinkCost& link(Rank a, Rank b) const {
    return host_of[static_cast<size_t>(a)] == host_of[static_cast<size_t>(b)] ? same_host
                                                                              : other_host;
  }
};

struct Call {
  Collective collective = Collective::kAllReduce;
  DataType type = DataType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  uint64_t count = 0;
  bool in_place = false;
  // Every link completes a send of at most this many bytes without its receive (the least over
  // all links, the same on every rank). In place, small exchanges then need no scratch.
  uint64_t eager_bytes = 0;
  Rank root = 0;  // broadcast, reduce, gather, scatter
  // Collectives that have a graph: which, its round (Graph::position), and who exchanges with whom
  // in it. Calls of one graph and round have equal matrices.
  uint64_t graph = 0;
  uint64_t round = 0;
  const Mixing* mixing = nullptr;
  // Calls whose codes travel: the codec, which need not outlive the plan, and its identity.
  const Codec* codec = nullptr;
  uint64_t codec_identity = 0;
};

// Predicted microseconds of `algorithm` cut into `pieces`. Infinity when it does not accept.
//
// One piece is walked (src/price_walk.h); every further piece adds what the busiest resource spends
// on it: a processor, a port, a host's cores, a host's memory. Ranks may differ in whether the call
// is in place and have to choose the same, so a reduction costs what is dearer: in place, some
// algorithms need scratch and a local pass more, or must not receive before they have sent.
double price(const Algorithm& algorithm, const Call& call, uint32_t pieces, const Machine& machine);

struct Candidate {
  const Algorithm* algorithm = nullptr;
  uint32_t pieces = 1;
  double predicted_us = 0;
  std::string why_not;  // empty when eligible
};
// Every registered algorithm of the collective that sends codes if the call has a codec, and
// elements if it has none, with its best piece count, cheapest first,
// ineligible ones last. `only`: empty, or a name that overrides the price; a name of another
// collective's algorithm overrides nothing.
//
// Of prices within 2 % of the least, the first in algorithms/list.h comes first: the list goes from
// the simplest on, and the model is no more exact than that.
//
// For 16- and 8-bit floats whose operation rounds, an algorithm that rounds at every fold comes
// after one that rounds once unless it is more than twice as fast. So does one that encodes at
// every hop, for calls that have a codec.
//
// Cost: at most 9 walks per algorithm, each N times its rounds up to 64 ranks; above, a sample of
// the ranks is walked.
std::vector<Candidate> candidates(const Call& call, const Machine& machine,
                                  const std::string& only);

}  // namespace gossamer
