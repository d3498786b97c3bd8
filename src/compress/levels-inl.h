// Equally spaced levels around zero, as int8, int4 and QSGD have them. `levels` on either side:
// a value x is q = x / scale, rounded and clamped to [-levels, levels], and its byte q + levels.
//
// Compiled once per instruction set, as src/compress/lanes-inl.h is.

#if defined(GOSSAMER_SRC_COMPRESS_LEVELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_LEVELS_INL_H_
#undef GOSSAMER_SRC_COMPRESS_LEVELS_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_LEVELS_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>

#include "src/compress/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// The whole number next to `value`; or, with draws, the one below or above, with the probability
// that keeps the mean. Compared with the fraction, which is exact: a sum of value and draw is not.
template <bool stochastic, class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> rounded(D d, hn::Vec<D> value, hn::Vec<D> draw) {
  if constexpr (!stochastic) return hn::NearestInt(value);
  const auto below = hn::Floor(value);
  const auto up = hn::Lt(draw, hn::Sub(value, below));
  return hn::NearestInt(hn::Add(below, hn::IfThenElseZero(up, hn::Set(d, 1.0F))));
}

template <bool stochastic>
struct Levels {
  using Lane = uint8_t;
  static constexpr bool kDraws = stochastic;
  float levels;
  float scale = 0;
  float inverse = 0;

  // Clamped because of infinities, and because x * (1 / scale) may be a bit beyond the last level.
  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    const auto most = hn::Set(d, levels);
    auto level = without_nan(d, hn::Mul(value, hn::Set(d, inverse)));
    level = hn::Max(hn::Min(level, most), hn::Neg(most));
    const auto whole = hn::Add(rounded<stochastic>(d, level, draw), hn::NearestInt(most));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), whole);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto level = hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), code));
    return hn::Mul(hn::Sub(level, hn::Set(d, levels)), hn::Set(d, scale));
  }
  void put(std::byte* code) const { put_float(scale, code); }
  void get(const std::byte* code) { scale = get_float(code); }

  // So that `largest` is the last level. A scale that is no normal number is none, one whose last
  // level is infinite gives way.
  void fit_largest(double largest) {
    const double last = std::min(largest, static_cast<double>(std::numeric_limits<float>::max()));
    scale = static_cast<float>(last / static_cast<double>(levels));
    if (scale < std::numeric_limits<float>::min()) scale = 0;
    if (std::isinf(scale * levels)) scale = std::nextafter(scale, 0.0F);
    inverse = scale > 0 ? static_cast<float>(static_cast<double>(levels) / last) : 0;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
