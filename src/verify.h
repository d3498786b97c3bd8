// Proves a schedule: symbolic execution of all ranks' final schedules, after all passes.
//
// Every element of every buffer holds an abstract value: which ranks' inputs it sums (exactly, as a
// set in which nothing may enter twice, up to 64 ranks; above as one random 64-bit weight per rank
// summed modulo 2^64) and a hash of the expression tree with operands sorted, because
// floating-point addition commutes but does not associate. Messages are rendezvous. One symbolic
// run is enough for every timing: a step that may start stays able to start, and conflicting steps
// are ordered, so all interleavings end in the same values and either all finish or none does.
//
// Where sums have weights, each rank's must be what its row of the mixing matrix says, with the
// factors of the schedules taken exactly (src/verify_weights.h).
//
// A proof is per N and count, not an induction over N. Schedules of one proof are all in place or
// all not; that mixed ones exchange the same messages is the algorithms' promise.
//
// Threads    Pure; distinct proofs may run on distinct threads.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/schedule.h"
#include "src/price.h"

namespace gossamer {

struct Verdict {
  bool complete = false;   // every rank holds exactly the right value everywhere, settled once
  bool same_bits = false;  // equal expression trees on every rank
  bool no_deadlock = false;
  bool no_race = false;    // steps that overlap with a write are ordered by edges
  bool in_limits = false;  // slices inside their buffers, scratch as declared, window respected
  std::string reason;      // the first violation, naming rank, step and element

  bool proved() const { return complete && same_bits && no_deadlock && no_race && in_limits; }
};

struct Proof {
  Call call;
  Rank size = 1;
  bool wide = false;
  // Eager sends (call.eager_bytes) that may be complete and not yet taken per (peer, lane): what
  // the transport allows. 0: any number. Longer messages are rendezvous and need a window of 1.
  uint32_t window = 0;
};

// `schedules[r]` is rank r's.
Verdict verify(const Proof& proof, const std::vector<Schedule>& schedules);

// Builds every rank's schedule and verifies them.
Verdict verify(const Algorithm& algorithm, const Call& call, Rank size,
               std::span<const Rank> hosts = {}, uint32_t pieces = 1, uint8_t lanes = 1);

// Sizes from size_min to size_max (all up to 64, above those around powers of two) x awkward counts
// (0, 1, N - 1, N, N + 1, 3N + 2, one of whole cache lines) x roots x pieces x in and out of place
// x wide or not x eager or not x host layouts. Proves on several threads; reports on the caller's,
// in order. Stops early when `report` returns false. The number of cases reported.
struct SweepCase {
  const Algorithm* algorithm;
  Rank size;
  uint64_t count;
  Rank root;
  uint32_t pieces;
  bool in_place;
  Verdict verdict;
};
// Algorithms that need a graph are proved with each of the matrices that `mixings` gives for a
// size; without it, not at all.
using Mixings = std::function<std::vector<std::shared_ptr<const Mixing>>(Rank size)>;
uint64_t verify_sweep(const std::vector<const Algorithm*>& which, Rank size_min, Rank size_max,
                      const std::function<bool(const SweepCase&)>& report,
                      const Mixings& mixings = {});

}  // namespace gossamer
