// Int8 and int4: a whole number of 8 or 4 bits per element and a scale per block.
//   Source    Dettmers, "8-bit approximations for parallelism in deep learning", ICLR 2016, for
//             numbers of 8 bits with scales; Gupta, Agrawal, Gopalakrishnan and Narayanan, "Deep
//             learning with limited numerical precision", ICML 2015, for stochastic rounding.
//   Code      With L = 127 or 7. symmetric: per block the scale s = largest magnitude / L as fp32,
//             then q = x / s rounded, as q + L. Decoded: s * q.
//             minmax: per block the middle m of smallest and largest and the step s = (largest -
//             smallest) / (2 L + 1) as fp32, then q = (x - smallest) / s rounded. Decoded:
//             m + s * (q - L - 1/2). Two numbers share a byte in int4, the first in its lower half.
//   Error     nearest: biased, of the squared norm at most block / (4 L^2), in minmax block /
//             (2 (2 L + 1)^2); stochastic: unbiased, the same in expectation. On Gaussian values:
//             int8 in blocks of 256 4.8e-5, minmax 4.1e-5; int4 in blocks of 64 1.2e-2; stochastic
//             twice that. int4 to nearest needs error feedback.
//   Values    Zeros come back as zeros; in minmax only where the block is constant. A NaN is 0, an
//             infinity the largest (or smallest) of the block. A scale that would be no normal
//             number, 1.2e-38, is 0: a block of smaller magnitudes is zeros, in minmax constant.
//   Sums      Codes are decoded before they are added (class S).

#include <algorithm>
#include <limits>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/integers.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/levels-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_INTEGERS_CC_
#define GOSSAMER_SRC_COMPRESS_INTEGERS_CC_
namespace gossamer {

struct IntegerForm {
  int bits;  // 8 or 4
  bool minmax;
  bool stochastic;

  float levels() const { return bits == 8 ? 127.0F : 7.0F; }
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

template <bool stochastic>
struct Symmetric : Levels<stochastic> {
  explicit Symmetric(IntegerForm form) : Levels<stochastic>{form.levels()} {}
  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Extent extent = extent_of(from, count);
    *not_finite += extent.not_finite;
    this->fit_largest(static_cast<double>(extent.largest));
  }
};

template <bool stochastic>
struct MinMax {
  using Lane = uint8_t;
  static constexpr bool kDraws = stochastic;
  float last;  // level
  float middle = 0;
  float step = 0;
  float half_lowest = 0;
  float inverse = 0;  // of half a step

  explicit MinMax(IntegerForm form) : last(2 * form.levels() + 1) {}

  // Halves, because a difference may be twice the largest number.
  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    const auto half = hn::Mul(without_nan(d, value), hn::Set(d, 0.5F));
    const auto most = hn::Set(d, last);
    auto level = hn::Mul(hn::Sub(half, hn::Set(d, half_lowest)), hn::Set(d, inverse));
    level = hn::Max(hn::Min(without_nan(d, level), most), hn::Zero(d));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), rounded<stochastic>(d, level, draw));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto level = hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), code));
    const auto part = hn::Mul(hn::Sub(level, hn::Set(d, last * 0.5F)), hn::Set(d, step));
    return hn::Add(part, hn::Set(d, middle));
  }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Range range = range_of(from, count);
    *not_finite += range.not_finite;
    const float half = range.largest * 0.5F - range.smallest * 0.5F;
    half_lowest = range.smallest * 0.5F;
    middle = range.largest * 0.5F + half_lowest + 0.0F;  // of two zeros always +0
    step = half / (last * 0.5F);
    if (half < last * std::numeric_limits<float>::min()) step = 0;
    while (!std::isfinite(step * (last * 0.5F) + std::abs(middle))) step *= 0.999F;
    inverse = step > 0 ? last / half : 0;
  }
  void put(std::byte* code) const {
    put_float(middle, code);
    put_float(step, code + sizeof(float));
  }
  void get(const std::byte* code) {
    middle = get_float(code);
    step = get_float(code + sizeof(float));
  }
};

template <int bits>
BlockLoops<IntegerForm> loops_of_bits(IntegerForm form) {
  if (form.minmax) {
    return form.stochastic ? loops_of<bits, MinMax<true>, IntegerForm>()
                           : loops_of<bits, MinMax<false>, IntegerForm>();
  }
  return form.stochastic ? loops_of<bits, Symmetric<true>, IntegerForm>()
                         : loops_of<bits, Symmetric<false>, IntegerForm>();
}
BlockLoops<IntegerForm> integer_loops(IntegerForm form) {
  return form.bits == 8 ? loops_of_bits<8>(form) : loops_of_bits<4>(form);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(integer_loops);

class Integers final : public FormCodec<IntegerForm> {
 public:
  Integers(uint64_t block, IntegerForm form)
      : FormCodec(block, form.minmax ? 2 : 1, static_cast<uint64_t>(form.bits), form,
                  HWY_DYNAMIC_DISPATCH(integer_loops)(form)) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = form_.stochastic;
    traits.needs_feedback = form_.bits < 8 && !form_.stochastic;
    return traits;
  }
  // Each error is at most half a scale, or its variance is, squared; and the block's largest
  // magnitude is part of its norm. In minmax the square of the difference is at most twice that of
  // both ends. Symmetric rounding to nearest never loses more than the value.
  double error_max(uint64_t count) const override {
    const auto levels = static_cast<double>(form_.levels());
    constexpr double kRounding = 1.00001;
    if (form_.minmax) {
      return 1e-12 + kRounding * longest(count) / (2 * (2 * levels + 1) * (2 * levels + 1));
    }
    const double bound = kRounding * longest(count) / (4 * levels * levels);
    return form_.stochastic ? bound : std::min(bound, 1.0);
  }
};

template <int bits>
Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  const Result<size_t> mode = parameters.choice("mode", kModes);
  if (!mode) return mode.status();
  const Result<size_t> rounding = parameters.choice("rounding", kRoundings);
  if (!rounding) return rounding.status();
  return std::unique_ptr<Codec>(std::make_unique<Integers>(
      static_cast<uint64_t>(*block), IntegerForm{bits, *mode == 1, *rounding == 1}));
}

}  // namespace

const CodecFactory int8_codec = {
    "int8", "8-bit whole numbers and a scale per block",
    "block=256: elements per scale, 0 for one per run; mode=symmetric: or minmax; "
    "rounding=nearest: or stochastic",
    create<8>};
const CodecFactory int4_codec = {
    "int4", "4-bit whole numbers and a scale per block",
    "block=64: elements per scale, 0 for one per run; mode=symmetric: or minmax; "
    "rounding=nearest: or stochastic",
    create<4>};

}  // namespace gossamer
#endif
