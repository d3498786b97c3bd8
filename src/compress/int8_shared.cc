// Int8 with scales that ranks share: whole numbers that can be added as they are.
//   Source    Wen, Xu, Yan, Wu, Wang, Chen and Li, "TernGrad: ternary gradients to reduce
//             communication in distributed deep learning", NIPS 2017, whose scaler sharing this is
//             with one level; more levels as in Sapio et al., "Scaling distributed machine learning
//             with in-network aggregation", NSDI 2021.
//   Code      With L levels: per block the scale s = largest magnitude / L as fp32, then q = x / s
//             rounded, as q + L in 2, 4 or 8 bits, the fewest that hold 2 L. Decoded: s * q. The
//             largest magnitude is the run's own, or where ranks agree that of all ranks.
//   Error     nearest: biased, of the squared norm at most block / (4 L^2); stochastic: unbiased,
//             the same in expectation. On 65536 Gaussian values with one scale and L = 127: 1.1e-4;
//             what other ranks' larger values make of it comes on top.
//   Values    Zeros come back as zeros. A NaN is 0, an infinity the largest of the block. A scale
//             that would be no normal number, 1.2e-38, is 0, and its block zeros.
//   Sums      Numbers to agree on: a block's largest magnitude. A sum has the scales, then numbers
//             of 1, 2 or 4 bytes, the fewest that hold 2 L N for N ranks: 2 bytes for up to 258
//             ranks with L = 127, one byte with L = 127 / N. Exact, in any order (class L).

#include <algorithm>

#include "gossamer/code_sums.h"
#include "src/compress/block_codec.h"
#include "src/compress/integer_sums.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/int8_shared.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/levels-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_INT8_SHARED_CC_
#define GOSSAMER_SRC_COMPRESS_INT8_SHARED_CC_
namespace gossamer {

struct SharedForm {
  float levels;
  bool stochastic;
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

template <bool stochastic>
struct SharedLevels : Levels<stochastic> {
  const float* next;  // the largest that ranks agreed on, block by block; null: its own

  SharedLevels(float each_side, const float* agreed)
      : Levels<stochastic>{each_side}, next(agreed) {}
  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    const Extent extent = extent_of(from, count);
    *not_finite += extent.not_finite;
    const float largest = next == nullptr ? extent.largest : *next++;
    this->fit_largest(static_cast<double>(largest));
  }
};

template <bool stochastic>
uint64_t encode_of(const SharedForm& form, const BlockLayout& layout, const float* from,
                   uint64_t count, const float* agreed, const Draws& draws, std::byte* code) {
  const SharedLevels<stochastic> kernel(form.levels, agreed);
  if (layout.bits == 2) return encode_blocks<2>(kernel, layout, from, count, draws, code);
  if (layout.bits == 4) return encode_blocks<4>(kernel, layout, from, count, draws, code);
  return encode_blocks<8>(kernel, layout, from, count, draws, code);
}

template <class Use>
void decode_of(const SharedForm& form, const BlockLayout& layout, const std::byte* code,
               uint64_t count, const Use& use, float* into) {
  const SharedLevels<false> kernel(form.levels, nullptr);
  if (layout.bits == 2) return decode_blocks<2>(kernel, layout, code, count, use, into);
  if (layout.bits == 4) return decode_blocks<4>(kernel, layout, code, count, use, into);
  decode_blocks<8>(kernel, layout, code, count, use, into);
}

uint64_t encode_shared(const SharedForm& form, const BlockLayout& layout, const float* from,
                       uint64_t count, const float* agreed, const Draws& draws, std::byte* code) {
  return form.stochastic ? encode_of<true>(form, layout, from, count, agreed, draws, code)
                         : encode_of<false>(form, layout, from, count, agreed, draws, code);
}
void decode_shared(const SharedForm& form, const BlockLayout& layout, const std::byte* code,
                   uint64_t count, float* into) {
  decode_of(form, layout, code, count, Overwrite(), into);
}
void add_shared(const SharedForm& form, const BlockLayout& layout, const std::byte* code,
                uint64_t count, float factor, float* into) {
  decode_of(form, layout, code, count, AddTimes{factor}, into);
}

void find_largest(const BlockLayout& layout, const float* from, uint64_t count, float* largest) {
  for (uint64_t first = 0; first < count; first += layout.block) {
    *largest++ = extent_of(from + first, std::min(layout.block, count - first)).largest;
  }
}

// Up to kPiece levels of `bits` each, a byte each.
void read_levels(uint64_t bits, const std::byte* code, uint64_t count, uint8_t* levels) {
  if (bits == 2) return unpack_levels<2>(code, count, levels);
  if (bits == 4) return unpack_levels<4>(code, count, levels);
  std::memcpy(levels, code, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(encode_shared);
HWY_EXPORT(decode_shared);
HWY_EXPORT(add_shared);
HWY_EXPORT(find_largest);
HWY_EXPORT(read_levels);

constexpr uint64_t kPiece = 1024;  // a whole number of bytes, whatever the bits

uint64_t bits_of(uint64_t levels) {
  return levels == 1 ? 2 : levels <= 7 ? 4 : 8;
}

class SharedIntegers final : public BlockCodec, private CodeSums {
 public:
  SharedIntegers(uint64_t block, uint64_t levels, bool stochastic)
      : BlockCodec(block, 1, bits_of(levels)),
        levels_(levels),
        form_{static_cast<float>(levels), stochastic} {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.unbiased = form_.stochastic;
    traits.needs_feedback = !form_.stochastic && levels_ < 64;
    return traits;
  }
  double error_max(uint64_t count) const override {
    const double n = longest(count);
    const auto levels = static_cast<double>(levels_);
    // Rounded to nearest an element that is below half a step loses itself and no more.
    const double bound = 1.00001 * n / (4 * levels * levels);
    return form_.stochastic ? bound : std::min(bound, 1.00001);
  }
  const CodeSums* sums() const override { return this; }

 private:
  uint64_t encode_run(const BlockLayout& layout, std::span<const float> values, const Draws& draws,
                      std::byte* code) const override {
    return HWY_DYNAMIC_DISPATCH(encode_shared)(form_, layout, values.data(), values.size(), nullptr,
                                               draws, code);
  }
  void decode_run(const BlockLayout& layout, const std::byte* code,
                  std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(decode_shared)(form_, layout, code, into.size(), into.data());
  }
  void add_run(const BlockLayout& layout, const std::byte* code, float factor,
               std::span<float> into) const override {
    HWY_DYNAMIC_DISPATCH(add_shared)(form_, layout, code, into.size(), factor, into.data());
  }

  uint64_t agreed_count(uint64_t count) const override {
    const BlockLayout shape = layout(count);
    return count / shape.block + (count % shape.block == 0 ? 0 : 1);
  }
  void measure(std::span<const float> values, std::span<float> numbers) const override {
    HWY_DYNAMIC_DISPATCH(find_largest)
    (layout(values.size()), values.data(), values.size(), numbers.data());
  }
  Encoded encode_agreed(std::span<const float> values, std::span<const float> numbers,
                        const Draws& draws, std::span<std::byte> code,
                        std::span<std::byte> /*workspace*/) const override {
    if (values.empty()) return {};
    const BlockLayout shape = layout(values.size());
    const uint64_t not_finite = HWY_DYNAMIC_DISPATCH(encode_shared)(
        form_, shape, values.data(), values.size(), numbers.data(), draws, code.data());
    return {shape.bytes(values.size()), not_finite};
  }

  uint64_t number_bytes(uint32_t ranks) const { return bytes_of_sum(2 * levels_ * ranks); }
  BlockLayout sum_layout(uint64_t count, uint32_t ranks) const {
    BlockLayout shape = layout(count);
    shape.bits = 8 * number_bytes(ranks);
    return shape;
  }
  uint64_t sum_bytes(uint64_t count, uint32_t ranks) const override {
    return sum_layout(count, ranks).bytes(count);
  }
  void begin_sum(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                 std::span<std::byte> sum) const override {
    const uint64_t bytes = number_bytes(ranks);
    (void)each_block(  // nothing is compared
        code, count, ranks, sum,
        [](const std::byte* from, std::byte* into, uint64_t) {
          std::memcpy(into, from, sizeof(float));
          return Status::ok();
        },
        [&](std::span<const uint8_t> levels, std::byte* into) {
          put_numbers(bytes, levels, into);
        });
  }
  Status add_code(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                  std::span<std::byte> sum) const override {
    const uint64_t bytes = number_bytes(ranks);
    return each_block(
        code, count, ranks, sum,
        [&](const std::byte* from, std::byte* into, uint64_t block) {
          return same_scale(*this, from, into, block);
        },
        [&](std::span<const uint8_t> levels, std::byte* into) {
          add_numbers(bytes, levels, into);
        });
  }
  Status check_sum(std::span<const std::byte> sum, uint64_t count, uint32_t ranks) const override {
    return check_blocks(*this, sum, count, sum_layout(count, ranks));
  }
  void decode_sum(std::span<const std::byte> sum, uint32_t ranks,
                  std::span<float> into) const override {
    const BlockLayout shape = sum_layout(into.size(), ranks);
    if (into.empty() || sum.size() != shape.bytes(into.size())) return;
    const std::byte* at = sum.data();
    for (uint64_t first = 0; first < into.size(); first += shape.block) {
      const auto part = into.subspan(first, std::min(shape.block, into.size() - first));
      float scale = 0;
      std::memcpy(&scale, at, sizeof scale);
      get_numbers(shape.bits / 8, at + sizeof scale,
                  static_cast<int64_t>(levels_) * static_cast<int64_t>(ranks), part);
      for (float& value : part) value *= scale;
      at += shape.of_block(part.size());
    }
  }

  // begin(block's code, block's sum, which) and use(levels, where their sums lie).
  template <class Begin, class Use>
  Status each_block(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                    std::span<std::byte> sum, const Begin& begin, const Use& use) const {
    const BlockLayout shape = layout(count);
    const BlockLayout sums = sum_layout(count, ranks);
    const std::byte* from = code.data();
    std::byte* into = sum.data();
    for (uint64_t b = 0, first = 0; first < count; ++b, first += shape.block) {
      const uint64_t length = std::min(shape.block, count - first);
      if (Status sound = begin(from, into, b); !sound) return sound;
      for (uint64_t i = 0; i < length; i += kPiece) {
        const uint64_t piece = std::min(kPiece, length - i);
        alignas(64) uint8_t levels[kPiece];
        HWY_DYNAMIC_DISPATCH(read_levels)
        (shape.bits, from + sizeof(float) + i * shape.bits / 8, piece, levels);
        use(std::span<const uint8_t>(levels, piece), into + sizeof(float) + i * sums.bits / 8);
      }
      from += shape.of_block(length);
      into += sums.of_block(length);
    }
    return Status::ok();
  }

  uint64_t levels_;
  SharedForm form_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> levels = parameters.integer("levels", 1, 127);
  if (!levels) return levels.status();
  const Result<int64_t> block = parameters.integer("block", 0, kBlockMax);
  if (!block) return block.status();
  const Result<size_t> rounding = parameters.choice("rounding", kRoundings);
  if (!rounding) return rounding.status();
  return std::unique_ptr<Codec>(std::make_unique<SharedIntegers>(
      static_cast<uint64_t>(*block), static_cast<uint64_t>(*levels), *rounding == 1));
}

}  // namespace

const CodecFactory int8_shared_codec = {
    "int8_shared", "whole numbers by scales that ranks agree on, added as they are",
    "levels=127: on either side of 0; block=1024: elements per scale, 0 for one per run; "
    "rounding=nearest: or stochastic",
    create};

}  // namespace gossamer
#endif
