// The random numbers of codecs (src/compress/draws-inl.h), for those who are no kernels.
//
// Threads    Pure.

#pragma once

#include <cstdint>
#include <span>

namespace gossamer {

// numbers[i], in [0, 1), is element (first + i)'s under `key`.
void uniform_numbers(uint64_t key, uint64_t first, std::span<float> numbers);

}  // namespace gossamer
