// Conversions between fp32 and narrow floats, and scaling of floats.

#include <cstddef>
#include <cstdint>

#include "src/reduce_tables.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/reduce_scale.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/reduce_lanes-inl.h"

#ifndef GOSSAMER_SRC_REDUCE_SCALE_CC_
#define GOSSAMER_SRC_REDUCE_SCALE_CC_
namespace gossamer {

enum class Scaling { kNone, kMultiply, kDivide };

template <Scaling scaling, class T>
T scale_one(T value, T factor) {
  if constexpr (scaling == Scaling::kMultiply) return canonical(value * factor);
  if constexpr (scaling == Scaling::kDivide) return canonical(value / factor);
  return value;
}

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

#if HWY_TARGET < HWY_EMU128

// Converts one vector of From to one of To; D is the tag of what is computed in, fp32 or fp64.
template <class From, class To, Scaling scaling, class D>
HWY_INLINE void convert_vector(D d, std::byte* target, const std::byte* from, size_t i,
                               hn::Vec<D> factor) {
  hn::Vec<D> value = load_float<From>(d, from, i);
  if constexpr (scaling == Scaling::kMultiply) value = canonical_lanes(d, hn::Mul(value, factor));
  if constexpr (scaling == Scaling::kDivide) value = canonical_lanes(d, hn::Div(value, factor));
  store_float<To>(d, value, target, i);
}

#endif

// `target` may be `from` where both types are as wide.
template <class From, class To, Scaling scaling>
void convert(std::byte* target, const std::byte* from, uint64_t count, double scale) {
  using T = std::conditional_t<std::is_same_v<typename From::Lane, double>, double, float>;
  const T factor = static_cast<T>(scale);
  uint64_t i = 0;
#if HWY_TARGET < HWY_EMU128
  const hn::ScalableTag<T> d;
  const size_t n = hn::Lanes(d);
  const auto factors = hn::Set(d, factor);
  for (; i + 2 * n <= count; i += 2 * n) {
    convert_vector<From, To, scaling>(d, target, from, i, factors);
    convert_vector<From, To, scaling>(d, target, from, i + n, factors);
  }
  if (i + n <= count) {
    convert_vector<From, To, scaling>(d, target, from, i, factors);
    i += n;
  }
  const hn::CappedTag<T, 16 / sizeof(T)> d_small;
  const size_t n_small = hn::Lanes(d_small);
  for (; i + n_small <= count; i += n_small) {
    convert_vector<From, To, scaling>(d_small, target, from, i, hn::Set(d_small, factor));
  }
#endif
  for (; i < count; ++i) {
    const T value =
        scale_one<scaling, T>(From::widen(load_one<typename From::Lane>(from, i)), factor);
    store_one(To::narrow(value), target, i);
  }
}

ConvertKernel find_widen(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return convert<Float16, PlainFloat<float>, Scaling::kNone>;
    case DataType::kBfloat16:
      return convert<Bfloat16, PlainFloat<float>, Scaling::kNone>;
    case DataType::kFloat8E4M3:
      return convert<E4M3, PlainFloat<float>, Scaling::kNone>;
    case DataType::kFloat8E5M2:
      return convert<E5M2, PlainFloat<float>, Scaling::kNone>;
    default:
      return nullptr;
  }
}

template <Scaling scaling>
ConvertKernel narrow_of(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return convert<PlainFloat<float>, Float16, scaling>;
    case DataType::kBfloat16:
      return convert<PlainFloat<float>, Bfloat16, scaling>;
    case DataType::kFloat8E4M3:
      return convert<PlainFloat<float>, E4M3, scaling>;
    case DataType::kFloat8E5M2:
      return convert<PlainFloat<float>, E5M2, scaling>;
    default:
      return nullptr;
  }
}

template <Scaling scaling>
ConvertKernel scale_of(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return convert<Float16, Float16, scaling>;
    case DataType::kBfloat16:
      return convert<Bfloat16, Bfloat16, scaling>;
    case DataType::kFloat8E4M3:
      return convert<E4M3, E4M3, scaling>;
    case DataType::kFloat8E5M2:
      return convert<E5M2, E5M2, scaling>;
    case DataType::kFloat32:
      return convert<PlainFloat<float>, PlainFloat<float>, scaling>;
    case DataType::kFloat64:
      return convert<PlainFloat<double>, PlainFloat<double>, scaling>;
    default:
      return nullptr;
  }
}

ConvertKernel find_narrow(DataType type, bool divide) {
  return divide ? narrow_of<Scaling::kDivide>(type) : narrow_of<Scaling::kMultiply>(type);
}
ConvertKernel find_scale(DataType type, bool divide) {
  return divide ? scale_of<Scaling::kDivide>(type) : scale_of<Scaling::kMultiply>(type);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(find_widen);
HWY_EXPORT(find_narrow);
HWY_EXPORT(find_scale);

ConvertKernel widen_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_widen)(type);
}
ConvertKernel narrow_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_narrow)(type, /*divide=*/false);
}
ConvertKernel narrow_divide_kernel(DataType type) {
  return HWY_DYNAMIC_DISPATCH(find_narrow)(type, /*divide=*/true);
}
ConvertKernel float_scale_kernel(DataType type, bool divide) {
  return HWY_DYNAMIC_DISPATCH(find_scale)(type, divide);
}

}  // namespace gossamer
#endif
