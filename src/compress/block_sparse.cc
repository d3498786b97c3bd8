// Block-sparse: the blocks of the largest norms, whole, and which they are.
//   Source    Sun, Feng, Han, Yan and Wen, "Optimizing network performance for distributed DNN
//             training on GPU clusters: ImageNet/AlexNet training in 1.5 minutes", 2019, for
//             blocks; here each rank picks its own.
//   Code      Of b = ceil(count / block) blocks k = ceil(ratio * b): their numbers, ascending, 4
//             bytes each; then their elements as fp32. A last block that is shorter ends with
//             zeros, unless all blocks are kept.
//   Error     Biased: of the squared norm at most 1 - k / b. Rows and channels of one scale are
//             found; Gaussian values have no such blocks, of which the largest tenth of 256
//             elements each has 11.6 %. Needs error feedback.
//   Values    Kept ones as they are, others are 0. A NaN is 0, an infinity the largest finite
//             magnitude of the run; neither counts for its block's norm. Of equal norms the first.
//   Sums      Codes are gathered, and each rank adds them (class G).

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "src/check.h"
#include "src/compress/list.h"
#include "src/compress/sparse.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/block_sparse.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// Returns how many values are not finite.
uint64_t find_norms(const float* from, uint64_t count, uint64_t block, float* norms) {
  uint64_t not_finite = 0;
  for (uint64_t first = 0; first < count; first += block) {
    const uint64_t length = std::min(block, count - first);
    not_finite += extent_of(from + first, length).not_finite;
    const double norm = std::sqrt(sum_of(Square(), from + first, length));
    const auto most = static_cast<double>(std::numeric_limits<float>::max());
    *norms++ = static_cast<float>(std::min(norm, most));
  }
  return not_finite;
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(find_norms);

using Number = uint32_t;

Number number_at(const std::byte* code, uint64_t i) {
  Number number = 0;
  std::memcpy(&number, code + i * sizeof number, sizeof number);
  return number;
}
float value_at(const std::byte* values, uint64_t i) {
  float value = 0;
  std::memcpy(&value, values + i * sizeof value, sizeof value);
  return value;
}

// What both ends know.
struct Blocks {
  uint64_t count;
  uint64_t block;
  uint64_t blocks;
  uint64_t kept;

  uint64_t numbers_bytes() const { return kept * sizeof(Number); }
  uint64_t values() const { return kept == blocks ? count : kept * block; }
  uint64_t bytes() const { return numbers_bytes() + values() * sizeof(float); }
  uint64_t length(uint64_t number) const { return std::min(block, count - number * block); }
  // Of the code's values, those of the i-th block that is kept.
  uint64_t begin(uint64_t i) const { return i * block; }
};

class BlockSparse final : public Codec {
 public:
  BlockSparse(double ratio, uint64_t block) : ratio_(ratio), block_(block) {}

  CodecTraits traits() const override { return {.needs_feedback = true, .sparse = true}; }
  uint64_t block() const override { return block_; }
  uint64_t count_max() const override { return kSparseCountMax; }
  uint64_t bytes_max(uint64_t count) const override { return blocks_of(count).bytes(); }
  uint64_t entries_max(uint64_t count) const override {
    return std::min(count, blocks_of(count).values());
  }
  uint64_t workspace_bytes(uint64_t count) const override {
    const Blocks shape = blocks_of(count);
    return workspace_of(selection_room(shape.blocks, shape.kept)) + shape.blocks * sizeof(float);
  }
  // Norms are rounded to fp32 before they are compared.
  double error_max(uint64_t count) const override {
    if (count == 0) return 0;
    const Blocks shape = blocks_of(count);
    if (shape.kept == shape.blocks) return 0;
    return 1 - static_cast<double>(shape.kept) / static_cast<double>(shape.blocks) + 1e-6;
  }

  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> workspace) const override {
    GOSSAMER_CHECK(values.size() <= kSparseCountMax && code.size() >= bytes_max(values.size()) &&
                   workspace.size() >= workspace_bytes(values.size()));
    if (values.empty()) return {};
    const Blocks shape = blocks_of(values.size());
    const uint64_t room = selection_room(shape.blocks, shape.kept);
    const Picks picks = picks_in(workspace, room);
    float* const norms = picks.values + room;
    const uint64_t not_finite =
        HWY_DYNAMIC_DISPATCH(find_norms)(values.data(), values.size(), block_, norms);
    select_largest({norms, shape.blocks}, shape.kept, true, picks);
    std::memcpy(code.data(), picks.positions, shape.numbers_bytes());
    std::byte* const into = code.data() + shape.numbers_bytes();
    for (uint64_t i = 0; i < shape.kept; ++i) {
      const uint64_t first = picks.positions[i] * block_;
      std::memcpy(into + shape.begin(i) * sizeof(float), values.data() + first,
                  shape.length(picks.positions[i]) * sizeof(float));
    }
    const uint64_t last =
        shape.begin(shape.kept - 1) + shape.length(picks.positions[shape.kept - 1]);
    std::memset(into + last * sizeof(float), 0, (shape.values() - last) * sizeof(float));
    if (not_finite > 0) replace_not_finite(into, last, largest_finite(values));
    return {shape.bytes(), not_finite};
  }

  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (count > kSparseCountMax) return check_length(*this, code.size(), 0, count);
    const Blocks shape = blocks_of(count);
    Status sound = check_length(*this, code.size(), shape.bytes(), count);
    if (!sound || count == 0) return sound;
    uint64_t least = 0;
    for (uint64_t i = 0; i < shape.kept; ++i) {
      const Number number = number_at(code.data(), i);
      if (number < least || number >= shape.blocks) {
        return damaged(fmt::format("kept block {} is number {} of {}, or they do not ascend", i,
                                   number, shape.blocks));
      }
      least = uint64_t{number} + 1;
    }
    const std::byte* const values = code.data() + shape.numbers_bytes();
    const uint64_t last = shape.begin(shape.kept - 1) + shape.length(least - 1);
    for (uint64_t i = 0; i < shape.values(); ++i) {
      const float value = value_at(values, i);
      if (!std::isfinite(value)) return damaged(fmt::format("value {} is {}", i, value));
      if (i >= last && value != 0) return damaged(fmt::format("value {} is beyond the run", i));
    }
    return sound;
  }

  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    each_block(code, into, [](const std::byte* values, std::span<float> part) {
      std::memcpy(part.data(), values, part.size_bytes());
    });
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    each_block(code, into, [&](const std::byte* values, std::span<float> part) {
      for (uint64_t i = 0; i < part.size(); ++i) part[i] += factor * value_at(values, i);
    });
  }

 private:
  Blocks blocks_of(uint64_t count) const {
    const uint64_t blocks = count / block_ + (count % block_ == 0 ? 0 : 1);
    return {count, block_, blocks, blocks == 0 ? 0 : kept_of(ratio_, blocks)};
  }

  static void replace_not_finite(std::byte* values, uint64_t count, float infinity) {
    for (uint64_t i = 0; i < count; ++i) {
      float value = value_at(values, i);
      if (std::isfinite(value)) continue;
      value = std::isnan(value) ? 0 : std::copysign(infinity, value);
      std::memcpy(values + i * sizeof value, &value, sizeof value);
    }
  }

  static Status damaged(const std::string& what) {
    return Status::error(Code::kMismatch,
                         fmt::format("{}, which no encoder writes; the code is damaged", what));
  }

  // Blocks that are none are left out.
  template <class Each>
  void each_block(std::span<const std::byte> code, std::span<float> into, const Each& each) const {
    const Blocks shape = blocks_of(into.size());
    if (into.empty() || code.size() != shape.bytes()) return;
    const std::byte* const values = code.data() + shape.numbers_bytes();
    for (uint64_t i = 0; i < shape.kept; ++i) {
      const uint64_t number = number_at(code.data(), i);
      if (number >= shape.blocks) continue;
      const uint64_t begin = shape.begin(i);
      const uint64_t length = std::min(shape.length(number), shape.values() - begin);
      each(values + begin * sizeof(float), into.subspan(number * block_, length));
    }
  }

  double ratio_;
  uint64_t block_;
};

constexpr double kRatioMin = 1e-9;

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<double> ratio = parameters.real("ratio", kRatioMin, 1);
  if (!ratio) return ratio.status();
  const Result<int64_t> block = parameters.integer("block", 1, kBlockMax);
  if (!block) return block.status();
  return std::unique_ptr<Codec>(
      std::make_unique<BlockSparse>(*ratio, static_cast<uint64_t>(*block)));
}

}  // namespace

const CodecFactory block_sparse_codec = {
    "block_sparse", "the blocks of the largest norms, whole",
    "ratio=0.01: part of the blocks that is kept; block=256: elements per block", create};

}  // namespace gossamer
#endif
