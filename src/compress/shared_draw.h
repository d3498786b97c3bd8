// Random numbers that all ranks have alike: a number that codes begin with, and others made of it.
//   Source    SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
//             OOPSLA 2014.
//
// Threads    Pure.

#pragma once

#include <cstdint>

#include "gossamer/codec.h"

namespace gossamer {

using Draw = uint64_t;

inline uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9U;
  x = (x ^ x >> 27) * 0x94D049BB133111EBU;
  return x ^ x >> 31;
}

// The same on all ranks that encode the same elements of a call.
inline Draw shared_draw(const Draws& draws) {
  return mixed(draws.shared ^ mixed(draws.first));
}

}  // namespace gossamer
