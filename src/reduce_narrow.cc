// Folds of 16- and 8-bit floats: both operands widened to fp32, combined, rounded once; and the
// wide folds, which keep fp32.

#include <cstddef>
#include <cstdint>

#include "src/reduce_tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/reduce_narrow.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/reduce_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

#if HWY_TARGET >= HWY_EMU128  // nor HWY_SCALAR: no vectors

FoldKernel find_narrow_fold(DataType type, ReduceOp op) {
  return scalar_fold_kernel(type, op);
}
FoldKernel find_wide_fold(DataType type, ReduceOp op) {
  return scalar_fold_wide_kernel(type, op);
}

#else

template <class F, ReduceOp op>
struct NarrowFold {
  using Lane = typename F::Lane;
  using Arrived = Lane;
  using Whole = hn::Rebind<Lane, hn::ScalableTag<float> >;
  using Small = hn::Rebind<Lane, hn::CappedTag<float, 4> >;
  template <class D, class V>
  static HWY_INLINE V vector(D /*d*/, V a, V b) {
    const hn::Rebind<float, D> df;
    return narrow<F>(df, combine<op>(df, widen<F>(df, a), widen<F>(df, b)));
  }
  static HWY_INLINE Lane one(Lane a, Lane b) {
    return F::narrow(combine_one<op>(F::widen(a), F::widen(b)));
  }
};

// A bf16 is the upper half of an fp32, so the odd lanes are in place and the even ones a shift
// away: nothing is shuffled.
template <ReduceOp op>
struct NarrowFold<Bfloat16, op> {
  using Lane = uint16_t;
  using Arrived = uint16_t;
  using Whole = hn::ScalableTag<uint16_t>;
  using Small = hn::CappedTag<uint16_t, 8>;

  template <class DU, class VU>
  static HWY_INLINE VU half(DU du, VU a, VU b) {
    const hn::Rebind<float, DU> df;
    const auto wide = hn::BitCast(du, combine<op>(df, hn::BitCast(df, a), hn::BitCast(df, b)));
    if constexpr (op == ReduceOp::kMin || op == ReduceOp::kMax) return wide;
    const auto odd = hn::And(hn::ShiftRight<16>(wide), hn::Set(du, 1u));
    return hn::Add(hn::Add(wide, hn::Set(du, 0x7fffu)), odd);
  }
  template <class D, class V>
  static HWY_INLINE V vector(D d, V a16, V b16) {
    const hn::Repartition<uint32_t, D> du;
    const auto upper = hn::Set(du, 0xffff0000u);
    const auto a = hn::BitCast(du, a16);
    const auto b = hn::BitCast(du, b16);
    const auto even = half(du, hn::ShiftLeft<16>(a), hn::ShiftLeft<16>(b));
    const auto odd = half(du, hn::And(a, upper), hn::And(b, upper));
    return hn::BitCast(d, hn::Or(hn::ShiftRight<16>(even), hn::And(odd, upper)));
  }
  static HWY_INLINE uint16_t one(uint16_t a, uint16_t b) {
    return Bfloat16::narrow(combine_one<op>(Bfloat16::widen(a), Bfloat16::widen(b)));
  }
};

template <class F, ReduceOp op>
struct WideFold {
  using Lane = float;
  using Arrived = typename F::Lane;
  using Whole = hn::ScalableTag<float>;
  using Small = hn::CappedTag<float, 4>;
  template <class D, class V, class VA>
  static HWY_INLINE V vector(D d, V a, VA b) {
    return combine<op>(d, a, widen<F>(d, b));
  }
  static HWY_INLINE float one(float a, Arrived b) { return combine_one<op>(a, F::widen(b)); }
};

template <template <class, ReduceOp> class Kernel, ReduceOp op>
FoldKernel fold_of(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return fold<Kernel<Float16, op> >;
    case DataType::kBfloat16:
      return fold<Kernel<Bfloat16, op> >;
    case DataType::kFloat8E4M3:
      return fold<Kernel<E4M3, op> >;
    case DataType::kFloat8E5M2:
      return fold<Kernel<E5M2, op> >;
    default:
      return nullptr;
  }
}

template <template <class, ReduceOp> class Kernel>
FoldKernel find_fold(DataType type, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return fold_of<Kernel, ReduceOp::kSum>(type);
    case ReduceOp::kProd:
      return fold_of<Kernel, ReduceOp::kProd>(type);
    case ReduceOp::kMax:
      return fold_of<Kernel, ReduceOp::kMax>(type);
    case ReduceOp::kMin:
      return fold_of<Kernel, ReduceOp::kMin>(type);
    default:
      return nullptr;
  }
}

FoldKernel find_narrow_fold(DataType type, ReduceOp op) {
  return find_fold<NarrowFold>(type, op);
}
FoldKernel find_wide_fold(DataType type, ReduceOp op) {
  return find_fold<WideFold>(type, op);
}

#endif  // vectors

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(find_narrow_fold);
HWY_EXPORT(find_wide_fold);

FoldKernel narrow_fold_kernel(DataType type, ReduceOp op) {
  return HWY_DYNAMIC_DISPATCH(find_narrow_fold)(type, op);
}
FoldKernel wide_fold_kernel(DataType type, ReduceOp op) {
  return HWY_DYNAMIC_DISPATCH(find_wide_fold)(type, op);
}

}  // namespace gossamer
#endif
