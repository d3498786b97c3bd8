// Packing: a run of fp32 of which few differ from zero, without loss and in a length that is known
// before: what a sum of sparse codes is passed on as.
//
// The shortest of two forms that holds `entries` values, by (count, entries) alone:
//   pairs     entries x (index u32, value f32), in order; unused ones have index 0xffffffff
//   bitmap    count bits, in words of 64, then entries x value f32
// Where neither is shorter than the elements themselves, packed_bytes() is 0: they are sent as they
// are, which half-precision ones are in 2 bytes each.
//
// Threads    Pure.
// Units      Counts are elements.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/codec.h"

namespace gossamer {

// How many values of a sum over `size` ranks of codes of `count` elements can differ from zero.
uint64_t packed_entries(const Codec& codec, int32_t size, uint64_t count);

// 0: packing does not pay.
uint64_t packed_bytes(uint64_t count, uint64_t entries, uint64_t element_bytes = sizeof(float));

// False: more than `entries` values differ from zero (or are -0), and `into` is unspecified.
bool pack(std::span<const float> values, uint64_t entries, std::span<std::byte> into);
// False: this is no packed run; `into` is unspecified.
bool unpack(std::span<const std::byte> packed, uint64_t entries, std::span<float> into);

}  // namespace gossamer
