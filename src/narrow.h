// 16- and 8-bit floats, one value at a time: the definition that the vector kernels follow.
//
// Formats    fp16      1-5-10, IEEE 754 binary16
//            bf16      1-8-7, the upper half of an fp32
//            e5m2      1-5-2, the upper half of an fp16: infinities at 0x7c, NaN above
//            e4m3      1-4-3, bias 7, "e4m3fn": no infinities, NaN is 0x7f and 0xff, largest 448
//            (P. Micikevicius et al., "FP8 formats for deep learning", 2022; the OCP 8-bit floating
//            point specification, 2023)
// Rounding   fp32 -> narrow rounds to nearest, ties to even, once; subnormals are kept.
// Overflow   What rounds beyond the largest finite value becomes infinity, or NaN in e4m3, which
// has
//            none (464, halfway between 448 and the missing 480, still rounds down to 448). Values
//            never saturate: a sum that overflowed must not look like a sum. A codec that wants
//            +-448 clamps first.
// NaN        Narrowing gives one NaN, positive and quiet, whatever NaN came in (0x7e00, 0x7fc0,
// 0x7e,
//            0x7f). Widening gives a NaN; fp16 and e5m2 keep sign and payload, made quiet, as F16C
//            does, bf16 keeps its bits, e4m3 gives kCanonicalNan.
//
// Threads    Pure functions.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace gossamer {

inline constexpr uint32_t kCanonicalNan = 0x7fc00000u;

// Any NaN becomes the positive quiet one; everything else stays. Applied to every floating-point
// result, it makes the kernels commutative bit for bit: x86 returns the first of two NaNs, Arm
// another, and compilers swap the operands of an addition as they like. On Zen 5, in the
// first-level cache, it costs an fp32 sum 2 ns at 64 bytes and 1 ns at 4 KB (20.4 for 19.7 ns).
inline float canonical(float value) {
  return value == value ? value : std::bit_cast<float>(kCanonicalNan);
}
inline double canonical(double value) {
  return value == value ? value : std::bit_cast<double>(uint64_t{0x7ff8} << 48);
}

// The layout of a format with a 5- or 4-bit exponent, and the constants of its conversions. All
// magnitudes are bits of an fp32 with the sign removed, compared as integers.
template <int bits, int mantissa, int bias_, bool infinities>
struct NarrowLayout {
  static constexpr int kBits = bits;
  static constexpr int kMantissa = mantissa;
  static constexpr int kShift = 23 - mantissa;  // narrow mantissa -> fp32 mantissa
  static constexpr int kSignShift = 32 - bits;
  static constexpr bool kInfinities = infinities;
  static constexpr uint32_t kSign = 1u << (bits - 1);
  static constexpr uint32_t kMagnitude = kSign - 1;
  static constexpr uint32_t kRebias = uint32_t{127 - bias_} << 23;
  // The smallest magnitude that is normal in the narrow format.
  static constexpr uint32_t kNormal = kRebias + (1u << 23);
  // Added to a smaller magnitude as a float, it leaves the rounded subnormal in the last bits.
  static constexpr uint32_t kSubnormalMagic = uint32_t{127 - bias_ + 23 - mantissa + 1} << 23;
  // The code that overflow becomes, and the code of the NaN we write.
  static constexpr uint32_t kOverflow =
      infinities ? kMagnitude >> mantissa << mantissa : kMagnitude;
  static constexpr uint32_t kNan = infinities ? kOverflow | 1u << (mantissa - 1) : kMagnitude;
};
using Float16Layout = NarrowLayout<16, 10, 15, true>;
using E5M2Layout = NarrowLayout<8, 2, 15, true>;
using E4M3Layout = NarrowLayout<8, 3, 7, false>;

template <class L>
inline float widen_layout(uint32_t code) {
  const uint32_t magnitude = code & L::kMagnitude;
  const uint32_t shifted = magnitude << L::kShift;
  uint32_t wide = shifted + L::kRebias;
  if (magnitude < 1u << L::kMantissa) {  // subnormal or zero: let a subtraction normalise it
    wide = std::bit_cast<uint32_t>(std::bit_cast<float>(shifted + L::kNormal) -
                                   std::bit_cast<float>(L::kNormal));
  } else if (L::kInfinities && magnitude >= L::kOverflow) {
    wide += L::kRebias;  // all ones in the exponent
    if (magnitude > L::kOverflow) wide |= 1u << 22;
  } else if (!L::kInfinities && magnitude == L::kNan) {
    return std::bit_cast<float>(kCanonicalNan);
  }
  return std::bit_cast<float>(wide | (code & L::kSign) << L::kSignShift);
}

template <class L>
inline uint32_t narrow_layout(float value) {
  const auto wide = std::bit_cast<uint32_t>(canonical(value));
  const uint32_t magnitude = wide & 0x7fffffffu;
  const uint32_t sign = (wide >> L::kSignShift) & L::kSign;
  if (magnitude > 0x7f800000u) return L::kNan;
  if (magnitude < L::kNormal) {
    const auto magic = std::bit_cast<float>(L::kSubnormalMagic);
    return sign |
           (std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + magic) - L::kSubnormalMagic);
  }
  const uint32_t odd = (magnitude >> L::kShift) & 1u;
  const uint32_t rounded = magnitude - L::kRebias + (1u << (L::kShift - 1)) - 1u + odd;
  return sign | std::min(rounded >> L::kShift, L::kOverflow);
}

struct Float16 {
  using Lane = uint16_t;
  using Layout = Float16Layout;
  static float widen(Lane code) { return widen_layout<Layout>(code); }
  static Lane narrow(float value) { return static_cast<Lane>(narrow_layout<Layout>(value)); }
};

struct Bfloat16 {
  using Lane = uint16_t;
  static float widen(Lane code) { return std::bit_cast<float>(uint32_t{code} << 16); }
  static Lane narrow(float value) {
    const auto wide = std::bit_cast<uint32_t>(canonical(value));
    return static_cast<Lane>((wide + 0x7fffu + (wide >> 16 & 1u)) >> 16);
  }
};

struct E4M3 {
  using Lane = uint8_t;
  using Layout = E4M3Layout;
  static float widen(Lane code) { return widen_layout<Layout>(code); }
  static Lane narrow(float value) { return static_cast<Lane>(narrow_layout<Layout>(value)); }
};

struct E5M2 {
  using Lane = uint8_t;
  using Layout = E5M2Layout;
  static float widen(Lane code) { return widen_layout<Layout>(code); }
  static Lane narrow(float value) { return static_cast<Lane>(narrow_layout<Layout>(value)); }
};

}  // namespace gossamer
