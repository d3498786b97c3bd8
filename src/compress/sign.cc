// A bit per element, for its sign, and what the two sides of a block stand for: sign has one mean
// of magnitudes, one_bit one for each side.
//   Source    sign: Karimireddy, Rebjock, Stich and Jaggi, "Error feedback fixes signSGD and other
//             gradient compression schemes", ICML 2019. one_bit: Seide, Fu, Droppo, Li and Yu,
//             "1-bit stochastic gradient descent and its application to data-parallel distributed
//             training of speech DNNs", Interspeech 2014.
//   Code      sign: per block the mean m of the magnitudes as fp32. one_bit: a block is a column,
//             `column` elements in a row; per column the mean of what is below 0 and that of what
//             is not, as fp32. Then a bit per element: 1 for those below 0. Decoded: -m or m, or
//             the mean of its side.
//   Error     Biased, 1 - 1 / B of the squared norm at most. sign: 1 - (sum of magnitudes)^2 / (B *
//             squared norm), .363 on Gaussian values, .5 on Laplace's. one_bit: what both sides
//             scatter about their means, the least for this split, .363 on Gaussian values. Need
//             error feedback.
//   Values    sign: zeros come back as m, as only a block of zeros comes back as zeros. one_bit:
//             zeros come back as the upper mean, so as zeros where nothing is above. NaNs count for
//             0, infinities do not count for the means. A mean that is no normal number is 0.
//   Sums      Codes are decoded before they are added (class S).

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/sign.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/compress/sums-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_SIGN_CC_
#define GOSSAMER_SRC_COMPRESS_SIGN_CC_
namespace gossamer {

enum class SignForm : uint8_t { kOneMean, kTwoMeans };

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

inline float mean_of(double sum, double number) {
  const float mean = number > 0 ? static_cast<float>(std::max(sum, 0.0) / number) : 0;
  return mean < std::numeric_limits<float>::min() ? 0 : mean;
}

// How many values count for a mean; adds to not_finite.
HWY_INLINE uint64_t counted_of(const float* from, uint64_t count, uint64_t* not_finite) {
  const uint64_t strange = extent_of(from, count).not_finite;
  *not_finite += strange;
  return count - (strange == 0 ? 0 : count_infinite(from, count));
}

struct OneMean : BelowZero {
  float mean = 0;

  explicit OneMean(SignForm /*form*/) {}

  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto sign = hn::ShiftLeft<31>(hn::PromoteTo(hn::RebindToSigned<D>(), code));
    return hn::Xor(hn::Set(d, mean), hn::BitCast(d, sign));
  }
  void put(std::byte* code) const { put_float(mean, code); }
  void get(const std::byte* code) { mean = get_float(code); }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const auto counted = static_cast<double>(counted_of(from, count, not_finite));
    mean = mean_of(sum_of(Magnitude(), from, count), counted);
  }
};

struct TwoMeans : BelowZero {
  float lower = 0;
  float upper = 0;

  explicit TwoMeans(SignForm /*form*/) {}

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
    const auto counted = static_cast<double>(counted_of(from, count, not_finite));
    const auto below = static_cast<double>(count_of(FiniteNegative(), from, count));
    const double positive = sum_of(Positive(), from, count);
    const double negative = sum_of(Magnitude(), from, count) - positive;
    lower = -mean_of(negative, below);
    upper = mean_of(positive, counted - below);
  }
};

BlockLoops<SignForm> sign_loops(SignForm form) {
  return form == SignForm::kTwoMeans ? loops_of<1, TwoMeans, SignForm>()
                                     : loops_of<1, OneMean, SignForm>();
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(sign_loops);

class Signs final : public FormCodec<SignForm> {
 public:
  Signs(uint64_t block, SignForm form)
      : FormCodec(block, form == SignForm::kTwoMeans ? 2 : 1, 1, form,
                  HWY_DYNAMIC_DISPATCH(sign_loops)(form)) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.needs_feedback = true;
    return traits;
  }
  // Worst where a single element, of a side, is not 0.
  double error_max(uint64_t count) const override { return 1.00001 - 1 / longest(count); }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters, const char* length, SignForm form) {
  const Result<int64_t> block = parameters.integer(length, 0, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(std::make_unique<Signs>(static_cast<uint64_t>(*block), form));
}
Result<std::unique_ptr<Codec>> create_sign(Parameters& parameters) {
  return create(parameters, "block", SignForm::kOneMean);
}
Result<std::unique_ptr<Codec>> create_one_bit(Parameters& parameters) {
  return create(parameters, "column", SignForm::kTwoMeans);
}

}  // namespace

const CodecFactory sign_codec = {"sign", "signs and the mean magnitude of a block",
                                 "block=4096: elements per mean, 0 for one per run", create_sign};
const CodecFactory one_bit_codec = {"one_bit", "a bit per element and two means per column",
                                    "column=512: elements of a column, 0 for the whole run",
                                    create_one_bit};

}  // namespace gossamer
#endif
