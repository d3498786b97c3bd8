// Natural compression: a sign and a power of two, rounded at random.
//   Source    Horvath, Ho, Horvath, Sahu, Canini and Richtarik, "Natural compression for
//             distributed deep learning", MSML 2022.
//   Code      Blocks of 64. With 9 bits: per element the exponent field of the fp32 power of two in
//             a byte, 0 for zero, then per element a bit, 1 for those below 0, the first one the
//             lowest of its byte. With 8 bits: a byte per element, whose highest bit is the sign;
//             the others are the field less 18, which stand for 2^-108 to 2^18, or 0.
//   Error     Unbiased: the power of two below or above, with the probability that keeps the mean.
//             omega <= 1/8, whatever the values are: on Gaussian ones .082. No error feedback.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity the largest finite magnitude of its
//             block. With 9 bits magnitudes below 1.2e-38 become 0 or 1.2e-38, and those beyond
//             2^127 that. With 8 bits those below 2^-108 may be taken for 0 (below 2^-109 they
//             are), and those beyond 2^18 for that: the mean is kept in between.
//   Sums      Codes are decoded before they are added (class S).

#include <algorithm>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/natural.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_NATURAL_CC_
#define GOSSAMER_SRC_COMPRESS_NATURAL_CC_
namespace gossamer {

inline constexpr uint64_t kNaturalBlock = 64;

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// An fp32's bits without the sign are its field and 23 bits of mantissa m. A random whole number
// below 2^23 carries into the field with the probability m / 2^23, by which the power of two above
// keeps the mean; from field 0, where denormals are, to field 1 as well.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToSigned<D>> field_of(D d, hn::Vec<D> value, hn::Vec<D> draw,
                                                   float largest) {
  const hn::RebindToSigned<D> di;
  const auto magnitude = hn::Min(hn::Abs(without_nan(d, value)), hn::Set(d, largest));
  const auto chance = hn::ConvertTo(di, hn::Mul(draw, hn::Set(d, 0x1p23F)));
  const auto field = hn::ShiftRight<23>(hn::Add(hn::BitCast(di, magnitude), chance));
  return hn::Min(field, hn::Set(di, 254));
}

struct Field {
  using Lane = uint8_t;
  static constexpr bool kDraws = true;
  float largest;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), field_of(d, value, draw, largest));
  }
};

// The field in the lower byte, the sign in the upper.
struct FieldAndSign {
  using Lane = uint16_t;

  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint16_t, D>> code) const {
    const hn::RebindToSigned<D> di;
    const auto both = hn::PromoteTo(di, code);
    const auto field = hn::Min(hn::And(both, hn::Set(di, 255)), hn::Set(di, 254));
    const auto sign = hn::ShiftLeft<31>(hn::ShiftRight<8>(both));
    return hn::BitCast(d, hn::Or(hn::ShiftLeft<23>(field), sign));
  }
};

struct Windowed {
  using Lane = uint8_t;
  static constexpr bool kDraws = true;
  static constexpr int32_t kBelow = 18;  // the field that stands for 0
  float largest;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value, hn::Vec<D> draw) const {
    const hn::RebindToSigned<D> di;
    const auto field = hn::Sub(field_of(d, value, draw, largest), hn::Set(di, kBelow));
    const auto inside = hn::Max(hn::Min(field, hn::Set(di, 127)), hn::Zero(di));
    const auto below = hn::RebindMask(di, hn::Lt(value, hn::Zero(d)));
    const auto sign = hn::IfThenElseZero(below, hn::Set(di, 128));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::Or(inside, sign));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const hn::RebindToSigned<D> di;
    const auto both = hn::PromoteTo(di, code);
    const auto level = hn::And(both, hn::Set(di, 127));
    const auto field =
        hn::IfThenElseZero(hn::Gt(level, hn::Zero(di)), hn::Add(level, hn::Set(di, kBelow)));
    const auto sign = hn::ShiftLeft<31>(hn::ShiftRight<7>(both));
    return hn::BitCast(d, hn::Or(hn::ShiftLeft<23>(field), sign));
  }
};

uint64_t encode_natural(bool windowed, const BlockLayout& /*layout*/, const float* from,
                        uint64_t count, const Draws& draws, std::byte* code) {
  Uniform uniform(draws.own);
  uint64_t not_finite = 0;
  const float* numbers = nullptr;
  for (uint64_t first = 0; first < count; first += kNaturalBlock) {
    const uint64_t length = std::min(kNaturalBlock, count - first);
    const uint64_t in_piece = first % kPiece;
    if (in_piece == 0) {
      numbers = uniform.of(draws.first + first, std::min(kPiece, count - first));
    }
    const Extent extent = extent_of(from + first, length);
    not_finite += extent.not_finite;
    if (windowed) {
      encode_lanes(Windowed{extent.largest}, from + first, numbers + in_piece, length, code);
      code += length;
      continue;
    }
    encode_lanes(Field{extent.largest}, from + first, numbers + in_piece, length, code);
    encode_piece<1>(BelowZero(), from + first, nullptr, length, code + length);
    code += length + (length + 7) / 8;
  }
  return not_finite;
}

template <class Use>
void decode_natural_with(bool windowed, const std::byte* code, uint64_t count, const Use& use,
                         float* into) {
  if (windowed) return use(Windowed{0}, code, count, into);
  for (uint64_t first = 0; first < count; first += kNaturalBlock) {
    const uint64_t length = std::min(kNaturalBlock, count - first);
    uint8_t signs[kNaturalBlock];
    uint16_t both[kNaturalBlock];
    unpack_levels<1>(code + length, length, signs);
    for (uint64_t i = 0; i < length; ++i) {
      both[i] = static_cast<uint16_t>(std::to_integer<uint32_t>(code[i]) | signs[i] << 8U);
    }
    use(FieldAndSign(), reinterpret_cast<const std::byte*>(both), length, into + first);
    code += length + (length + 7) / 8;
  }
}

void decode_natural(bool windowed, const BlockLayout& /*layout*/, const std::byte* code,
                    uint64_t count, float* into) {
  decode_natural_with(windowed, code, count, Overwrite(), into);
}
void add_natural(bool windowed, const BlockLayout& /*layout*/, const std::byte* code,
                 uint64_t count, float factor, float* into) {
  decode_natural_with(windowed, code, count, AddTimes{factor}, into);
}
BlockLoops<bool> natural_loops() {
  return {encode_natural, decode_natural, add_natural};
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(natural_loops);

// The form is whether the exponents are windowed.
class Natural final : public FormCodec<bool> {
 public:
  explicit Natural(bool windowed)
      : FormCodec(kNaturalBlock, 0, windowed ? 8 : 9, windowed,
                  HWY_DYNAMIC_DISPATCH(natural_loops)()) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = true;
    return traits;
  }
  // Between 1 and 2 the variance of x is (x - 1)(2 - x), of x^2 at most an eighth, at 4/3.
  double error_max(uint64_t /*count*/) const override { return 0.125 * 1.00001; }
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> bits = parameters.integer("bits", 8, 9);
  if (!bits) return bits.status();
  return std::unique_ptr<Codec>(std::make_unique<Natural>(*bits == 8));
}

}  // namespace

const CodecFactory natural_codec = {
    "natural", "powers of two, rounded at random",
    "bits=9: of an element, or 8 for magnitudes from 2^-108 to 2^18", create};

}  // namespace gossamer
#endif
