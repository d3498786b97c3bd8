// What a reduction does to two values: the reference that the vector kernels equal bit for bit.
//
// Integers   Sums and products wrap, computed unsigned.
// Floats     A NaN operand gives a NaN, always the canonical one; -0 is below +0. So every
//            operation is commutative bit for bit, and the order of two operands never shows in a
//            result.
//
// Threads    Pure functions.

#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "gossamer/types.h"
#include "src/narrow.h"

namespace gossamer {

// Buffers are bytes at any address; values go through here.
template <class T>
inline T load_one(const std::byte* from, uint64_t index) {
  T value;
  std::memcpy(&value, from + index * sizeof(T), sizeof(T));
  return value;
}
template <class T>
inline void store_one(T value, std::byte* into, uint64_t index) {
  std::memcpy(into + index * sizeof(T), &value, sizeof(T));
}

// Floats that are computed with as they are, in the shape of the narrow ones.
template <class T>
struct PlainFloat {
  using Lane = T;
  static T widen(T value) { return value; }
  static T narrow(T value) { return value; }
};
template <class F>
inline constexpr bool kIsPlain = std::is_floating_point_v<typename F::Lane>;

template <ReduceOp op, std::floating_point T>
inline T combine_one(T a, T b) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  if constexpr (op == ReduceOp::kSum) return canonical(a + b);
  if constexpr (op == ReduceOp::kProd) return canonical(a * b);
  if (std::isnan(a) || std::isnan(b)) return canonical(a + b);
  const Bits x = std::bit_cast<Bits>(a);
  const Bits y = std::bit_cast<Bits>(b);
  if constexpr (op == ReduceOp::kMin) {
    if (a == b) return std::bit_cast<T>(x | y);  // -0 if either is
    return a < b ? a : b;
  } else {
    if (a == b) return std::bit_cast<T>(x & y);
    return a > b ? a : b;
  }
}

template <ReduceOp op, std::integral T>
inline T combine_one(T a, T b) {
  using Wide = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;  // no promotion to int
  if constexpr (op == ReduceOp::kSum) {
    return static_cast<T>(static_cast<Wide>(a) + static_cast<Wide>(b));
  } else if constexpr (op == ReduceOp::kProd) {
    return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b));
  } else if constexpr (op == ReduceOp::kMin) {
    return a < b ? a : b;
  } else {
    return a > b ? a : b;
  }
}

}  // namespace gossamer
