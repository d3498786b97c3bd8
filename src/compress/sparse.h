// Codes that have some of the elements: where they are, then what they are, 4 bytes each.
//
// Threads    Pure functions.
// Units      Counts are elements. Codes may lie at any address.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/codec.h"
#include "src/compress/positions.h"
#include "src/compress/select.h"

namespace gossamer {

inline constexpr uint64_t kSparseCountMax = UINT32_MAX;

// How many of `count` elements a ratio stands for: at least one where there are any.
uint64_t kept_of(double ratio, uint64_t count);

// Writes positions and their values, of `count` elements: NaNs as 0, infinities as `infinity` with
// their sign. Returns how many bytes they are.
uint64_t put_sparse(const PositionCoding& coding, uint64_t count,
                    std::span<const uint32_t> positions, const float* values, float infinity,
                    std::byte* code);

// kMismatch, unless put_sparse() can have written this.
Status check_sparse(const Codec& codec, const PositionCoding& coding,
                    std::span<const std::byte> code, Kept kept);

// into[p] = value, and zeros elsewhere; into[p] += factor * value. Of a code that check_sparse()
// would refuse some are left out.
void decode_sparse(const PositionCoding& coding, std::span<const std::byte> code, uint64_t kept,
                   std::span<float> into);
void add_sparse(const PositionCoding& coding, std::span<const std::byte> code, uint64_t kept,
                float factor, std::span<float> into);

// Picks in a workspace that may lie at any address, and how long it is for so many.
inline Picks picks_in(std::span<std::byte> workspace, uint64_t room) {
  const auto address = reinterpret_cast<uintptr_t>(workspace.data());
  const uint64_t before = (alignof(uint32_t) - address % alignof(uint32_t)) % alignof(uint32_t);
  auto* const positions = reinterpret_cast<uint32_t*>(workspace.data() + before);
  return {positions, reinterpret_cast<float*>(positions + room)};
}
inline uint64_t workspace_of(uint64_t picks) {
  return picks * (sizeof(uint32_t) + sizeof(float)) + alignof(uint32_t) - 1;
}

}  // namespace gossamer
