// TernGrad: -1, 0 or 1 times a block's largest magnitude, rounded at random.
//   Source    Wen, Xu, Yan, Wu, Wang, Chen and Li, "TernGrad: ternary gradients to reduce
//             communication in distributed deep learning", NIPS 2017.
//   Code      Per block the scale s as fp32, the largest magnitude, or with clip c the smaller of
//             that and c times the root mean square. Then 2 bits per element: x / s, clamped to -1
//             and 1 and rounded down or up with the probability that keeps the mean, plus 1.
//             Decoded: -s, 0 or s.
//   Error     clip=0: unbiased, omega = s * (sum of magnitudes) / (squared norm) - 1, which is at
//             most (sqrt(B) - 1) / 2 in blocks of B. On Gaussian values in blocks of 512 1.6, on
//             Laplace's 2.4. Else biased, as what is beyond s is cut off, and at most 1 + c^2 of
//             the squared norm; the paper has c = 2.5. No error feedback: where s stands for a
//             small x more is lost than was there.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity s. A scale that would be no normal
//             number, 1.2e-38, is 0, and its block zeros.
//   Sums      Codes are decoded before they are added (class S).

#include <algorithm>
#include <cmath>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/terngrad.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/levels-inl.h"
#include "src/compress/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct ClippedLargest : Levels<true> {
  double clip;

  explicit ClippedLargest(double clip_at) : Levels<true>{1}, clip(clip_at) {}

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Extent extent = extent_of(from, count);
    *not_finite += extent.not_finite;
    auto largest = static_cast<double>(extent.largest);
    if (clip > 0) {
      const double square = sum_of(Square(), from, count) / static_cast<double>(count);
      largest = std::min(largest, clip * std::sqrt(square));
    }
    fit_largest(largest);
  }
};

BlockLoops<double> terngrad_loops() {
  return loops_of<2, ClippedLargest, double>();
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(terngrad_loops);

// The form is where magnitudes are clipped.
class TernGrad final : public FormCodec<double> {
 public:
  TernGrad(uint64_t block, double clip)
      : FormCodec(block, 1, 2, clip, HWY_DYNAMIC_DISPATCH(terngrad_loops)()) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = form_ == 0;
    return traits;
  }
  // Unbiased: the largest is reached where all others are equal. The reciprocal of the scale is
  // rounded, which may make the largest itself a 0, once in 2^24. Clipped: an element loses no more
  // than itself or s, and B s^2 is at most c^2 times the squared norm.
  double error_max(uint64_t count) const override {
    if (form_ > 0) return 1.00001 * (1 + form_ * form_);
    return 1.00001 * (std::sqrt(longest(count)) - 1) / 2 + 1e-6;
  }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<double> clip = parameters.real("clip", 0, 1e6);
  if (!clip) return clip.status();
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(std::make_unique<TernGrad>(static_cast<uint64_t>(*block), *clip));
}

}  // namespace

const CodecFactory terngrad_codec = {
    "terngrad", "-1, 0 or 1 times the largest, rounded at random",
    "clip=0: magnitudes are cut off at so many root mean squares, 0 for nowhere; block=512: "
    "elements per scale, 0 for one per run",
    create};

}  // namespace gossamer
#endif
