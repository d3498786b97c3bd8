// Weighted folds of floats: what a round of averaging does with what arrives.

#include <cstddef>
#include <cstdint>

#include "src/reduce_tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/reduce_mix.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/reduce_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

#if HWY_TARGET < HWY_EMU128

template <class Operand, class Arrived, class Target, class D>
HWY_INLINE void mix_vector(D d, std::byte* target, const std::byte* operand,
                           const std::byte* arrived, size_t i, hn::Vec<D> own, hn::Vec<D> other) {
  const auto kept = hn::Mul(load_float<Operand>(d, operand, i), own);
  const auto sum = hn::MulAdd(load_float<Arrived>(d, arrived, i), other, kept);
  store_float<Target>(d, canonical_lanes(d, sum), target, i);
}

#endif

template <class Operand, class Arrived, class Target>
void mix(std::byte* target, const std::byte* operand, const std::byte* arrived, uint64_t count,
         double own, double other) {
  using T = std::conditional_t<std::is_same_v<typename Operand::Lane, double>, double, float>;
  const T a = static_cast<T>(own);
  const T b = static_cast<T>(other);
  uint64_t i = 0;
#if HWY_TARGET < HWY_EMU128
  const hn::ScalableTag<T> d;
  const size_t n = hn::Lanes(d);
  const auto va = hn::Set(d, a);
  const auto vb = hn::Set(d, b);
  for (; i + 2 * n <= count; i += 2 * n) {
    mix_vector<Operand, Arrived, Target>(d, target, operand, arrived, i, va, vb);
    mix_vector<Operand, Arrived, Target>(d, target, operand, arrived, i + n, va, vb);
  }
  for (; i + n <= count; i += n) {
    mix_vector<Operand, Arrived, Target>(d, target, operand, arrived, i, va, vb);
  }
  // Not plain arithmetic: the last elements round as the others do.
  const hn::CappedTag<T, 1> one;
  for (; i < count; ++i) {
    mix_vector<Operand, Arrived, Target>(one, target, operand, arrived, i, hn::Set(one, a),
                                         hn::Set(one, b));
  }
#else
  for (; i < count; ++i) {
    const T kept = Operand::widen(load_one<typename Operand::Lane>(operand, i)) * a;
    const T sum = Arrived::widen(load_one<typename Arrived::Lane>(arrived, i)) * b + kept;
    store_one(Target::narrow(canonical(sum)), target, i);
  }
#endif
}

MixKernel find_mix(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return mix<Float16, Float16, Float16>;
    case DataType::kBfloat16:
      return mix<Bfloat16, Bfloat16, Bfloat16>;
    case DataType::kFloat8E4M3:
      return mix<E4M3, E4M3, E4M3>;
    case DataType::kFloat8E5M2:
      return mix<E5M2, E5M2, E5M2>;
    case DataType::kFloat32:
      return mix<PlainFloat<float>, PlainFloat<float>, PlainFloat<float>>;
    case DataType::kFloat64:
      return mix<PlainFloat<double>, PlainFloat<double>, PlainFloat<double>>;
    default:
      return nullptr;
  }
}

MixKernel find_mix_wide(DataType type) {
  using Wide = PlainFloat<float>;
  switch (type) {
    case DataType::kFloat16:
      return mix<Wide, Float16, Wide>;
    case DataType::kBfloat16:
      return mix<Wide, Bfloat16, Wide>;
    case DataType::kFloat8E4M3:
      return mix<Wide, E4M3, Wide>;
    case DataType::kFloat8E5M2:
      return mix<Wide, E5M2, Wide>;
    default:
      return nullptr;
  }
}

MixKernel find_mix_widening(DataType type) {
  using Wide = PlainFloat<float>;
  switch (type) {
    case DataType::kFloat16:
      return mix<Float16, Float16, Wide>;
    case DataType::kBfloat16:
      return mix<Bfloat16, Bfloat16, Wide>;
    case DataType::kFloat8E4M3:
      return mix<E4M3, E4M3, Wide>;
    case DataType::kFloat8E5M2:
      return mix<E5M2, E5M2, Wide>;
    default:
      return nullptr;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(find_mix);
HWY_EXPORT(find_mix_wide);
HWY_EXPORT(find_mix_widening);

MixKernel mix_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_mix)(type);
}
MixKernel mix_wide_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_mix_wide)(type);
}
MixKernel mix_widening_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_mix_widening)(type);
}

}  // namespace gossamer
#endif
