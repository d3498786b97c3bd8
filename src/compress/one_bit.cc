// One bit: columns, each with the mean of what is below 0 and of what is not.
//   Source    Seide, Fu, Droppo, Li and Yu, "1-bit stochastic gradient descent and its application
//   to
//             data-parallel distributed training of speech DNNs", Interspeech 2014.
//   Code      A column is `column` elements in a row. Per column both means as fp32, the lower one
//             first, then a bit per element: 1 for those below 0. Decoded: the mean of its side.
//   Error     Biased: what both sides scatter about their means, the least for this split; 1 - 1 /
//   B
//             of the squared norm at most, .363 on Gaussian values. Needs error feedback.
//   Values    Zeros come back as the upper mean, so as zeros where nothing is above. NaNs count for
//             0, infinities do not count for the means. A mean that is no normal number is 0.
//   Sums      Codes are decoded before they are added (class S).

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/one_bit.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/compress/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct TwoMeans {
  using Lane = uint8_t;
  static constexpr bool kDraws = false;
  float lower = 0;
  float upper = 0;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value,
                                                  hn::Vec<D> /*draw*/) const {
    const hn::RebindToSigned<D> di;
    const auto below = hn::RebindMask(di, hn::Lt(value, hn::Zero(d)));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::IfThenElseZero(below, hn::Set(di, 1)));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const hn::RebindToSigned<D> di;
    const auto below = hn::RebindMask(d, hn::Ne(hn::PromoteTo(di, code), hn::Zero(di)));
    return hn::IfThenElse(below, hn::Set(d, lower), hn::Set(d, upper));
  }
  void put(std::byte* code) const {
    put_float(lower, code);
    put_float(upper, code + sizeof(float));
  }
  void get(const std::byte* code) {
    lower = get_float(code);
    upper = get_float(code + sizeof(float));
  }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const uint64_t strange = extent_of(from, count).not_finite;
    *not_finite += strange;
    const double counted =
        static_cast<double>(count - (strange == 0 ? 0 : count_infinite(from, count)));
    const double below = sum_of(CountNegative(), from, count);
    const double positive = sum_of(Positive(), from, count);
    const double negative = sum_of(Magnitude(), from, count) - positive;
    lower = -mean_of(negative, below);
    upper = mean_of(positive, counted - below);
  }
  static float mean_of(double sum, double number) {
    const float mean = number > 0 ? static_cast<float>(std::max(sum, 0.0) / number) : 0;
    return mean < std::numeric_limits<float>::min() ? 0 : mean;
  }
};

uint64_t encode_one_bit(const BlockLayout& layout, const float* from, uint64_t count,
                        std::byte* code) {
  return encode_blocks<1>(TwoMeans(), layout, from, count, Draws(), code);
}
void decode_one_bit(const BlockLayout& layout, const std::byte* code, uint64_t count, float* into) {
  decode_blocks<1>(TwoMeans(), layout, code, count, Overwrite(), into);
}
void add_one_bit(const BlockLayout& layout, const std::byte* code, uint64_t count, float factor,
                 float* into) {
  decode_blocks<1>(TwoMeans(), layout, code, count, AddTimes{factor}, into);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_one_bit);
HWY_EXPORT(decode_one_bit);
HWY_EXPORT(add_one_bit);

class OneBit final : public BlockCodec {
 public:
  explicit OneBit(uint64_t column) : BlockCodec(column, 2, 1) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.needs_feedback = true;
    return traits;
  }
  // Worst where a single element of a side is not 0.
  double error_max(uint64_t count) const override { return 1.00001 - 1 / longest(count); }

 private:
  uint64_t encode_run(const BlockLayout& layout, std::span<const float> values,
                      const Draws& /*draws*/, std::byte* code) const override {
    return HWY_DYNAMIC_DISPATCH(encode_one_bit)(layout, values.data(), values.size(), code);
  }
  void decode_run(const BlockLayout& layout, const std::byte* code,
                  std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(decode_one_bit)(layout, code, into.size(), into.data());
  }
  void add_run(const BlockLayout& layout, const std::byte* code, float factor,
               std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(add_one_bit)(layout, code, into.size(), factor, into.data());
  }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> column = parameters.integer("column", 0, kBlockMax);
  if (!column) return column.status();
  return std::unique_ptr<Codec>(std::make_unique<OneBit>(static_cast<uint64_t>(*column)));
}

}  // namespace

const CodecFactory one_bit_codec = {"one_bit", "a bit per element and two means per column",
                                    "column=512: elements of a column, 0 for the whole run",
                                    create};

}  // namespace gossamer
#endif
