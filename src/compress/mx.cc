// Microscaling formats: floats of 8, 6 or 4 bits and a power of two per 32 of them.
//   Source    Rouhani et al., "Microscaling data formats for deep learning", 2023; Open Compute
//             Project, "OCP microscaling formats (MX) specification", version 1.0, 2023.
//   Code      Per 32 elements a byte e, then a number of 8, 6 or 4 bits per element: a sign, the
//             exponent and the mantissa, from the highest bit on, with denormals and without
//             infinities and NaNs. Decoded: number * 2^(e - 127). Levels are packed as others' are
//             (src/compress/blocks-inl.h).
//               mxfp8  e4m3, largest 448                   8.25 bits per element
//               mxfp6  e2m3, largest 7.5; e3m2, largest 28 6.25
//               mxfp4  e2m1, largest 6                     4.25
//             saturate: the block's largest magnitude and the format's largest number have one
//             exponent, and what is beyond that number is taken for it. raise: where anything is
//             beyond, the scale is twice as large.
//   Error     Biased: to nearest, ties to even. Of the squared norm of Gaussian and Laplace values
//             mxfp8 8.7e-4 and 1.0e-3, raised 7.0e-4 on both; e2m3 8.1e-4 and 9.4e-4; e3m2 2.9e-3
//             and 3.0e-3; mxfp4 1.3e-2 and 1.6e-2. mxfp4 needs error feedback.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity the largest number of its block's
//             scale. Scales are 2^-126 at least: magnitudes far below that vanish.
//   Sums      Codes are decoded before they are added (class S).

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/check.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/mx.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_MX_CC_
#define GOSSAMER_SRC_COMPRESS_MX_CC_
namespace gossamer {

inline constexpr uint64_t kMxBlock = 32;

enum class MxFormat : uint8_t { kE4M3, kE2M3, kE3M2, kE2M1 };

// What a format's numbers are, in units of the scale.
template <int exponent, int mantissa, uint32_t largest_in_eighths>
struct MxNumbers {
  static constexpr int kExponent = exponent;  // bits
  static constexpr int kMantissa = mantissa;
  static constexpr int kBits = 1 + exponent + mantissa;
  static constexpr int kBias = (1 << (exponent - 1)) - 1;
  static constexpr int kTop = (1 << exponent) - 1 - kBias;  // the largest number's exponent
  static constexpr float kLargest = static_cast<float>(largest_in_eighths) / 8;
};
using MxE4M3 = MxNumbers<4, 3, 448 * 8>;
using MxE2M3 = MxNumbers<2, 3, 60>;
using MxE3M2 = MxNumbers<3, 2, 28 * 8>;
using MxE2M1 = MxNumbers<2, 1, 6 * 8>;

// Scales are normal numbers, and so are their reciprocals; decoded numbers are finite.
inline constexpr int kMxScaleMin = 1;
constexpr int mx_scale_max(int top) {
  return 254 - top;
}

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

inline float power_of_two(int field) {
  const uint32_t bits = static_cast<uint32_t>(field) << 23;
  float power = 0;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

template <class N>
struct MxKernel {
  using Lane = uint8_t;
  static constexpr bool kDraws = false;
  static constexpr int kShift = 23 - N::kMantissa;  // from a mantissa to an fp32's
  static constexpr int kDown = 127 - N::kBias;      // from an fp32's exponent field
  static constexpr int kSignAt = N::kBits - 1;
  float scale = 0;
  float inverse = 0;

  explicit MxKernel(int scale_byte)
      : scale(power_of_two(scale_byte)), inverse(power_of_two(254 - scale_byte)) {}

  // Normal numbers are rounded in their bits, where a carry goes to the exponent. Denormals are
  // whole numbers of the smallest, to which a sum with 2^23 of these rounds them.
  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value,
                                                  hn::Vec<D> /*draw*/) const {
    const hn::RebindToSigned<D> di;
    const auto scaled = hn::Mul(without_nan(d, value), hn::Set(d, inverse));
    const auto magnitude = hn::Min(hn::Abs(scaled), hn::Set(d, N::kLargest));
    const auto bits = hn::BitCast(di, magnitude);
    const auto odd = hn::And(hn::ShiftRight<kShift>(bits), hn::Set(di, 1));
    const auto half = hn::Add(odd, hn::Set(di, (1 << (kShift - 1)) - 1));
    const auto normal =
        hn::Sub(hn::ShiftRight<kShift>(hn::Add(bits, half)), hn::Set(di, kDown << N::kMantissa));
    const auto magic = hn::Set(d, power_of_two(kDown + 1 + kShift));
    const auto small = hn::Sub(hn::BitCast(di, hn::Add(magnitude, magic)), hn::BitCast(di, magic));
    const auto is_small = hn::Lt(magnitude, hn::Set(d, power_of_two(kDown + 1)));
    const auto number = hn::IfThenElse(hn::RebindMask(di, is_small), small, normal);
    const auto negative = hn::RebindMask(di, hn::Lt(scaled, hn::Zero(d)));
    const auto sign = hn::IfThenElseZero(negative, hn::Set(di, 1 << kSignAt));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::Or(number, sign));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const hn::RebindToSigned<D> di;
    const auto both = hn::PromoteTo(di, code);
    const auto number = hn::And(both, hn::Set(di, (1 << kSignAt) - 1));
    const auto normal =
        hn::BitCast(d, hn::Add(hn::ShiftLeft<kShift>(number), hn::Set(di, kDown << 23)));
    const auto small =
        hn::Mul(hn::ConvertTo(d, number), hn::Set(d, power_of_two(kDown + 1 - N::kMantissa)));
    const auto is_small = hn::RebindMask(d, hn::Lt(number, hn::Set(di, 1 << N::kMantissa)));
    const auto magnitude = hn::Mul(hn::IfThenElse(is_small, small, normal), hn::Set(d, scale));
    const auto sign = hn::ShiftLeft<31>(hn::ShiftRight<kSignAt>(both));
    return hn::Or(magnitude, hn::BitCast(d, sign));
  }
};

template <class N>
int mx_scale_of(float largest, bool raise) {
  uint32_t bits = 0;
  uint32_t last = 0;
  constexpr float kLargest = N::kLargest;
  std::memcpy(&bits, &largest, sizeof bits);
  std::memcpy(&last, &kLargest, sizeof last);
  const bool beyond = (bits & 0x7fffffU) > (last & 0x7fffffU);
  const int scale = static_cast<int>(bits >> 23) - N::kTop + (raise && beyond ? 1 : 0);
  return std::clamp(scale, kMxScaleMin, mx_scale_max(N::kTop));
}

// Numbers of a whole piece are packed at once, and then spread to behind their blocks' scales, as
// vectors that are loaded from words just stored have to wait for them.
template <int bits>
HWY_INLINE uint64_t packed_bytes(uint64_t count) {
  return (count * bits + 7) / 8;
}
template <int bits>
HWY_INLINE void copy_block(std::byte* into, const std::byte* from, uint64_t length) {
  if (length == kMxBlock) {
    std::memcpy(into, from, kMxBlock * bits / 8);
  } else {
    std::memcpy(into, from, packed_bytes<bits>(length));
  }
}

template <class N>
uint64_t encode_numbers(bool raise, const float* from, uint64_t count, std::byte* code) {
  constexpr int kBits = N::kBits;
  HWY_ALIGN uint8_t levels[kPiece] = {};
  std::byte packed[kPiece];
  int scales[kPiece / kMxBlock];
  uint64_t not_finite = 0;
  for (uint64_t first = 0; first < count; first += kPiece) {
    const uint64_t piece = std::min(kPiece, count - first);
    if (piece % 8 != 0) std::memset(levels + piece / 8 * 8, 0, 8);
    for (uint64_t i = 0; i < piece; i += kMxBlock) {
      const float* const values = from + first + i;
      const uint64_t length = std::min(kMxBlock, piece - i);
      const Extent extent = extent_of(values, length);
      not_finite += extent.not_finite;
      const int scale = scales[i / kMxBlock] = mx_scale_of<N>(extent.largest, raise);
      encode_lanes(MxKernel<N>(scale), values, nullptr, length,
                   reinterpret_cast<std::byte*>(levels + i));
    }
    const auto* numbers = reinterpret_cast<const std::byte*>(levels);
    if constexpr (kBits < 8) {
      pack_levels<kBits>(levels, piece, packed);
      numbers = packed;
    }
    for (uint64_t i = 0; i < piece; i += kMxBlock) {
      const uint64_t length = std::min(kMxBlock, piece - i);
      *code++ = static_cast<std::byte>(scales[i / kMxBlock]);
      copy_block<kBits>(code, numbers + i * kBits / 8, length);
      code += packed_bytes<kBits>(length);
    }
  }
  return not_finite;
}

template <class N, class Use>
void decode_numbers(const std::byte* code, uint64_t count, const Use& use, float* into) {
  constexpr int kBits = N::kBits;
  HWY_ALIGN uint8_t levels[kPiece];
  std::byte packed[kPiece];
  for (uint64_t first = 0; first < count; first += kPiece) {
    const uint64_t piece = std::min(kPiece, count - first);
    const std::byte* scales = code;
    for (uint64_t i = 0; i < piece; i += kMxBlock) {
      const uint64_t length = std::min(kMxBlock, piece - i);
      copy_block<kBits>(packed + i * kBits / 8, code + 1, length);
      code += 1 + packed_bytes<kBits>(length);
    }
    const std::byte* numbers = packed;
    if constexpr (kBits < 8) {
      unpack_levels<kBits>(packed, piece, levels);
      numbers = reinterpret_cast<const std::byte*>(levels);
    }
    for (uint64_t i = 0; i < piece; i += kMxBlock) {
      const uint64_t length = std::min(kMxBlock, piece - i);
      use(MxKernel<N>(std::to_integer<int>(*scales)), numbers + i, length, into + first + i);
      scales += 1 + kMxBlock * kBits / 8;
    }
  }
}

uint64_t encode_mx(MxFormat format, bool raise, const float* from, uint64_t count,
                   std::byte* code) {
  switch (format) {
    case MxFormat::kE4M3:
      return encode_numbers<MxE4M3>(raise, from, count, code);
    case MxFormat::kE2M3:
      return encode_numbers<MxE2M3>(raise, from, count, code);
    case MxFormat::kE3M2:
      return encode_numbers<MxE3M2>(raise, from, count, code);
    default:
      return encode_numbers<MxE2M1>(raise, from, count, code);
  }
}

template <class Use>
void decode_with(MxFormat format, const std::byte* code, uint64_t count, const Use& use,
                 float* into) {
  switch (format) {
    case MxFormat::kE4M3:
      return decode_numbers<MxE4M3>(code, count, use, into);
    case MxFormat::kE2M3:
      return decode_numbers<MxE2M3>(code, count, use, into);
    case MxFormat::kE3M2:
      return decode_numbers<MxE3M2>(code, count, use, into);
    default:
      return decode_numbers<MxE2M1>(code, count, use, into);
  }
}

void decode_mx(MxFormat format, const std::byte* code, uint64_t count, float* into) {
  decode_with(format, code, count, Overwrite(), into);
}
void add_mx(MxFormat format, const std::byte* code, uint64_t count, float factor, float* into) {
  decode_with(format, code, count, AddTimes{factor}, into);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_mx);
HWY_EXPORT(decode_mx);
HWY_EXPORT(add_mx);

struct MxShape {
  uint64_t bits;
  int mantissa;
  int bias;
  int top;
  double largest;
};
template <class N>
constexpr MxShape shape_of() {
  return {N::kBits, N::kMantissa, N::kBias, N::kTop, static_cast<double>(N::kLargest)};
}
constexpr MxShape kShapes[] = {shape_of<MxE4M3>(), shape_of<MxE2M3>(), shape_of<MxE3M2>(),
                               shape_of<MxE2M1>()};

class Mx final : public Codec {
 public:
  Mx(MxFormat format, bool raise)
      : format_(format), raise_(raise), shape_(kShapes[static_cast<size_t>(format)]) {}

  CodecTraits traits() const override { return {.needs_feedback = shape_.bits < 6, .joins = true}; }
  uint64_t block() const override { return kMxBlock; }
  uint64_t bytes_max(uint64_t count) const override {
    const uint64_t rest = count % kMxBlock;
    return count / kMxBlock * of_block(kMxBlock) + (rest == 0 ? 0 : of_block(rest));
  }
  // A normal number loses half a unit in its last place, or what is cut off; another one half the
  // smallest number, which beside the block's largest magnitude is small.
  double error_max(uint64_t count) const override {
    const double cut = raise_ ? 0 : 1 - shape_.largest / std::ldexp(2.0, shape_.top);
    const double relative = std::max(std::ldexp(0.5, -shape_.mantissa), cut);
    const double scale = raise_ ? 2 / shape_.largest : std::ldexp(1.0, -shape_.top);
    const double vanishes = std::ldexp(scale, -shape_.bias - shape_.mantissa);
    const auto longest = static_cast<double>(std::min(count, kMxBlock));
    return 1.00001 * (relative * relative + longest * vanishes * vanishes);
  }

  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    const uint64_t bytes = bytes_max(values.size());
    GOSSAMER_CHECK(code.size() >= bytes);
    return {bytes, HWY_DYNAMIC_DISPATCH(encode_mx)(format_, raise_, values.data(), values.size(),
                                                   code.data())};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    Status sound = check_length(*this, code.size(), bytes_max(count), count);
    if (!sound) return sound;
    for (uint64_t at = 0; at < code.size(); at += of_block(kMxBlock)) {
      const int scale = std::to_integer<int>(code[at]);
      if (scale < kMxScaleMin || scale > mx_scale_max(shape_.top)) {
        return Status::error(
            Code::kMismatch,
            fmt::format("the scale of block {} is {}, which no encoder writes; the code is damaged",
                        at / of_block(kMxBlock), scale));
      }
    }
    return sound;
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    HWY_DYNAMIC_DISPATCH(decode_mx)(format_, code.data(), into.size(), into.data());
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    HWY_DYNAMIC_DISPATCH(add_mx)(format_, code.data(), into.size(), factor, into.data());
  }

 private:
  uint64_t of_block(uint64_t count) const { return 1 + (count * shape_.bits + 7) / 8; }

  MxFormat format_;
  bool raise_;
  const MxShape& shape_;
};

constexpr std::string_view kBeyond[] = {"saturate", "raise"};

template <MxFormat format>
Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<size_t> beyond = parameters.choice("beyond", kBeyond);
  if (!beyond) return beyond.status();
  std::unique_ptr<Codec> codec = std::make_unique<Mx>(format, *beyond == 1);
  return codec;
}

Result<std::unique_ptr<Codec>> create_mxfp6(Parameters& parameters) {
  static constexpr std::string_view kNumbers[] = {"e2m3", "e3m2"};
  const Result<size_t> number = parameters.choice("number", kNumbers);
  if (!number) return number.status();
  return *number == 0 ? create<MxFormat::kE2M3>(parameters) : create<MxFormat::kE3M2>(parameters);
}

#define GOSSAMER_MX_BEYOND \
  "beyond=saturate: what a format's largest number does not reach is that, or raise the scale"

}  // namespace

const CodecFactory mxfp8_codec = {"mxfp8", "8-bit floats and a power of two per 32",
                                  GOSSAMER_MX_BEYOND, create<MxFormat::kE4M3>};
const CodecFactory mxfp6_codec = {"mxfp6", "6-bit floats and a power of two per 32",
                                  "number=e2m3: 3 bits of mantissa, or e3m2; " GOSSAMER_MX_BEYOND,
                                  create_mxfp6};
const CodecFactory mxfp4_codec = {"mxfp4", "4-bit floats and a power of two per 32",
                                  GOSSAMER_MX_BEYOND, create<MxFormat::kE2M1>};

}  // namespace gossamer
#endif
