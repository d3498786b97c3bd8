// Loops that codecs share, on vectors. Compiled once per instruction set by Highway, hence the
// guard that toggles instead of `#pragma once`; only for files that include hwy/foreach_target.h.
//
// A kernel, as the loops take it, turns vectors of fp32 into vectors of a code that is as long or
// shorter, and back:
//
//   using Lane = int8_t;                          the code of one element
//   static constexpr bool kDraws = false;         whether code() uses the third vector
//   Vec<code> code(d, values, uniform) const      uniform is in [0, 1)
//   Vec<float> value(d, codes) const
//
// Bits       No result depends on the length of vectors, and src/compress is compiled without
//            contraction to fused operations: the same bytes on every machine.
// Threads    Pure functions.
// Units      Counts are elements. Codes may lie at any address.

#if defined(GOSSAMER_SRC_COMPRESS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_LANES_INL_H_
#undef GOSSAMER_SRC_COMPRESS_LANES_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// No longer than the longest that all loops are written for.
inline constexpr size_t kLanesMax = 16;
using Floats = hn::CappedTag<float, kLanesMax>;

// The first `some` lanes, zeros after them.
template <class D>
HWY_INLINE hn::Vec<D> load_some(D d, const hn::TFromD<D>* from, size_t some) {
  HWY_ALIGN hn::TFromD<D> padded[kLanesMax] = {};
  std::memcpy(padded, from, some * sizeof padded[0]);
  return hn::Load(d, padded);
}
template <class D>
HWY_INLINE void store_some(D d, hn::Vec<D> value, hn::TFromD<D>* into, size_t some) {
  HWY_ALIGN hn::TFromD<D> padded[kLanesMax];
  hn::Store(value, d, padded);
  std::memcpy(into, padded, some * sizeof padded[0]);
}

// `draws` are as many as the values where the kernel takes them.
template <class Kernel>
HWY_INLINE void encode_lanes(const Kernel& kernel, const float* from, const float* draws,
                             uint64_t count, std::byte* code) {
  const Floats d;
  const hn::Rebind<typename Kernel::Lane, Floats> dc;
  auto* const into = reinterpret_cast<typename Kernel::Lane*>(code);
  const size_t n = hn::Lanes(d);
  auto uniform = hn::Zero(d);
  uint64_t i = 0;
  for (; i + n <= count; i += n) {
    if constexpr (Kernel::kDraws) uniform = hn::LoadU(d, draws + i);
    hn::StoreU(kernel.code(d, hn::LoadU(d, from + i), uniform), dc, into + i);
  }
  if (i == count) return;
  if constexpr (Kernel::kDraws) uniform = load_some(d, draws + i, count - i);
  store_some(dc, kernel.code(d, load_some(d, from + i, count - i), uniform), into + i, count - i);
}

template <class Kernel>
HWY_INLINE void decode_lanes(const Kernel& kernel, const std::byte* code, uint64_t count,
                             float* into) {
  const Floats d;
  const hn::Rebind<typename Kernel::Lane, Floats> dc;
  const auto* const from = reinterpret_cast<const typename Kernel::Lane*>(code);
  const size_t n = hn::Lanes(d);
  uint64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(kernel.value(d, hn::LoadU(dc, from + i)), d, into + i);
  }
  if (i == count) return;
  store_some(d, kernel.value(d, load_some(dc, from + i, count - i)), into + i, count - i);
}

template <class Kernel>
HWY_INLINE void add_lanes(const Kernel& kernel, const std::byte* code, uint64_t count, float factor,
                          float* into) {
  const Floats d;
  const hn::Rebind<typename Kernel::Lane, Floats> dc;
  const auto* const from = reinterpret_cast<const typename Kernel::Lane*>(code);
  const size_t n = hn::Lanes(d);
  const auto factors = hn::Set(d, factor);
  uint64_t i = 0;
  for (; i + n <= count; i += n) {
    const auto part = hn::Mul(factors, kernel.value(d, hn::LoadU(dc, from + i)));
    hn::StoreU(hn::Add(hn::LoadU(d, into + i), part), d, into + i);
  }
  if (i == count) return;
  const size_t some = count - i;
  const auto part = hn::Mul(factors, kernel.value(d, load_some(dc, from + i, some)));
  store_some(d, hn::Add(load_some(d, into + i, some), part), into + i, some);
}

// NaN as 0.
template <class D>
HWY_INLINE hn::Vec<D> without_nan(D /*d*/, hn::Vec<D> value) {
  return hn::IfThenZeroElse(hn::IsNaN(value), value);
}

HWY_INLINE uint64_t count_infinite(const float* from, uint64_t count) {
  uint64_t found = 0;
  for (uint64_t i = 0; i < count; ++i) found += std::isinf(from[i]) ? 1 : 0;
  return found;
}

struct Extent {
  float largest = 0;  // magnitude among the finite ones
  uint64_t not_finite = 0;
};

// Magnitudes are compared as integers, among which infinity and NaNs are the largest: most runs
// have neither, and their largest is found with two operations per vector.
HWY_NOINLINE inline Extent extent_of_finite(const float* from, uint64_t count) {
  Extent extent;
  for (uint64_t i = 0; i < count; ++i) {
    const bool finite = std::isfinite(from[i]);
    extent.not_finite += finite ? 0 : 1;
    if (finite) extent.largest = std::max(extent.largest, std::abs(from[i]));
  }
  return extent;
}
HWY_INLINE hn::Vec<hn::RebindToSigned<Floats>> magnitude_bits(hn::Vec<Floats> value) {
  const hn::RebindToSigned<Floats> di;
  return hn::And(hn::BitCast(di, value), hn::Set(di, 0x7fffffff));
}
inline constexpr int32_t kInfinityBits = 0x7f800000;

HWY_INLINE Extent extent_of(const float* from, uint64_t count) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const size_t n = hn::Lanes(d);
  auto all = hn::Zero(di);
  uint64_t i = 0;
  for (; i + n <= count; i += n) all = hn::Max(all, magnitude_bits(hn::LoadU(d, from + i)));
  if (i < count) all = hn::Max(all, magnitude_bits(load_some(d, from + i, count - i)));
  const int32_t largest = hn::GetLane(hn::MaxOfLanes(di, all));
  if (largest >= kInfinityBits) return extent_of_finite(from, count);
  Extent extent;
  std::memcpy(&extent.largest, &largest, sizeof largest);
  return extent;
}

// Elements that a test, which 0 does not pass, lets pass.
template <class Test>
HWY_INLINE uint64_t count_of(const Test& test, const float* from, uint64_t count) {
  const Floats d;
  const size_t n = hn::Lanes(d);
  uint64_t found = 0;
  uint64_t i = 0;
  for (; i + n <= count; i += n) found += hn::CountTrue(d, test(d, hn::LoadU(d, from + i)));
  if (i < count) found += hn::CountTrue(d, test(d, load_some(d, from + i, count - i)));
  return found;
}

struct FiniteNegative {
  template <class D>
  HWY_INLINE hn::Mask<D> operator()(D d, hn::Vec<D> value) const {
    return hn::And(hn::Lt(value, hn::Zero(d)), hn::Gt(value, hn::Neg(hn::Inf(d))));
  }
};
struct FiniteFrom {
  float least;  // magnitude, > 0
  template <class D>
  HWY_INLINE hn::Mask<D> operator()(D d, hn::Vec<D> value) const {
    const auto magnitude = hn::Abs(value);
    return hn::And(hn::Ge(magnitude, hn::Set(d, least)), hn::Lt(magnitude, hn::Inf(d)));
  }
};

struct Range {
  float smallest = 0;  // among the finite ones, and 0 where there is a NaN; both 0 for none
  float largest = 0;
  uint64_t not_finite = 0;
};

HWY_NOINLINE inline Range range_of_finite(const float* from, uint64_t count) {
  Range range;
  bool any = false;
  for (uint64_t i = 0; i < count; ++i) {
    range.not_finite += std::isfinite(from[i]) ? 0 : 1;
    if (std::isinf(from[i])) continue;
    const float value = std::isnan(from[i]) ? 0 : from[i];
    range.smallest = any ? std::min(range.smallest, value) : value;
    range.largest = any ? std::max(range.largest, value) : value;
    any = true;
  }
  return range;
}

HWY_INLINE Range range_of(const float* from, uint64_t count) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const size_t n = hn::Lanes(d);
  auto least = hn::Set(d, from[0]);
  auto most = least;
  auto all = hn::Zero(di);
  for (uint64_t i = 0; i < count; i += n) {
    // What fills up the last vector is the run's own first value.
    const size_t some = std::min<uint64_t>(n, count - i);
    const auto value = some == n ? hn::LoadU(d, from + i)
                                 : hn::IfThenElse(hn::FirstN(d, some), load_some(d, from + i, some),
                                                  hn::Set(d, from[0]));
    least = hn::Min(least, value);
    most = hn::Max(most, value);
    all = hn::Max(all, magnitude_bits(value));
  }
  if (hn::GetLane(hn::MaxOfLanes(di, all)) >= kInfinityBits) return range_of_finite(from, count);
  return {hn::GetLane(hn::MinOfLanes(d, least)), hn::GetLane(hn::MaxOfLanes(d, most)), 0};
}

inline void put_float(float value, std::byte* into) {
  std::memcpy(into, &value, sizeof value);
}
inline float get_float(const std::byte* from) {
  float value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
