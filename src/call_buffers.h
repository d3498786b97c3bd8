// What a collective's buffers are: how many elements a rank puts in and gets out, and how the two
// coincide in place. The one definition that checks, schedules, proofs and runs go by.
//
// Threads    Pure.
// Units      Elements.

#pragma once

#include "src/price.h"

namespace gossamer {

struct CallBuffers {
  uint64_t input_count = 0;   // 0 where a rank has no input: broadcast and scatter beside the root
  uint64_t output_count = 0;  // 0 where it has no output: reduce and gather beside the root
  // In place both are one memory, named Buffer::kOutput: the larger of the two, with the smaller
  // one somewhere in it. False where the call is not in place, and on ranks that lack a buffer.
  bool in_place = false;
  uint64_t input_first = 0;
  uint64_t output_first = 0;

  uint64_t both_count() const { return input_count > output_count ? input_count : output_count; }
};

CallBuffers buffers_of(const Call& call, Rank rank, Rank size);

// Shares in the larger buffer: `size`, or 1 where `count` is all there is.
inline uint64_t shares_of(Collective collective, Rank size) {
  return is_in_shares(collective) ? static_cast<uint64_t>(size) : 1;
}

// Whether it adds elements up: as its reduction says, or with a graph's weights.
inline bool sums(Collective collective) {
  return reduces(collective) || collective == Collective::kNeighborAverage;
}

// "input == output + rank * count": what in place means, for error messages.
const char* in_place_rule(Collective collective);

}  // namespace gossamer
