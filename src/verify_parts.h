// The two halves of the verifier. They share nothing with the builder but the meaning of a step.
//
// Threads    Pure.

#pragma once

#include <string>

#include "src/call_buffers.h"
#include "src/verify.h"

namespace gossamer {

// The verifier's view of memory: in place, kOutput is the memory of both and kInput a part of it.
struct Memory : CallBuffers {
  Memory(const Proof& proof, Rank rank);

  Slice at(Slice slice) const {
    if (slice.buffer != Buffer::kInput || !in_place) return slice;
    return {Buffer::kOutput, slice.first + input_first, slice.count};
  }
  uint64_t output_end() const { return in_place ? both_count() : output_count; }
};

// A run of a rank's kOutput memory and what the collective promises to leave there.
struct Promise {
  uint64_t first = 0;
  uint64_t count = 0;
  Rank from = -1;            // whose input, unchanged; -1: the sum over all ranks
  uint64_t input_first = 0;  // the input element that element `first` comes from
  bool is_kept = false;      // in place: input that is no output, and must be as it was
};
std::vector<Promise> promises_of(const Proof& proof, Rank rank);

// "rank 2 step 7 (recv from 1)".
std::string name_step(Rank rank, uint32_t index, const Step& step);

// Whether the rank's slices lie inside their buffers, verbs make sense on them, and its edges are a
// graph the engine can run: forward, counted right. Empty, or what is wrong.
std::string check_limits(const Proof& proof, Rank rank, const Schedule& schedule);

// Whether any two steps of the rank that overlap, one of them writing, are ordered by edges.
// Empty, or what is wrong. Call after check_limits().
std::string check_races(const Proof& proof, Rank rank, const Schedule& schedule);

// Whether what the rank encodes fits its codes and residual, and every float of the residual is
// kept by one step. Empty, or what is wrong.
std::string check_codes(const Proof& proof, Rank rank, const Schedule& schedule);

// Runs all ranks symbolically and fills complete, same_bits and no_deadlock.
void check_values(const Proof& proof, const std::vector<Schedule>& schedules, Verdict* verdict);

}  // namespace gossamer
