// Int8: a byte per element and a scale per block.
//   Source    Dettmers, "8-bit approximations for parallelism in deep learning", ICLR 2016, for
//             numbers of 8 bits with scales; Gupta, Agrawal, Gopalakrishnan and Narayanan, "Deep
//             learning with limited numerical precision", ICML 2015, for stochastic rounding.
//   Code      symmetric: per block the scale s = largest magnitude / 127 as fp32, then per element
//             q in [-127, 127] as a signed byte, q = x / s rounded. Decoded: s * q.
//             minmax: per block the middle m of smallest and largest and the step s = (largest -
//             smallest) / 255 as fp32, then a byte q = (x - smallest) / s rounded. Decoded:
//             m + s * (q - 127.5).
//   Error     nearest: biased, of the squared norm at most block / 64516, minmax block / 130050;
//             stochastic: unbiased, the same in expectation. On Gaussian values in blocks of 256:
//             4.8e-5, minmax 4.1e-5, stochastic twice that.
//   Values    Zeros come back as zeros; in minmax only where the block is constant. A NaN is 0, an
//             infinity the largest (or smallest) of the block. A block whose largest magnitude is
//             below 1.5e-36 is zeros; in minmax one whose values differ by less becomes constant.
//   Sums      Codes are decoded before they are added (class S).

#include <algorithm>
#include <limits>

#include "src/check.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/int8.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/draws-inl.h"
#include "src/compress/lanes-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_INT8_CC_
#define GOSSAMER_SRC_COMPRESS_INT8_CC_
namespace gossamer {

struct Int8Form {
  bool minmax;
  bool stochastic;
  uint64_t block;  // not 0

  uint64_t numbers() const { return minmax ? 2 : 1; }
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// The whole number next to `value`, or the one below `value + draw`.
template <bool stochastic, class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> rounded(D /*d*/, hn::Vec<D> value, hn::Vec<D> draw) {
  if constexpr (stochastic) return hn::NearestInt(hn::Floor(hn::Add(value, draw)));
  return hn::NearestInt(value);
}

template <bool stochastic>
struct Symmetric {
  using Lane = int8_t;
  static constexpr bool kDraws = stochastic;
  float scale = 0;
  float inverse = 0;

  // Clamped before it is rounded, for infinities, and up to 127.99, which a draw may push over.
  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<int8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    const auto most = hn::Set(d, 127.0F);
    auto level = without_nan(d, hn::Mul(value, hn::Set(d, inverse)));
    level = hn::Max(hn::Min(level, most), hn::Neg(most));
    return hn::DemoteTo(hn::Rebind<int8_t, D>(), rounded<stochastic>(d, level, draw));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<int8_t, D>> code) const {
    const auto level = hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), code));
    return hn::Mul(level, hn::Set(d, scale));
  }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Extent extent = extent_of(from, count);
    *not_finite += extent.not_finite;
    scale = extent.largest / 127;
    if (scale < std::numeric_limits<float>::min()) scale = 0;
    if (std::isinf(scale * 127)) scale = std::nextafter(scale, 0.0F);
    inverse = scale > 0 ? 127 / extent.largest : 0;
  }
  void put(std::byte* code) const { put_float(scale, code); }
  void get(const std::byte* code) { scale = get_float(code); }
};

template <bool stochastic>
struct MinMax {
  using Lane = uint8_t;
  static constexpr bool kDraws = stochastic;
  float middle = 0;
  float step = 0;
  float half_lowest = 0;
  float inverse = 0;  // of twice the step

  // Halves, because a difference may be twice the largest number.
  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    const auto half = hn::Mul(without_nan(d, value), hn::Set(d, 0.5F));
    auto level = hn::Mul(hn::Sub(half, hn::Set(d, half_lowest)), hn::Set(d, inverse));
    level = hn::Max(hn::Min(without_nan(d, level), hn::Set(d, 255.0F)), hn::Zero(d));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), rounded<stochastic>(d, level, draw));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto level = hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), code));
    const auto part = hn::Mul(hn::Sub(level, hn::Set(d, 127.5F)), hn::Set(d, step));
    return hn::Add(part, hn::Set(d, middle));
  }

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Range range = range_of(from, count);
    *not_finite += range.not_finite;
    const float half = range.largest * 0.5F - range.smallest * 0.5F;
    half_lowest = range.smallest * 0.5F;
    middle = range.largest * 0.5F + half_lowest + 0.0F;  // of two zeros always +0
    step = half / 127.5F;
    if (half < 255 * std::numeric_limits<float>::min()) step = 0;
    while (!std::isfinite(step * 127.5F + std::abs(middle))) step *= 0.999F;
    inverse = step > 0 ? 255 / half : 0;
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

template <class Kernel>
uint64_t encode_blocks(const Int8Form& form, const float* from, uint64_t count, const Draws& draws,
                       std::byte* code) {
  Uniform uniform(draws.own);
  uint64_t not_finite = 0;
  for (uint64_t first = 0; first < count; first += form.block) {
    const uint64_t length = std::min(form.block, count - first);
    Kernel kernel;
    kernel.fit(from + first, length, &not_finite);
    kernel.put(code);
    code += form.numbers() * sizeof(float);
    if constexpr (Kernel::kDraws) {
      for (uint64_t i = 0; i < length; i += Uniform::kPiece) {
        const uint64_t piece = std::min(Uniform::kPiece, length - i);
        const float* const numbers = uniform.of(draws.first + first + i, piece);
        encode_lanes(kernel, from + first + i, numbers, piece, code + i);
      }
    } else {
      encode_lanes(kernel, from + first, nullptr, length, code);
    }
    code += length;
  }
  return not_finite;
}

template <class Kernel>
void decode_blocks(const Int8Form& form, const std::byte* code, uint64_t count, float* into) {
  for (uint64_t first = 0; first < count; first += form.block) {
    const uint64_t length = std::min(form.block, count - first);
    Kernel kernel;
    kernel.get(code);
    code += form.numbers() * sizeof(float);
    decode_lanes(kernel, code, length, into + first);
    code += length;
  }
}

template <class Kernel>
void add_blocks(const Int8Form& form, const std::byte* code, uint64_t count, float factor,
                float* into) {
  for (uint64_t first = 0; first < count; first += form.block) {
    const uint64_t length = std::min(form.block, count - first);
    Kernel kernel;
    kernel.get(code);
    code += form.numbers() * sizeof(float);
    add_lanes(kernel, code, length, factor, into + first);
    code += length;
  }
}

uint64_t encode_int8(const Int8Form& form, const float* from, uint64_t count, const Draws& draws,
                     std::byte* code) {
  if (form.minmax) {
    return form.stochastic ? encode_blocks<MinMax<true>>(form, from, count, draws, code)
                           : encode_blocks<MinMax<false>>(form, from, count, draws, code);
  }
  return form.stochastic ? encode_blocks<Symmetric<true>>(form, from, count, draws, code)
                         : encode_blocks<Symmetric<false>>(form, from, count, draws, code);
}

void decode_int8(const Int8Form& form, const std::byte* code, uint64_t count, float* into) {
  if (form.minmax) return decode_blocks<MinMax<false>>(form, code, count, into);
  decode_blocks<Symmetric<false>>(form, code, count, into);
}

void add_int8(const Int8Form& form, const std::byte* code, uint64_t count, float factor,
              float* into) {
  if (form.minmax) return add_blocks<MinMax<false>>(form, code, count, factor, into);
  add_blocks<Symmetric<false>>(form, code, count, factor, into);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_int8);
HWY_EXPORT(decode_int8);
HWY_EXPORT(add_int8);

class Int8 final : public Codec {
 public:
  Int8(uint64_t block, bool minmax, bool stochastic)
      : blocks_{block}, minmax_(minmax), stochastic_(stochastic) {}

  CodecTraits traits() const override {
    CodecTraits traits;
    traits.unbiased = stochastic_;
    traits.joins = blocks_.block > 0;
    return traits;
  }
  uint64_t block() const override { return std::max<uint64_t>(blocks_.block, 1); }
  uint64_t bytes_max(uint64_t count) const override {
    return count + blocks_.number(count) * form(count).numbers() * sizeof(float);
  }
  // Each error is at most half a scale, or its variance is, squared; and the block's largest
  // magnitude is part of its norm. In minmax the square of the difference is at most twice that of
  // both ends. Symmetric rounding to nearest never loses more than the value.
  double error_max(uint64_t count) const override {
    const auto length = static_cast<double>(blocks_.length(count));
    constexpr double kRounding = 1.00001;
    if (minmax_) return 1e-12 + kRounding * length / (2 * 255.0 * 255.0);
    const double bound = kRounding * length / (4 * 127.0 * 127.0);
    return stochastic_ ? bound : std::min(bound, 1.0);
  }
  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    const uint64_t bytes = bytes_max(values.size());
    GOSSAMER_CHECK(code.size() >= bytes);
    return {bytes, HWY_DYNAMIC_DISPATCH(encode_int8)(form(values.size()), values.data(),
                                                     values.size(), draws, code.data())};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (Status sound = check_length(*this, code.size(), bytes_max(count), count); !sound) {
      return sound;
    }
    const Int8Form shape = form(count);
    return check_numbers(code, count, {shape.block, shape.numbers(), 8});
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    HWY_DYNAMIC_DISPATCH(decode_int8)(form(into.size()), code.data(), into.size(), into.data());
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    HWY_DYNAMIC_DISPATCH(add_int8)
    (form(into.size()), code.data(), into.size(), factor, into.data());
  }

 private:
  Int8Form form(uint64_t count) const {
    return {minmax_, stochastic_, std::max<uint64_t>(blocks_.length(count), 1)};
  }

  Blocks blocks_;
  bool minmax_;
  bool stochastic_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> block = parameters.integer("block", 0, int64_t{1} << 30);
  if (!block) return block.status();
  const Result<size_t> mode = parameters.choice("mode", kModes);
  if (!mode) return mode.status();
  const Result<size_t> rounding = parameters.choice("rounding", kRoundings);
  if (!rounding) return rounding.status();
  return std::unique_ptr<Codec>(
      std::make_unique<Int8>(static_cast<uint64_t>(*block), *mode == 1, *rounding == 1));
}

}  // namespace

const CodecFactory int8_codec = {
    "int8", "8-bit whole numbers and a scale per block",
    "block=256: elements per scale, 0 for one per run; mode=symmetric: or minmax; "
    "rounding=nearest: or stochastic",
    create};

}  // namespace gossamer
#endif
