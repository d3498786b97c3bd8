// The largest magnitudes of a run and where they are.
//
// Order      By magnitude; of equal ones the first. NaN counts as 0, infinities are the largest.
// Threads    Pure functions.
// Units      Counts are elements. Positions have 32 bits: a run has at most 2^32 - 1 elements.

#pragma once

#include <cstdint>
#include <span>

namespace gossamer {

// The order of magnitudes as integers.
inline constexpr uint32_t kInfinityKey = 0x7f800000U;
inline uint32_t magnitude_key(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value) & 0x7fffffffU;
  return bits > kInfinityKey ? 0 : bits;
}

// Elements that were picked: where they are, and their values.
struct Picks {
  uint32_t* positions;
  float* values;
};

// How many picks select_largest() needs room for.
uint64_t selection_room(uint64_t count, uint64_t kept);

struct Selection {
  uint64_t kept = 0;
  uint64_t not_finite = 0;  // among all values
};

// Picks the `kept` <= count largest, ascending in position, into the front of `picks`, which have
// selection_room(). With `sample` a threshold is guessed from a sample first, and only what is
// above it is looked at closely: the same picks, sooner. Where the sample misled, all values are.
Selection select_largest(std::span<const float> values, uint64_t kept, bool sample, Picks picks);

// Picks all values whose key is at least `least`, and NaNs, ascending in position; there is room
// for `room` of them and kPickSlack more. Returns how many there are, or more than `room`.
inline constexpr uint64_t kPickSlack = 64;
uint64_t find_at_least(std::span<const float> values, uint32_t least, Picks picks, uint64_t room);

// Where an infinity is encoded, this magnitude is: the largest among the finite ones.
float largest_finite(std::span<const float> values);

}  // namespace gossamer
