// Walks one piece of an algorithm through the machine, round by round, storing no schedule.
//
// Per rank a processor clock and two ports, per host two ports to the other hosts. A round's sends
// start when the rank is through with its last round; a message leaves when the transmit port is
// free, arrives a latency after its last byte left (and not faster than the receive port takes
// bytes), and is then received or folded in program order. Where a link lends, nothing is received
// into the place of a message before it has left. Up to kWalkedRanksMax ranks all are walked;
// above, a sample that assumes its peers are as far as the slowest of the sample.
//
// Threads    Pure.
// Units      Microseconds, bytes.

#pragma once

#include "src/price.h"

namespace gossamer {

inline constexpr Rank kWalkedRanksMax = 64;

struct PieceCost {
  double path_us = 0;    // from start to the last rank's end, every rank on a core of its own
  double rank_us = 0;    // the busiest processor or port of a rank
  double port_us = 0;    // the busiest port between hosts
  double cores_us = 0;   // the busiest host: processor time of its ranks over its cores
  double waits_us = 0;   // the busiest host: switches, where ranks outnumber cores
  double switch_us = 0;  // the same, for one wait per rank
  // Where ranks outnumber cores: how long dependences may keep a core idle (Graham, \"Bounds on
  // Multiprocessing Timing Anomalies\", SIAM J. Appl. Math. 17(2), 1969: work / c + path (1 -
  // 1/c)).
  double idle_us = 0;
  double memory_us = 0;  // the busiest host: bytes beyond the cache
};

// `piece_count` elements of the call; `in_cache`: what a piece wrote is still in the cache when it
// is read; `from_memory`: the whole call's buffers exceed the cache; `in_place`: as if it were.
PieceCost walk_piece(const Algorithm& algorithm, const Call& call, uint64_t piece_count,
                     bool in_cache, bool from_memory, bool in_place, const Machine& machine);

}  // namespace gossamer
