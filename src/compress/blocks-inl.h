// The loop over blocks that quantisers share: fit a kernel to the block, write its numbers, then
// the elements' levels in a fixed number of bits.
//
// A quantiser is a kernel (src/compress/lanes-inl.h) with Lane = uint8_t and
//
//   void fit(values, count, &not_finite)   to a block; adds to not_finite
//   void put(code) const                   the block's numbers, layout.numbers of them
//   void get(code)
//
// Packing    The level of element i is bits [i * bits, (i + 1) * bits) of the block's levels, which
//            are a number with its lowest byte first.
//
// Compiled once per instruction set, as src/compress/lanes-inl.h is.

#if defined(GOSSAMER_SRC_COMPRESS_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_BLOCKS_INL_H_
#undef GOSSAMER_SRC_COMPRESS_BLOCKS_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_BLOCKS_INL_H_
#endif

#include <hwy/highway.h>

#include "src/compress/block_codec.h"
#include "src/compress/draws-inl.h"
#include "src/compress/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

inline constexpr uint64_t kPiece = Uniform::kPiece;

// Eight levels in the bytes of a word to eight next to each other, and back: pairs, then pairs of
// pairs, then both halves.
template <int bits>
HWY_INLINE uint64_t join_levels(uint64_t x) {
  x = (x & 0x00ff00ff00ff00ffU) | (x >> 8 & 0x00ff00ff00ff00ffU) << bits;
  x = (x & 0x0000ffff0000ffffU) | (x >> 16 & 0x0000ffff0000ffffU) << (2 * bits);
  return (x & 0xffffffffU) | (x >> 32) << (4 * bits);
}
template <int bits>
HWY_INLINE uint64_t part_levels(uint64_t x) {
  constexpr uint64_t kQuarter = (uint64_t{1} << (4 * bits)) - 1;
  constexpr uint64_t kPair = ((uint64_t{1} << (2 * bits)) - 1) * 0x0000000100000001U;
  constexpr uint64_t kOne = ((uint64_t{1} << bits) - 1) * 0x0001000100010001U;
  x = (x & kQuarter) | (x >> (4 * bits) & kQuarter) << 32;
  x = (x & kPair) | (x >> (2 * bits) & kPair) << 16;
  return (x & kOne) | (x >> bits & kOne) << 8;
}

// Up to kPiece levels; those behind the last are zeros, up to a multiple of 8. Whole words are
// copied with lengths that are known when compiling: blocks are short, and calls are dear.
template <int bits>
HWY_INLINE void pack_levels(const uint8_t* levels, uint64_t count, std::byte* code) {
  const uint64_t words = (count + 7) / 8;
  HWY_ALIGN uint64_t packed[kPiece / 8];
  for (uint64_t w = 0; w < words; ++w) {
    uint64_t word = 0;
    std::memcpy(&word, levels + w * 8, sizeof word);
    packed[w] = join_levels<bits>(word);
  }
  // Each word's upper bytes are zeros that the next one replaces, as long as they are inside.
  const uint64_t bytes = (count * bits + 7) / 8;
  uint64_t w = 0;
  for (; w * bits + 8 <= bytes; ++w) std::memcpy(code + w * bits, &packed[w], 8);
  for (; (w + 1) * bits <= bytes; ++w) std::memcpy(code + w * bits, &packed[w], bits);
  if (w < words) std::memcpy(code + w * bits, &packed[w], bytes - w * bits);
}
template <int bits>
HWY_INLINE void unpack_levels(const std::byte* code, uint64_t count, uint8_t* levels) {
  const uint64_t words = (count + 7) / 8;
  HWY_ALIGN uint64_t packed[kPiece / 8];
  const uint64_t bytes = (count * bits + 7) / 8;
  uint64_t w = 0;
  for (; w * bits + 8 <= bytes; ++w) std::memcpy(&packed[w], code + w * bits, 8);
  for (; (w + 1) * bits <= bytes; ++w) {
    packed[w] = 0;
    std::memcpy(&packed[w], code + w * bits, bits);
  }
  if (w < words) {
    packed[w] = 0;
    std::memcpy(&packed[w], code + w * bits, bytes - w * bits);
  }
  for (w = 0; w < words; ++w) {
    const uint64_t word = part_levels<bits>(packed[w]);
    std::memcpy(levels + w * 8, &word, sizeof word);
  }
}

// A bit per element: 1 for those below 0. For kernels that say what the bits stand for.
struct BelowZero {
  using Lane = uint8_t;
  static constexpr bool kDraws = false;

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> value,
                                                  hn::Vec<D> /*draw*/) const {
    const hn::RebindToSigned<D> di;
    const auto below = hn::RebindMask(di, hn::Lt(value, hn::Zero(d)));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), hn::IfThenElseZero(below, hn::Set(di, 1)));
  }
};

template <int bits, class Kernel>
HWY_INLINE void encode_piece(const Kernel& kernel, const float* from, const float* draws,
                             uint64_t count, std::byte* code) {
  if constexpr (bits == 8) {
    encode_lanes(kernel, from, draws, count, code);
  } else {
    HWY_ALIGN uint8_t levels[kPiece];
    if (count % 8 != 0) std::memset(levels + count / 8 * 8, 0, 8);
    encode_lanes(kernel, from, draws, count, reinterpret_cast<std::byte*>(levels));
    pack_levels<bits>(levels, count, code);
  }
}

// Not inlined: a quantiser of any number of bits has seven of these.
template <int bits, class Kernel>
HWY_NOINLINE uint64_t encode_blocks(Kernel kernel, const BlockLayout& layout, const float* from,
                                    uint64_t count, const Draws& draws, std::byte* code) {
  Uniform uniform(draws.own);
  uint64_t not_finite = 0;
  for (uint64_t first = 0; first < count; first += layout.block) {
    const uint64_t length = std::min(layout.block, count - first);
    kernel.fit(from + first, length, &not_finite);
    kernel.put(code);
    code += layout.numbers * sizeof(float);
    for (uint64_t i = 0; i < length; i += kPiece) {
      const uint64_t piece = std::min(kPiece, length - i);
      const float* numbers = nullptr;
      if constexpr (Kernel::kDraws) numbers = uniform.of(draws.first + first + i, piece);
      encode_piece<bits>(kernel, from + first + i, numbers, piece, code);
      code += (piece * bits + 7) / 8;
    }
  }
  return not_finite;
}

// What decode_blocks() does with the decoded values of a piece.
struct Overwrite {
  template <class Kernel>
  HWY_INLINE void operator()(const Kernel& kernel, const std::byte* levels, uint64_t count,
                             float* into) const {
    decode_lanes(kernel, levels, count, into);
  }
};
struct AddTimes {
  float factor;
  template <class Kernel>
  HWY_INLINE void operator()(const Kernel& kernel, const std::byte* levels, uint64_t count,
                             float* into) const {
    add_lanes(kernel, levels, count, factor, into);
  }
};

template <int bits, class Kernel, class Use>
HWY_NOINLINE void decode_blocks(Kernel kernel, const BlockLayout& layout, const std::byte* code,
                                uint64_t count, const Use& use, float* into) {
  for (uint64_t first = 0; first < count; first += layout.block) {
    const uint64_t length = std::min(layout.block, count - first);
    kernel.get(code);
    code += layout.numbers * sizeof(float);
    for (uint64_t i = 0; i < length; i += kPiece) {
      const uint64_t piece = std::min(kPiece, length - i);
      if constexpr (bits == 8) {
        use(kernel, code, piece, into + first + i);
      } else {
        HWY_ALIGN uint8_t levels[kPiece];
        unpack_levels<bits>(code, piece, levels);
        use(kernel, reinterpret_cast<const std::byte*>(levels), piece, into + first + i);
      }
      code += (piece * bits + 7) / 8;
    }
  }
}

// The loops of a codec whose form makes a quantiser: Kernel(form).
template <int bits, class Kernel, class Form>
uint64_t encode_form(Form form, const BlockLayout& layout, const float* from, uint64_t count,
                     const Draws& draws, std::byte* code) {
  return encode_blocks<bits>(Kernel(form), layout, from, count, draws, code);
}
template <int bits, class Kernel, class Form>
void decode_form(Form form, const BlockLayout& layout, const std::byte* code, uint64_t count,
                 float* into) {
  decode_blocks<bits>(Kernel(form), layout, code, count, Overwrite(), into);
}
template <int bits, class Kernel, class Form>
void add_form(Form form, const BlockLayout& layout, const std::byte* code, uint64_t count,
              float factor, float* into) {
  decode_blocks<bits>(Kernel(form), layout, code, count, AddTimes{factor}, into);
}
template <int bits, class Kernel, class Form>
BlockLoops<Form> loops_of() {
  return {encode_form<bits, Kernel, Form>, decode_form<bits, Kernel, Form>,
          add_form<bits, Kernel, Form>};
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
