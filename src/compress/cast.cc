// Casts: fp16 and bf16 as they are, fp8 with a scale per block.
//   Source    fp16: IEEE 754-2008, binary16. bf16: Wang and Kanwar, "BFloat16: the secret to high
//             performance on cloud TPUs", 2019. fp8: Micikevicius et al., "FP8 formats for deep
//             learning", 2022.
//   Code      fp16, bf16: 2 bytes per element. fp8: per block the scale as fp32, then a byte per
//             element. Decoded: number * scale; scale = largest finite magnitude / the format's
//             largest (448 in e4m3, 57344 in e5m2).
//   Error     Biased: to nearest, ties to even. Of the squared norm at most 2^-22 in fp16, 2^-16 in
//             bf16, where magnitudes are normal numbers of the format (fp16: 6.1e-5 to 65504); in
//             e4m3 2^-8, in e5m2 2^-6, and what vanishes beside the block's largest.
//   Values    Zeros, NaNs and infinities come back as they are, but an infinity in e4m3, which has
//             none, as NaN. In fp16 and bf16 what rounds beyond the largest number becomes an
//             infinity and is counted as not finite, so that a loss scale can be made smaller.
//             Magnitudes below 6e-8 vanish in fp16.
//   Sums      fp16 and bf16 may be added as numbers (class L), in fp32; fp8 is decoded first.

#include <algorithm>
#include <limits>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"
#include "src/narrow.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/cast.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/reduce_lanes-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_CAST_CC_
#define GOSSAMER_SRC_COMPRESS_CAST_CC_
namespace gossamer {

enum class Narrow : uint8_t { kFloat16, kBfloat16, kE4M3, kE5M2 };

struct NarrowFormat {
  uint64_t bytes;   // of an element
  float largest;    // finite number
  double relative;  // half a unit in the last place, of normal numbers
  double absolute;  // half the smallest number
  bool scaled;
};

constexpr NarrowFormat kFormats[] = {
    {2, 65504.0F, 0x1p-11, 0x1p-25, false},
    {2, 0x1.FEp127F, 0x1p-8, 0x1p-134, false},
    {1, 448.0F, 0x1p-4, 0x1p-10, true},
    {1, 57344.0F, 0x1p-3, 0x1p-17, true},
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

#if HWY_TARGET >= HWY_EMU128  // nor HWY_SCALAR: reduce_lanes-inl.h has no conversions for these

template <class F>
struct Scaled {
  float factor;
  float scale;
};
// In place of those of lanes-inl.h.
template <class F>
void encode_lanes(const Scaled<F>& cast, const float* from, const float* /*draws*/, uint64_t count,
                  std::byte* code) {
  for (uint64_t i = 0; i < count; ++i) {
    const typename F::Lane one = F::narrow(from[i] * cast.factor);
    std::memcpy(code + i * sizeof one, &one, sizeof one);
  }
}
template <class F>
float number_at(const Scaled<F>& cast, const std::byte* code, uint64_t i) {
  typename F::Lane one;
  std::memcpy(&one, code + i * sizeof one, sizeof one);
  return F::widen(one) * cast.scale;
}
template <class F>
void decode_lanes(const Scaled<F>& cast, const std::byte* code, uint64_t count, float* into) {
  for (uint64_t i = 0; i < count; ++i) into[i] = number_at(cast, code, i);
}
template <class F>
void add_lanes(const Scaled<F>& cast, const std::byte* code, uint64_t count, float factor,
               float* into) {
  for (uint64_t i = 0; i < count; ++i) into[i] += factor * number_at(cast, code, i);
}

#else

template <class F>
struct Scaled {
  using Lane = typename F::Lane;
  static constexpr bool kDraws = false;
  float factor;
  float scale;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<Lane, D>> code(D d, hn::Vec<D> value, hn::Vec<D> /*draw*/) const {
    return narrow<F>(d, canonical_lanes(d, hn::Mul(value, hn::Set(d, factor))));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<Lane, D>> code) const {
    return hn::Mul(widen<F>(d, code), hn::Set(d, scale));
  }
};

#endif  // vectors

template <class F>
constexpr bool is_scaled() {
  return sizeof(typename F::Lane) == 1;
}

// Pieces stay in the first-level cache between looking at the values and casting them.
constexpr uint64_t kCastPiece = 2048;

template <class F>
uint64_t encode_plain(const float* from, uint64_t count, float largest, std::byte* code) {
  uint64_t lost = 0;
  for (uint64_t first = 0; first < count; first += kCastPiece) {
    const uint64_t piece = std::min(kCastPiece, count - first);
    const Extent extent = extent_of(from + first, piece);
    encode_lanes(Scaled<F>{1, 1}, from + first, nullptr, piece,
                 code + first * sizeof(typename F::Lane));
    lost += extent.not_finite;
    if (extent.largest <= largest) continue;
    for (uint64_t i = first; i < first + piece; ++i) {
      typename F::Lane one;
      std::memcpy(&one, code + i * sizeof one, sizeof one);
      if (std::isfinite(from[i]) && !std::isfinite(F::widen(one))) ++lost;
    }
  }
  return lost;
}

template <class F>
uint64_t encode_scaled(const float* from, uint64_t count, uint64_t block, float largest,
                       std::byte* code) {
  constexpr float kScaleMin = std::numeric_limits<float>::min();
  uint64_t lost = 0;
  for (uint64_t first = 0; first < count; first += block) {
    const uint64_t length = std::min(block, count - first);
    const Extent extent = extent_of(from + first, length);
    lost += extent.not_finite;
    // Nothing but zeros and infinities leaves the scale free.
    Scaled<F> cast{1, 1};
    if (extent.largest > 0) {
      cast.scale = std::max(extent.largest / largest, kScaleMin);
      cast.factor = std::min(largest / extent.largest, 1 / kScaleMin);
    }
    put_float(cast.scale, code);
    encode_lanes(cast, from + first, nullptr, length, code + sizeof(float));
    code += sizeof(float) + length;
  }
  return lost;
}

// Formats without scales have no use for a block.
template <class F>
uint64_t encode_cast(Narrow format, const BlockLayout& layout, const float* from, uint64_t count,
                     const Draws& /*draws*/, std::byte* code) {
  const float largest = kFormats[static_cast<size_t>(format)].largest;
  if constexpr (is_scaled<F>()) {
    return encode_scaled<F>(from, count, layout.block, largest, code);
  } else {
    return encode_plain<F>(from, count, largest, code);
  }
}

template <class F, class Use>
void decode_with(const BlockLayout& layout, const std::byte* code, uint64_t count, const Use& use,
                 float* into) {
  if (!is_scaled<F>()) return use(Scaled<F>{1, 1}, code, count, into);
  for (uint64_t first = 0; first < count; first += layout.block) {
    const uint64_t length = std::min(layout.block, count - first);
    use(Scaled<F>{1, get_float(code)}, code + sizeof(float), length, into + first);
    code += sizeof(float) + length;
  }
}
template <class F>
void decode_cast(Narrow /*format*/, const BlockLayout& layout, const std::byte* code,
                 uint64_t count, float* into) {
  decode_with<F>(layout, code, count, Overwrite(), into);
}
template <class F>
void add_cast(Narrow /*format*/, const BlockLayout& layout, const std::byte* code, uint64_t count,
              float factor, float* into) {
  decode_with<F>(layout, code, count, AddTimes{factor}, into);
}

template <class F>
BlockLoops<Narrow> loops_of_numbers() {
  return {encode_cast<F>, decode_cast<F>, add_cast<F>};
}
BlockLoops<Narrow> cast_loops(Narrow format) {
  switch (format) {
    case Narrow::kFloat16:
      return loops_of_numbers<Float16>();
    case Narrow::kBfloat16:
      return loops_of_numbers<Bfloat16>();
    case Narrow::kE4M3:
      return loops_of_numbers<E4M3>();
    default:
      return loops_of_numbers<E5M2>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(cast_loops);

// Without scales there are no blocks to speak of, and block() is 1.
class Cast final : public FormCodec<Narrow> {
 public:
  Cast(Narrow narrow, uint64_t block)
      : FormCodec(block, kFormats[static_cast<size_t>(narrow)].scaled ? 1 : 0,
                  8 * kFormats[static_cast<size_t>(narrow)].bytes, narrow,
                  HWY_DYNAMIC_DISPATCH(cast_loops)(narrow)) {}

  // Beside a block's largest, `absolute / largest` is the most that a number which is no normal one
  // of the format may lose.
  double error_max(uint64_t count) const override {
    const NarrowFormat& format = kFormats[static_cast<size_t>(form_)];
    const double relative = format.relative * format.relative * 1.00001;
    if (!format.scaled) return relative;
    const double vanishes = format.absolute / static_cast<double>(format.largest);
    return relative + longest(count) * vanishes * vanishes;
  }
};

template <Narrow narrow>
Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  uint64_t per_scale = 1;
  if constexpr (kFormats[static_cast<size_t>(narrow)].scaled) {
    const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
    if (!block) return block.status();
    per_scale = static_cast<uint64_t>(*block);
  }
  std::unique_ptr<Codec> codec = std::make_unique<Cast>(narrow, per_scale);
  return codec;
}

constexpr const char* kBlockParameter = "block=4096: elements per scale, 0 for one per run";

}  // namespace

const CodecFactory fp16_codec = {"fp16", "half precision, 5 bits of exponent", "",
                                 create<Narrow::kFloat16>};
const CodecFactory bf16_codec = {"bf16", "the upper half of an fp32", "",
                                 create<Narrow::kBfloat16>};
const CodecFactory fp8_e4m3_codec = {"fp8_e4m3", "8-bit floats of 3 bits and a scale",
                                     kBlockParameter, create<Narrow::kE4M3>};
const CodecFactory fp8_e5m2_codec = {"fp8_e5m2", "8-bit floats of 2 bits and a scale",
                                     kBlockParameter, create<Narrow::kE5M2>};

}  // namespace gossamer
#endif
