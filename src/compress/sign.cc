// Sign: a bit per element and the mean magnitude of a block.
//   Source    Karimireddy, Rebjock, Stich and Jaggi, "Error feedback fixes signSGD and other
//   gradient
//             compression schemes", ICML 2019.
//   Code      Per block the mean m of the magnitudes as fp32, then a bit per element: 1 for those
//             below 0. Decoded: -m or m.
//   Error     Biased: 1 - (sum of magnitudes)^2 / (B * squared norm) of the squared norm, .363 on
//             Gaussian values, .5 on Laplace's; 1 - 1 / B at most. Needs error feedback.
//   Values    Zeros come back as m, as only a block of zeros comes back as zeros. NaNs count for 0,
//             infinities do not count for the mean. A mean that is no normal number is 0.
//   Sums      Codes are decoded before they are added (class S).

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/sign.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/compress/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct SignOf {
  using Lane = uint8_t;
  static constexpr bool kDraws = false;
  float mean = 0;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value,
                                                  hn::Vec<D> /*draw*/) const {
    const hn::RebindToSigned<D> di;
    const auto below = hn::RebindMask(di, hn::Lt(value, hn::Zero(d)));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::IfThenElseZero(below, hn::Set(di, 1)));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto sign = hn::ShiftLeft<31>(hn::PromoteTo(hn::RebindToSigned<D>(), code));
    return hn::Xor(hn::Set(d, mean), hn::BitCast(d, sign));
  }
  void put(std::byte* code) const { put_float(mean, code); }
  void get(const std::byte* code) { mean = get_float(code); }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const uint64_t strange = extent_of(from, count).not_finite;
    *not_finite += strange;
    const uint64_t counted = count - (strange == 0 ? 0 : count_infinite(from, count));
    const double sum = sum_of(Magnitude(), from, count);
    mean = counted == 0 ? 0 : static_cast<float>(sum / static_cast<double>(counted));
    if (mean < std::numeric_limits<float>::min()) mean = 0;
  }
};

uint64_t encode_sign(const BlockLayout& layout, const float* from, uint64_t count,
                     std::byte* code) {
  return encode_blocks<1>(SignOf(), layout, from, count, Draws(), code);
}
void decode_sign(const BlockLayout& layout, const std::byte* code, uint64_t count, float* into) {
  decode_blocks<1>(SignOf(), layout, code, count, Overwrite(), into);
}
void add_sign(const BlockLayout& layout, const std::byte* code, uint64_t count, float factor,
              float* into) {
  decode_blocks<1>(SignOf(), layout, code, count, AddTimes{factor}, into);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_sign);
HWY_EXPORT(decode_sign);
HWY_EXPORT(add_sign);

class Sign final : public BlockCodec {
 public:
  explicit Sign(uint64_t block) : BlockCodec(block, 1, 1) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.needs_feedback = true;
    return traits;
  }
  // Worst where a single element is not 0.
  double error_max(uint64_t count) const override { return 1.00001 - 1 / longest(count); }

 private:
  uint64_t encode_run(const BlockLayout& layout, std::span<const float> values,
                      const Draws& /*draws*/, std::byte* code) const override {
    return HWY_DYNAMIC_DISPATCH(encode_sign)(layout, values.data(), values.size(), code);
  }
  void decode_run(const BlockLayout& layout, const std::byte* code,
                  std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(decode_sign)(layout, code, into.size(), into.data());
  }
  void add_run(const BlockLayout& layout, const std::byte* code, float factor,
               std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(add_sign)(layout, code, into.size(), factor, into.data());
  }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(std::make_unique<Sign>(static_cast<uint64_t>(*block)));
}

}  // namespace

const CodecFactory sign_codec = {"sign", "signs and the mean magnitude of a block",
                                 "block=4096: elements per mean, 0 for one per run", create};

}  // namespace gossamer
#endif
