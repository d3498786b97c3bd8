// Two bits: a level above, one below, and zero between two thresholds.
//   Source    Strom, "Scalable distributed DNN training using commodity GPU cloud computing",
//             Interspeech 2015, for thresholds and their own values as levels; Li, Zhang and Liu,
//             "Ternary weight networks", 2016, for means as levels.
//   Levels    fixed: -t, 0 and t, where t is the threshold. mean: -m, 0 and m, where t is the
//             threshold times the block's root mean square, and m the mean of magnitudes from t on.
//             0.6 loses least on Gaussian values: .19 of the squared norm.
//   Code      mean: per block m as fp32. Then 2 bits per element: 1 for those from t on, 2 for
//             those up to -t, else 0.
//   Error     Biased. fixed: at most the squared norm; blocks below t vanish, until error feedback
//             has added them up. mean: at most 1 - (1 - threshold^2) / B of it, for a threshold up
//             to 1. Needs error feedback.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity m or t. A mean that is no normal
//             number is 0.
//   Sums      Codes are decoded before they are added (class S).

#include <cmath>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/two_bit.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/compress/sums-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_TWO_BIT_CC_
#define GOSSAMER_SRC_COMPRESS_TWO_BIT_CC_
namespace gossamer {

struct TwoBitForm {
  bool fixed;
  float threshold;
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct Ternary {
  using Lane = uint8_t;
  static constexpr bool kDraws = false;
  bool fixed;
  float threshold;  // of the form
  float least = 0;  // magnitude that is not 0
  float level = 0;

  explicit Ternary(TwoBitForm form) : fixed(form.fixed), threshold(form.threshold) {
    if (fixed) least = level = threshold;
  }

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value,
                                                  hn::Vec<D> /*draw*/) const {
    const hn::RebindToSigned<D> di;
    const auto above = hn::RebindMask(di, hn::Ge(value, hn::Set(d, least)));
    const auto below = hn::RebindMask(di, hn::Le(value, hn::Set(d, -least)));
    const auto either =
        hn::IfThenElse(above, hn::Set(di, 1), hn::IfThenElseZero(below, hn::Set(di, 2)));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), either);
  }
  // A 3 that no encoder writes is a 0 as well.
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const hn::RebindToSigned<D> di;
    const auto either = hn::PromoteTo(di, code);
    const auto above = hn::RebindMask(d, hn::Eq(either, hn::Set(di, 1)));
    const auto below = hn::RebindMask(d, hn::Eq(either, hn::Set(di, 2)));
    return hn::IfThenElse(above, hn::Set(d, level), hn::IfThenElseZero(below, hn::Set(d, -level)));
  }
  void put(std::byte* code) const {
    if (!fixed) put_float(level, code);
  }
  void get(const std::byte* code) {
    if (!fixed) level = get_float(code);
  }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    *not_finite += extent_of(from, count).not_finite;
    if (fixed) return;
    const double square = sum_of(Square(), from, count) / static_cast<double>(count);
    least = static_cast<float>(static_cast<double>(threshold) * std::sqrt(square));
    level = 0;
    if (least < std::numeric_limits<float>::min()) {
      least = std::numeric_limits<float>::infinity();
      return;
    }
    const auto number = static_cast<double>(count_of(FiniteFrom{least}, from, count));
    if (number > 0) {
      const MagnitudeFrom magnitudes{static_cast<double>(least)};
      level = static_cast<float>(sum_of(magnitudes, from, count) / number);
    }
  }
};

BlockLoops<TwoBitForm> two_bit_loops() {
  return loops_of<2, Ternary, TwoBitForm>();
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(two_bit_loops);

class TwoBit final : public FormCodec<TwoBitForm> {
 public:
  TwoBit(uint64_t block, TwoBitForm form)
      : FormCodec(block, form.fixed ? 0 : 1, 2, form, HWY_DYNAMIC_DISPATCH(two_bit_loops)()) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.needs_feedback = true;
    return traits;
  }
  double error_max(uint64_t count) const override {
    const auto threshold = static_cast<double>(form_.threshold);
    if (form_.fixed || threshold >= 1) return 1;
    return 1.00001 - (1 - threshold * threshold) / longest(count);
  }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  static constexpr std::string_view kLevels[] = {"mean", "fixed"};
  const Result<double> threshold = parameters.real("threshold", 1e-30, 1e30);
  if (!threshold) return threshold.status();
  const Result<size_t> levels = parameters.choice("levels", kLevels);
  if (!levels) return levels.status();
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(std::make_unique<TwoBit>(
      static_cast<uint64_t>(*block), TwoBitForm{*levels == 1, static_cast<float>(*threshold)}));
}

}  // namespace

const CodecFactory two_bit_codec = {
    "two_bit", "above, below or between two thresholds",
    "threshold=0.6: magnitudes below are 0, in units of the block's root mean square where levels "
    "are means; levels=mean: or fixed, which are the threshold itself; block=512: elements per "
    "mean, "
    "0 for one per run",
    create};

}  // namespace gossamer
#endif
