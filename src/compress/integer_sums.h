// Sums of small whole numbers that are added as they are: 1, 2 or 4 bytes each, in the machine's
// byte order.
//
// Threads    Pure functions.
// Units      Counts are numbers. Sums may lie at any address.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/status.h"
#include "src/compress/factory.h"

namespace gossamer {

// Bytes of a number that is never more than `largest`.
inline uint64_t bytes_of_sum(uint64_t largest) {
  return largest <= UINT8_MAX ? 1 : largest <= UINT16_MAX ? 2 : 4;
}

// sum[i] = terms[i], or sum[i] += terms[i].
void put_numbers(uint64_t bytes, std::span<const uint8_t> terms, std::byte* sum);
void add_numbers(uint64_t bytes, std::span<const uint8_t> terms, std::byte* sum);
// into[i] = sum[i] - less, as whole numbers, then as fp32.
void get_numbers(uint64_t bytes, const std::byte* sum, int64_t less, std::span<float> into);

// How a code's block begins with one scale: kMismatch unless that of a sum and of a code are alike.
Status same_scale(const Codec& codec, const std::byte* code, const std::byte* sum, uint64_t block);

}  // namespace gossamer
