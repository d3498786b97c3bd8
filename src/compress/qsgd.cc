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
  explicit NormLevels(uint64_t each_side) : Levels<true>{static_cast<float>(each_side)} {}

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    *not_finite += extent_of(from, count).not_finite;
    fit_largest(std::sqrt(sum_of(Square(), from, count)));
  }
};

BlockLoops<uint64_t> qsgd_loops(uint64_t levels) {
  switch (std::bit_width(2 * levels)) {
    case 2:
      return loops_of<2, NormLevels, uint64_t>();
    case 3:
      return loops_of<3, NormLevels, uint64_t>();
    case 4:
      return loops_of<4, NormLevels, uint64_t>();
    case 5:
      return loops_of<5, NormLevels, uint64_t>();
    case 6:
      return loops_of<6, NormLevels, uint64_t>();
    case 7:
      return loops_of<7, NormLevels, uint64_t>();
    default:
      return loops_of<8, NormLevels, uint64_t>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(qsgd_loops);

// The form is the number of levels on either side.
class Qsgd final : public FormCodec<uint64_t> {
 public:
  Qsgd(uint64_t block, uint64_t levels)
      : FormCodec(block, 1, static_cast<uint64_t>(std::bit_width(2 * levels)), levels,
                  HWY_DYNAMIC_DISPATCH(qsgd_loops)(levels)) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = true;
    return traits;
  }
  double error_max(uint64_t count) const override {
    const double n = longest(count);
    const auto s = static_cast<double>(form_);
    return 1.00001 * std::min(n / (s * s), std::sqrt(n) / s);
  }
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
