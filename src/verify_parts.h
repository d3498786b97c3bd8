// The two halves of the verifier. They share nothing with the builder but the meaning of a step.
//
// Threads    Pure.

#pragma once

#include <string>

#include "src/verify.h"

namespace gossamer {

// The verifier's view of memory: kInput is part of kOutput when in place.
struct Memory {
  explicit Memory(const Proof& proof, Rank rank);

  Slice at(Slice slice) const {
    if (slice.buffer != Buffer::kInput || !in_place) return slice;
    return {Buffer::kOutput, slice.first + own_first, slice.count};
  }

  bool in_place;
  uint64_t input_count;
  uint64_t output_count;
  uint64_t own_first = 0;  // where an in-place input begins in the output
};

// "rank 2 step 7 (recv from 1)".
std::string name_step(Rank rank, uint32_t index, const Step& step);

// Whether the rank's slices lie inside their buffers, verbs make sense on them, and its edges are a
// graph the engine can run: forward, counted right. Empty, or what is wrong.
std::string check_limits(const Proof& proof, Rank rank, const Schedule& schedule);

// Whether any two steps of the rank that overlap, one of them writing, are ordered by edges.
// Empty, or what is wrong. Call after check_limits().
std::string check_races(const Proof& proof, Rank rank, const Schedule& schedule);

// Runs all ranks symbolically and fills complete, same_bits and no_deadlock.
void check_values(const Proof& proof, const std::vector<Schedule>& schedules, Verdict* verdict);

}  // namespace gossamer
