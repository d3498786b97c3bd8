// QSGD: whole levels of a block's norm, rounded at random.
//   Source    Alistarh, Grubic, Li, Tomioka and Vojnovic, "QSGD: communication-efficient SGD via
//             gradient quantization and encoding", NIPS 2017; the code without Elias' integers.
//   Code      Per block n / s as fp32, where n is the norm and s the number of levels; then q of
//             each element, x s / n rounded down or up with the probability that keeps the mean,
//             as q + s in ceil(log2(2 s + 1)) bits. Decoded: q n / s.
//   Error     Unbiased: omega <= min(B / s^2, sqrt(B) / s) for blocks of B. On Gaussian values with
//             s = 7 and B = 512: 1.58. No error feedback.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity the norm. Blocks whose norm is
//             below 1.2e-38 s are zeros, one beyond 3.4e38 is taken for that.
//   Sums      Codes are decoded before they are added (class S).

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/qsgd.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/levels-inl.h"
#include "src/compress/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct NormLevels : Levels<true> {
  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    *not_finite += extent_of(from, count).not_finite;
    fit_largest(std::sqrt(sum_of(Square(), from, count)));
  }
};

// Calls f with the bits of a level as a constant.
template <class F>
auto with_bits(uint64_t bits, const F& f) {
  switch (bits) {
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 5:
      return f(std::integral_constant<int, 5>());
    case 6:
      return f(std::integral_constant<int, 6>());
    case 7:
      return f(std::integral_constant<int, 7>());
    default:
      return f(std::integral_constant<int, 8>());
  }
}

uint64_t encode_qsgd(uint64_t levels, const BlockLayout& layout, const float* from, uint64_t count,
                     const Draws& draws, std::byte* code) {
  const NormLevels kernel{{static_cast<float>(levels)}};
  return with_bits(layout.bits, [&](auto bits) {
    return encode_blocks<bits()>(kernel, layout, from, count, draws, code);
  });
}

template <class Use>
void decode_levels(uint64_t levels, const BlockLayout& layout, const std::byte* code,
                   uint64_t count, const Use& use, float* into) {
  const NormLevels kernel{{static_cast<float>(levels)}};
  with_bits(layout.bits,
            [&](auto bits) { decode_blocks<bits()>(kernel, layout, code, count, use, into); });
}

void decode_qsgd(uint64_t levels, const BlockLayout& layout, const std::byte* code, uint64_t count,
                 float* into) {
  decode_levels(levels, layout, code, count, Overwrite(), into);
}
void add_qsgd(uint64_t levels, const BlockLayout& layout, const std::byte* code, uint64_t count,
              float factor, float* into) {
  decode_levels(levels, layout, code, count, AddTimes{factor}, into);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_qsgd);
HWY_EXPORT(decode_qsgd);
HWY_EXPORT(add_qsgd);

class Qsgd final : public BlockCodec {
 public:
  Qsgd(uint64_t block, uint64_t levels)
      : BlockCodec(block, 1, static_cast<uint64_t>(std::bit_width(2 * levels))), levels_(levels) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = true;
    return traits;
  }
  double error_max(uint64_t count) const override {
    const double n = longest(count);
    const auto s = static_cast<double>(levels_);
    return 1.00001 * std::min(n / (s * s), std::sqrt(n) / s);
  }

 private:
  uint64_t encode_run(const BlockLayout& layout, std::span<const float> values, const Draws& draws,
                      std::byte* code) const override {
    return HWY_DYNAMIC_DISPATCH(encode_qsgd)(levels_, layout, values.data(), values.size(), draws,
                                             code);
  }
  void decode_run(const BlockLayout& layout, const std::byte* code,
                  std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(decode_qsgd)(levels_, layout, code, into.size(), into.data());
  }
  void add_run(const BlockLayout& layout, const std::byte* code, float factor,
               std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(add_qsgd)(levels_, layout, code, into.size(), factor, into.data());
  }

  uint64_t levels_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> levels = parameters.integer("levels", 1, 127);
  if (!levels) return levels.status();
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(
      std::make_unique<Qsgd>(static_cast<uint64_t>(*block), static_cast<uint64_t>(*levels)));
}

}  // namespace

const CodecFactory qsgd_codec = {
    "qsgd", "levels of the norm, rounded at random",
    "levels=7: on either side of 0; block=512: elements per norm, 0 for one per run", create};

}  // namespace gossamer
#endif
