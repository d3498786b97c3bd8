// The arithmetic of src/narrow.h and src/reduce_scalar.h on vectors, and the loop around it.
// Compiled once per instruction set by Highway, hence the guard that toggles instead of
// `#pragma once`; only for files that include hwy/foreach_target.h. Highway's emulated targets, for
// CPUs without SSE4, Neon or the like, have nothing to offer here: there the plain loops run.
//
// Threads    Pure functions.
// Units      Counts are elements.

#if defined(GOSSAMER_SRC_REDUCE_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_REDUCE_LANES_INL_H_
#undef GOSSAMER_SRC_REDUCE_LANES_INL_H_
#else
#define GOSSAMER_SRC_REDUCE_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>

#include "src/reduce_scalar.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Whether fp16 <-> fp32 is one exact, correctly rounded instruction. Highway emulates it elsewhere,
// and truncates where we round.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
inline constexpr bool kNativeFloat16 = true;
#else
inline constexpr bool kNativeFloat16 = false;
#endif

template <class D, class V>
HWY_INLINE V canonical_lanes(D d, V value) {
  using T = hn::TFromD<D>;
  return hn::IfThenElse(hn::IsNaN(value),
                        hn::Set(d, canonical(std::numeric_limits<T>::quiet_NaN())), value);
}

// The lesser of two, the second when unordered or equal; on x86 that is what Min does.
template <class V>
HWY_INLINE V lesser(V a, V b) {
#if HWY_ARCH_X86
  return hn::Min(a, b);
#else
  return hn::IfThenElse(hn::Lt(a, b), a, b);
#endif
}
template <class V>
HWY_INLINE V greater(V a, V b) {
#if HWY_ARCH_X86
  return hn::Max(a, b);
#else
  return hn::IfThenElse(hn::Gt(a, b), a, b);
#endif
}

// combine_one() on vectors.
template <ReduceOp op, class D, class V>
HWY_INLINE V combine(D d, V a, V b) {
  if constexpr (op == ReduceOp::kSum) {
    if constexpr (hwy::IsFloat<hn::TFromD<D>>()) return canonical_lanes(d, hn::Add(a, b));
    return hn::Add(a, b);
  } else if constexpr (op == ReduceOp::kProd) {
    if constexpr (hwy::IsFloat<hn::TFromD<D>>()) {
      return canonical_lanes(d, hn::Mul(a, b));
    } else if constexpr (sizeof(hn::TFromD<D>) == 1) {
      // No instruction multiplies bytes: the even and the odd ones as 16-bit numbers.
      const hn::Repartition<uint16_t, D> d16;
      const auto a16 = hn::BitCast(d16, a);
      const auto b16 = hn::BitCast(d16, b);
      const auto even = hn::And(hn::Mul(a16, b16), hn::Set(d16, uint16_t{0x00ff}));
      const auto odd =
          hn::Mul(hn::ShiftRight<8>(a16), hn::And(b16, hn::Set(d16, uint16_t{0xff00})));
      return hn::BitCast(d, hn::Or(even, odd));
    } else {
      return hn::Mul(a, b);
    }
  } else if constexpr (!hwy::IsFloat<hn::TFromD<D>>()) {
    return op == ReduceOp::kMin ? hn::Min(a, b) : hn::Max(a, b);
  } else if constexpr (op == ReduceOp::kMin) {
    // Both orders differ for zeros of unlike sign, where the or is -0, and for NaNs, where an
    // exponent of ones survives the or.
    return canonical_lanes(d, hn::Or(lesser(a, b), lesser(b, a)));
  } else {
    const auto one = greater(a, b);
    const auto other = greater(b, a);
    const auto either = hn::Or(one, other);  // NaN when an operand is
    return hn::IfThenElse(hn::IsNaN(either), canonical_lanes(d, either), hn::And(one, other));
  }
}

// widen_layout() and narrow_layout() on the lanes of fp32 vectors, bits in uint32.
template <class L, class DF>
HWY_INLINE hn::Vec<DF> widen_lanes(DF df, hn::Vec<hn::Rebind<uint32_t, DF>> code) {
  const hn::Rebind<uint32_t, DF> du;
  const auto magnitude = hn::And(code, hn::Set(du, L::kMagnitude));
  const auto sign = hn::ShiftLeft<L::kSignShift>(hn::And(code, hn::Set(du, L::kSign)));
  const auto shifted = hn::ShiftLeft<L::kShift>(magnitude);
  const auto rebias = hn::Set(du, L::kRebias);
  const auto offset = hn::Set(du, L::kNormal);
  const auto normal = hn::Add(shifted, rebias);
  const auto subnormal =
      hn::BitCast(du, hn::Sub(hn::BitCast(df, hn::Add(shifted, offset)), hn::BitCast(df, offset)));
  auto wide = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 1u << L::kMantissa)), subnormal, normal);
  if constexpr (L::kInfinities) {
    const auto overflow = hn::Set(du, L::kOverflow);
    wide = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, L::kOverflow - 1)), hn::Add(wide, rebias),
                          wide);
    wide = hn::Or(wide, hn::IfThenElseZero(hn::Gt(magnitude, overflow), hn::Set(du, 1u << 22)));
    return hn::BitCast(df, hn::Or(wide, sign));
  } else {
    const auto is_nan = hn::Eq(magnitude, hn::Set(du, L::kNan));
    return hn::BitCast(df, hn::IfThenElse(is_nan, hn::Set(du, kCanonicalNan), hn::Or(wide, sign)));
  }
}

// `value` is canonical.
template <class L, class DF>
HWY_INLINE hn::Vec<hn::Rebind<uint32_t, DF>> narrow_lanes(DF df, hn::Vec<DF> value) {
  const hn::Rebind<uint32_t, DF> du;
  const auto wide = hn::BitCast(du, value);
  const auto magnitude = hn::And(wide, hn::Set(du, 0x7fffffffu));
  const auto sign = hn::And(hn::ShiftRight<L::kSignShift>(wide), hn::Set(du, L::kSign));
  const auto odd = hn::And(hn::ShiftRight<L::kShift>(magnitude), hn::Set(du, 1u));
  const auto rounding = hn::Set(du, (1u << (L::kShift - 1)) - 1u - L::kRebias);
  const auto normal = hn::Min(hn::ShiftRight<L::kShift>(hn::Add(hn::Add(magnitude, rounding), odd)),
                              hn::Set(du, L::kOverflow));
  const auto magic = hn::Set(du, L::kSubnormalMagic);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), hn::BitCast(df, magic))), magic);
  auto code = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, L::kNormal)), subnormal, normal);
  if constexpr (L::kInfinities) {
    code = hn::IfThenElse(hn::Eq(wide, hn::Set(du, kCanonicalNan)), hn::Set(du, L::kNan), code);
  }
  return hn::Or(code, sign);
}

template <class DF>
HWY_INLINE hn::Vec<DF> widen_native(DF df, hn::Vec<hn::Rebind<uint16_t, DF>> code) {
  return hn::PromoteTo(df, hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), code));
}

// A vector of one narrow type F as fp32 of the same number of lanes.
template <class F, class DF>
HWY_INLINE hn::Vec<DF> widen(DF df, hn::Vec<hn::Rebind<typename F::Lane, DF>> code) {
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<uint16_t, DF> d16;
  if constexpr (std::is_same_v<F, Bfloat16>) {
    return hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du, code)));
  } else if constexpr (!kNativeFloat16) {
    return widen_lanes<typename F::Layout>(df, hn::PromoteTo(du, code));
  } else if constexpr (std::is_same_v<F, Float16>) {
    return widen_native(df, code);
  } else if constexpr (std::is_same_v<F, E5M2>) {
    return widen_native(df, hn::ShiftLeft<8>(hn::PromoteTo(d16, code)));
  } else {
    // As fp16 with the exponent's bias off by 8, which a multiplication mends exactly.
    const auto code16 = hn::PromoteTo(d16, code);
    const auto magnitude = hn::ShiftLeft<7>(hn::And(code16, hn::Set(d16, uint16_t{0x7f})));
    const auto sign = hn::ShiftLeft<8>(hn::And(code16, hn::Set(d16, uint16_t{0x80})));
    const auto value = hn::Mul(widen_native(df, hn::Or(magnitude, sign)), hn::Set(df, 256.0F));
    const auto nan = hn::Gt(hn::Abs(value), hn::Set(df, 448.0F));
    return hn::IfThenElse(nan, hn::BitCast(df, hn::Set(du, kCanonicalNan)), value);
  }
}

// fp32, canonical, to a narrow type F.
template <class F, class DF>
HWY_INLINE hn::Vec<hn::Rebind<typename F::Lane, DF>> narrow(DF df, hn::Vec<DF> value) {
  const hn::Rebind<uint32_t, DF> du;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<typename F::Lane, DF> dn;
  if constexpr (std::is_same_v<F, Bfloat16>) {
    const auto wide = hn::BitCast(du, value);
    const auto odd = hn::And(hn::ShiftRight<16>(wide), hn::Set(du, 1u));
    const auto rounded = hn::Add(hn::Add(wide, hn::Set(du, 0x7fffu)), odd);
    return hn::DemoteTo(dn, hn::BitCast(di, hn::ShiftRight<16>(rounded)));
  } else if constexpr (kNativeFloat16 && std::is_same_v<F, Float16>) {
    return hn::BitCast(dn, hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), value));
  } else {
    return hn::DemoteTo(dn, hn::BitCast(di, narrow_lanes<typename F::Layout>(df, value)));
  }
}

// Of any float type F, plain ones as they are, as vectors of the type that is computed in.
template <class F, class D>
HWY_INLINE hn::Vec<D> load_float(D d, const std::byte* from, size_t i) {
  const hn::Rebind<typename F::Lane, D> d_from;
  const auto loaded = hn::LoadU(d_from, reinterpret_cast<const typename F::Lane*>(from) + i);
  if constexpr (kIsPlain<F>) {
    return loaded;
  } else {
    return widen<F>(d, loaded);
  }
}
template <class F, class D>
HWY_INLINE void store_float(D d, hn::Vec<D> value, std::byte* into, size_t i) {
  const hn::Rebind<typename F::Lane, D> d_into;
  typename F::Lane* const at = reinterpret_cast<typename F::Lane*>(into) + i;
  if constexpr (kIsPlain<F>) {
    hn::StoreU(value, d_into, at);
  } else {
    hn::StoreU(narrow<F>(d, value), d_into, at);
  }
}

template <class Kernel, class D>
HWY_INLINE hn::Vec<D> combine_at(D d, const typename Kernel::Lane* x,
                                 const typename Kernel::Arrived* y, size_t i) {
  const hn::Rebind<typename Kernel::Arrived, D> da;
  return Kernel::vector(d, hn::LoadU(d, x + i), hn::LoadU(da, y + i));
}

// Runs `Kernel` over two arrays: Kernel::Lane and Kernel::Arrived are the element types of target
// and operand, and of what arrived; Kernel::vector(d, a, b) and Kernel::one(a, b) combine.
//
// The last vector is computed before anything is written, as it may overlap the one before it and
// target may be operand. Needs Lanes(d) <= count. Reaching an aligned target
// first gained nothing on Zen 5 up to 256 KiB, the sizes tried. Against gcc's own AVX-512 loop an
// fp32 sum takes 1.2 times as long in the first-level cache (8 KiB: 39 for 33 ns), as long beyond
// it.
template <class Kernel, class D>
HWY_INLINE void fold_vectors(D d, std::byte* target, const std::byte* operand,
                             const std::byte* arrived, uint64_t count) {
  using T = typename Kernel::Lane;
  using A = typename Kernel::Arrived;
  T* const into = reinterpret_cast<T*>(target);
  const T* const x = reinterpret_cast<const T*>(operand);
  const A* const y = reinterpret_cast<const A*>(arrived);
  const size_t n = hn::Lanes(d);
  const auto last = combine_at<Kernel>(d, x, y, count - n);
  size_t i = 0;
  for (; i + 4 * n <= count; i += 4 * n) {
    hn::StoreU(combine_at<Kernel>(d, x, y, i), d, into + i);
    hn::StoreU(combine_at<Kernel>(d, x, y, i + n), d, into + i + n);
    hn::StoreU(combine_at<Kernel>(d, x, y, i + 2 * n), d, into + i + 2 * n);
    hn::StoreU(combine_at<Kernel>(d, x, y, i + 3 * n), d, into + i + 3 * n);
  }
  for (; i + n <= count; i += n) hn::StoreU(combine_at<Kernel>(d, x, y, i), d, into + i);
  if (i < count) hn::StoreU(last, d, into + (count - n));
}

// A whole FoldKernel: one by one below 16 bytes or 4 fp32, then by small vectors, then by whole
// ones.
template <class Kernel>
void fold(std::byte* target, const std::byte* operand, const std::byte* arrived, uint64_t count) {
  using T = typename Kernel::Lane;
  using A = typename Kernel::Arrived;
  const typename Kernel::Small small;
  const typename Kernel::Whole whole;
  if (count < hn::Lanes(small)) {
    for (uint64_t i = 0; i < count; ++i) {
      store_one(Kernel::one(load_one<T>(operand, i), load_one<A>(arrived, i)), target, i);
    }
  } else if (count < hn::Lanes(whole)) {
    fold_vectors<Kernel>(small, target, operand, arrived, count);
  } else {
    fold_vectors<Kernel>(whole, target, operand, arrived, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
