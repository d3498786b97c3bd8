// THC: rotated values as levels of a table, whose entries are whole numbers that are added as they
// are.
//   Source    Li, Basat, Vargaftik, Lao, Xu, Mitzenmacher and Yu, "THC: accelerating distributed
//             deep learning using tensor homomorphic compression", NSDI 2024.
//   Code      The draw as 8 bytes. Then blocks: of `block` elements, and what is left over in
//             powers of two, the largest first. Per block the scale s = root mean square as fp32,
//             then `bits` for each element, up to a whole byte. Elements are negated as the draw
//             says and rotated (src/compress/hadamard-inl.h); z = x / s is nearly Gaussian. Its
//             range [-t, t] has g + 1 equal steps, of which a table T has the 2^bits that lose
//             least, and z goes to one of its two neighbours in T, at random, so that the mean is
//             kept; its level says which. Decoded: s t (2 T[level] / g - 1), rotated back. bits=4:
//             g = 30, t = 2.154, outside of which are 1/32 of Gaussian values; 3: g = 20, the same
//             t; 2: g = 3, t = 1.534.
//   Error     Biased, as z is cut off at t, of the squared norm at most 1 + w^2 where w is the
//             widest gap of T, .431, .862, 1.023; that is for the worst of all draws. Typically,
//             whatever the values are, 4 bits 2.0e-2, of which .7e-2 is the bias; 3 bits 6.5e-2; 2
//             bits .20. With fewer bits than 4 it needs error feedback.
//   Values    Zeros come back as zeros where a block has nothing else. A NaN is 0, an infinity the
//             largest of the block. A scale that would be no normal number, 1.2e-38, is 0, and its
//             block zeros; decoded values beyond 3.4e38 become that.
//   Sums      Numbers to agree on: the scales. A sum has the draw and the scales, then the sum of
//             T[level] in 1, 2 or 4 bytes, the fewest that hold g N for N ranks: 1 byte for up to 8
//             with 4 bits. Exact, in any order (class L).

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "gossamer/code_sums.h"
#include "src/check.h"
#include "src/compress/integer_sums.h"
#include "src/compress/list.h"
#include "src/compress/shared_draw.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/thc.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"
#include "src/compress/hadamard-inl.h"
#include "src/compress/sums-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_THC_CC_
#define GOSSAMER_SRC_COMPRESS_THC_CC_
namespace gossamer {

// The entries that lose least of Gaussian values, found by dynamic programming
// (tests/linear_codecs_test.cc does it again).
struct ThcTable {
  int bits;
  int steps;      // g: the last entry
  double range;   // t
  double widest;  // gap between two entries, of z
  uint8_t entries[16];
};

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// Copies a block and makes all of it finite. Its root mean square, or 0 where that is no scale.
float load_block(const float* from, uint64_t count, float* into, uint64_t* not_finite) {
  const Extent extent = extent_of(from, count);
  std::memcpy(into, from, count * sizeof(float));
  for (uint64_t i = 0; extent.not_finite > 0 && i < count; ++i) {
    if (std::isfinite(into[i])) continue;
    into[i] = std::isnan(into[i]) ? 0 : std::copysign(extent.largest, into[i]);
  }
  *not_finite += extent.not_finite;
  const double square = sum_of(Square(), into, count) / static_cast<double>(count);
  const auto scale = static_cast<float>(std::sqrt(square));
  return scale < std::numeric_limits<float>::min() ? 0 : scale;
}

void rotate(Draw draw, uint64_t first, float factor, float* values, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) values[i] *= factor;
  draw_signs(draw, first, count, values);
  hadamard(values, count);
}
void rotate_back(Draw draw, uint64_t first, float factor, float* values, uint64_t count) {
  constexpr float kMost = std::numeric_limits<float>::max();
  hadamard(values, count);
  for (uint64_t i = 0; i < count; ++i) {
    values[i] = std::min(std::max(values[i] * factor, -kMost), kMost);
  }
  draw_signs(draw, first, count, values);
}

template <int bits>
struct TableLevels {
  using Lane = uint8_t;
  static constexpr bool kDraws = true;
  static constexpr int kLevels = 1 << bits;
  float per_step;  // steps in a z of 1
  float middle;    // step of z = 0
  float entries[kLevels];
  float inverse[kLevels];  // of the gap that begins with an entry

  explicit TableLevels(const ThcTable& table)
      : per_step(static_cast<float>(table.steps / (2 * table.range))),
        middle(static_cast<float>(table.steps) / 2) {
    for (int i = 0; i < kLevels; ++i) entries[i] = table.entries[i];
    for (int i = 0; i + 1 < kLevels; ++i) inverse[i] = 1 / (entries[i + 1] - entries[i]);
  }

  template <class D>
  HWY_INLINE hn::Vec<hn::Rebind<uint8_t, D>> code(D d, hn::Vec<D> z, hn::Vec<D> draw) const {
    const hn::RebindToSigned<D> di;
    auto step = hn::Add(hn::Mul(z, hn::Set(d, per_step)), hn::Set(d, middle));
    step = hn::Max(hn::Min(step, hn::Set(d, entries[kLevels - 1])), hn::Zero(d));
    auto below = hn::Set(d, entries[0]);
    auto gap = hn::Set(d, inverse[0]);
    auto level = hn::Zero(di);
    for (int i = 1; i + 1 < kLevels; ++i) {
      const auto entry = hn::Set(d, entries[i]);
      const auto beyond = hn::Ge(step, entry);
      below = hn::IfThenElse(beyond, entry, below);
      gap = hn::IfThenElse(beyond, hn::Set(d, inverse[i]), gap);
      level = hn::Sub(level, hn::BitCast(di, hn::VecFromMask(d, beyond)));  // a mask is -1
    }
    const auto up = hn::Lt(draw, hn::Mul(hn::Sub(step, below), gap));
    level = hn::Sub(level, hn::BitCast(di, hn::VecFromMask(d, up)));
    return hn::DemoteTo(hn::Rebind<uint8_t, D>(), level);
  }
};

template <int bits>
HWY_NOINLINE void write_of(const ThcTable& table, uint64_t key, uint64_t first, const float* z,
                           uint64_t count, std::byte* code) {
  const TableLevels<bits> kernel(table);
  Uniform uniform(key);
  for (uint64_t i = 0; i < count; i += kPiece) {
    const uint64_t piece = std::min(kPiece, count - i);
    encode_piece<bits>(kernel, z + i, uniform.of(first + i, piece), piece, code + i * bits / 8);
  }
}
void write_levels(const ThcTable& table, uint64_t key, uint64_t first, const float* z,
                  uint64_t count, std::byte* code) {
  if (table.bits == 2) return write_of<2>(table, key, first, z, count, code);
  if (table.bits == 3) return write_of<3>(table, key, first, z, count, code);
  write_of<4>(table, key, first, z, count, code);
}

template <int bits>
void read_of(const ThcTable& table, const std::byte* code, uint64_t count, uint8_t* entries) {
  for (uint64_t i = 0; i < count; i += kPiece) {
    const uint64_t piece = std::min(kPiece, count - i);
    unpack_levels<bits>(code + i * bits / 8, piece, entries + i);
    for (uint64_t k = 0; k < piece; ++k) entries[i + k] = table.entries[entries[i + k] & 15];
  }
}
// There is room for up to a multiple of 8.
void read_entries(const ThcTable& table, const std::byte* code, uint64_t count, uint8_t* entries) {
  if (table.bits == 2) return read_of<2>(table, code, count, entries);
  if (table.bits == 3) return read_of<3>(table, code, count, entries);
  read_of<4>(table, code, count, entries);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(load_block);
HWY_EXPORT(rotate);
HWY_EXPORT(rotate_back);
HWY_EXPORT(write_levels);
HWY_EXPORT(read_entries);

constexpr uint64_t kBlockMin = 64;  // signs come 64 at a time
constexpr uint64_t kThcBlockMax = 4096;

constexpr ThcTable kTables[] = {
    {2, 3, 1.5341205443525463, 1.0227470295683642, {0, 1, 2, 3}},
    {3, 20, 2.1538746940614564, .8615498776245826, {0, 4, 7, 9, 11, 13, 16, 20}},
    {4,
     30,
     2.1538746940614564,
     .4307749388122913,
     {0, 3, 5, 7, 9, 11, 13, 14, 15, 17, 19, 21, 23, 25, 27, 30}},
};

float scale_at(const std::byte* code) {
  float scale = 0;
  std::memcpy(&scale, code, sizeof scale);
  return scale;
}

class Thc final : public Codec, private CodeSums {
 public:
  Thc(const ThcTable& table, uint64_t block) : table_(table), block_(block) {}

  CodecTraits traits() const override { return {.needs_feedback = table_.bits < 4}; }
  uint64_t block() const override { return block_; }
  uint64_t bytes_max(uint64_t count) const override { return bytes(count, bits()); }
  double error_max(uint64_t /*count*/) const override {
    return 1.00001 * (1 + table_.widest * table_.widest);
  }
  const CodeSums* sums() const override { return this; }

  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    return encode_by(values, nullptr, draws, code);
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    return check_with(code, count, bits());
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    decode_code(code, into.size(), [&](uint64_t first, std::span<const float> values) {
      std::memcpy(into.data() + first, values.data(), values.size_bytes());
    });
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    decode_code(code, into.size(), [&](uint64_t first, std::span<const float> values) {
      for (uint64_t i = 0; i < values.size(); ++i) into[first + i] += factor * values[i];
    });
  }

 private:
  uint64_t bits() const { return static_cast<uint64_t>(table_.bits); }

  // Calls each(first, length, number of the block), until one is false.
  template <class Each>
  bool each_block(uint64_t count, const Each& each) const {
    uint64_t first = 0;
    uint64_t number = 0;
    for (; first + block_ <= count; first += block_) {
      if (!each(first, block_, number++)) return false;
    }
    for (uint64_t length = block_ / 2; length > 0; length /= 2) {
      if ((count - first) / length == 0) continue;
      if (!each(first, length, number++)) return false;
      first += length;
    }
    return true;
  }
  static uint64_t block_bytes(uint64_t length, uint64_t bits) {
    return sizeof(float) + (length * bits + 7) / 8;
  }
  uint64_t bytes(uint64_t count, uint64_t bits) const {
    if (count == 0) return 0;
    uint64_t sum = sizeof(Draw) + count / block_ * block_bytes(block_, bits);
    for (uint64_t length = block_ / 2; length > 0; length /= 2) {
      if ((count & length) != 0) sum += block_bytes(length, bits);
    }
    return sum;
  }

  Encoded encode_by(std::span<const float> values, const float* agreed, const Draws& draws,
                    std::span<std::byte> code) const {
    GOSSAMER_CHECK(code.size() >= bytes_max(values.size()));
    if (values.empty()) return {};
    const Draw draw = shared_draw(draws);
    std::memcpy(code.data(), &draw, sizeof draw);
    std::byte* at = code.data() + sizeof draw;
    Encoded made{bytes_max(values.size()), 0};
    each_block(values.size(), [&](uint64_t first, uint64_t length, uint64_t number) {
      alignas(64) float block[kThcBlockMax];
      float scale =
          HWY_DYNAMIC_DISPATCH(load_block)(values.data() + first, length, block, &made.not_finite);
      if (agreed != nullptr) scale = agreed[number];
      std::memcpy(at, &scale, sizeof scale);
      const double norm = static_cast<double>(scale) * std::sqrt(static_cast<double>(length));
      HWY_DYNAMIC_DISPATCH(rotate)
      (draw, first, scale > 0 ? static_cast<float>(1 / norm) : 0, block, length);
      HWY_DYNAMIC_DISPATCH(write_levels)
      (table_, draws.own, draws.first + first, block, length, at + sizeof scale);
      at += block_bytes(length, bits());
      return true;
    });
    return made;
  }

  Status check_with(std::span<const std::byte> code, uint64_t count, uint64_t bits) const {
    if (Status sound = check_length(*this, code.size(), bytes(count, bits), count); !sound) {
      return sound;
    }
    if (count == 0) return Status::ok();
    const std::byte* at = code.data() + sizeof(Draw);
    Status sound;
    each_block(count, [&](uint64_t, uint64_t length, uint64_t number) {
      const float scale = scale_at(at);
      at += block_bytes(length, bits);
      if (std::isfinite(scale) && scale >= 0) return true;
      sound = Status::error(Code::kMismatch,
                            fmt::format("the scale of block {} is {}, which no encoder writes; the "
                                        "code is damaged",
                                        number, scale));
      return false;
    });
    return sound;
  }

  // From sums of entries of `terms` codes, `length` of them in `block`, to values.
  void finish(Draw draw, uint64_t first, float scale, double terms, float* block,
              uint64_t length) const {
    const auto middle = static_cast<float>(terms * table_.steps);
    for (uint64_t i = 0; i < length; ++i) block[i] = 2 * block[i] - middle;
    const double step = table_.range / (table_.steps * std::sqrt(static_cast<double>(length)));
    HWY_DYNAMIC_DISPATCH(rotate_back)
    (draw, first, static_cast<float>(static_cast<double>(scale) * step), block, length);
  }

  // Calls use(first, values) block by block.
  template <class Use>
  void decode_code(std::span<const std::byte> code, uint64_t count, const Use& use) const {
    if (count == 0 || code.size() != bytes_max(count)) return;
    Draw draw = 0;
    std::memcpy(&draw, code.data(), sizeof draw);
    const std::byte* at = code.data() + sizeof draw;
    each_block(count, [&](uint64_t first, uint64_t length, uint64_t) {
      alignas(64) uint8_t entries[kThcBlockMax];
      alignas(64) float block[kThcBlockMax];
      HWY_DYNAMIC_DISPATCH(read_entries)(table_, at + sizeof(float), length, entries);
      for (uint64_t i = 0; i < length; ++i) block[i] = entries[i];
      finish(draw, first, scale_at(at), 1, block, length);
      use(first, std::span<const float>(block, length));
      at += block_bytes(length, bits());
      return true;
    });
  }

  // --- sums ---

  uint64_t agreed_count(uint64_t count) const override {
    return count / block_ + static_cast<uint64_t>(std::popcount(count % block_));
  }
  void measure(std::span<const float> values, std::span<float> numbers) const override {
    each_block(values.size(), [&](uint64_t first, uint64_t length, uint64_t number) {
      alignas(64) float block[kThcBlockMax];
      uint64_t not_finite = 0;
      numbers[number] =
          HWY_DYNAMIC_DISPATCH(load_block)(values.data() + first, length, block, &not_finite);
      return true;
    });
  }
  Encoded encode_agreed(std::span<const float> values, std::span<const float> numbers,
                        const Draws& draws, std::span<std::byte> code,
                        std::span<std::byte> /*workspace*/) const override {
    return encode_by(values, numbers.data(), draws, code);
  }

  uint64_t number_bytes(uint32_t ranks) const {
    return bytes_of_sum(static_cast<uint64_t>(table_.steps) * ranks);
  }
  uint64_t sum_bytes(uint64_t count, uint32_t ranks) const override {
    return bytes(count, 8 * number_bytes(ranks));
  }
  void begin_sum(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                 std::span<std::byte> sum) const override {
    if (count == 0) return;
    const uint64_t bytes = number_bytes(ranks);
    std::memcpy(sum.data(), code.data(), sizeof(Draw));
    each_sum(
        code, count, ranks, sum,
        [&](const std::byte* from, std::byte* into, std::span<const uint8_t> entries, uint64_t) {
          std::memcpy(into, from, sizeof(float));
          put_numbers(bytes, entries, into + sizeof(float));
          return true;
        });
  }
  Status add_code(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                  std::span<std::byte> sum) const override {
    if (count == 0) return Status::ok();
    if (std::memcmp(code.data(), sum.data(), sizeof(Draw)) != 0) {
      return Status::error(Code::kMismatch,
                           fmt::format("codes of {} that drew other signs cannot be added; give "
                                       "all ranks the same Draws::shared",
                                       name()));
    }
    const uint64_t bytes = number_bytes(ranks);
    Status sound;
    each_sum(code, count, ranks, sum,
             [&](const std::byte* from, std::byte* into, std::span<const uint8_t> entries,
                 uint64_t number) {
               sound = same_scale(*this, from, into, number);
               if (sound) add_numbers(bytes, entries, into + sizeof(float));
               return sound.is_ok();
             });
    return sound;
  }
  Status check_sum(std::span<const std::byte> sum, uint64_t count, uint32_t ranks) const override {
    return check_with(sum, count, 8 * number_bytes(ranks));
  }
  void decode_sum(std::span<const std::byte> sum, uint32_t ranks,
                  std::span<float> into) const override {
    const uint64_t bytes = number_bytes(ranks);
    if (into.empty() || sum.size() != sum_bytes(into.size(), ranks)) return;
    Draw draw = 0;
    std::memcpy(&draw, sum.data(), sizeof draw);
    const std::byte* at = sum.data() + sizeof draw;
    each_block(into.size(), [&](uint64_t first, uint64_t length, uint64_t) {
      float* const block = into.data() + first;
      get_numbers(bytes, at + sizeof(float), 0, {block, length});
      finish(draw, first, scale_at(at), ranks, block, length);
      at += block_bytes(length, 8 * bytes);
      return true;
    });
  }

  // each(block's code, block's sum, entries, which) until one is false.
  template <class Each>
  void each_sum(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                std::span<std::byte> sum, const Each& each) const {
    const std::byte* from = code.data() + sizeof(Draw);
    std::byte* into = sum.data() + sizeof(Draw);
    each_block(count, [&](uint64_t, uint64_t length, uint64_t number) {
      alignas(64) uint8_t entries[kThcBlockMax];
      HWY_DYNAMIC_DISPATCH(read_entries)(table_, from + sizeof(float), length, entries);
      const bool goes_on = each(from, into, std::span<const uint8_t>(entries, length), number);
      from += block_bytes(length, bits());
      into += block_bytes(length, 8 * number_bytes(ranks));
      return goes_on;
    });
  }

  const ThcTable& table_;
  uint64_t block_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> bits = parameters.integer("bits", 2, 4);
  if (!bits) return bits.status();
  const Result<int64_t> block = parameters.integer("block", kBlockMin, kThcBlockMax);
  if (!block) return block.status();
  const auto length = static_cast<uint64_t>(*block);
  if (!std::has_single_bit(length)) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("thc rotates blocks whose length is a power of two, and block "
                                     "is {}; give {}",
                                     length, std::bit_floor(length)));
  }
  return std::unique_ptr<Codec>(std::make_unique<Thc>(kTables[*bits - 2], length));
}

}  // namespace

const CodecFactory thc_codec = {
    "thc", "rotated values as levels of a table, added as they are",
    "bits=4: per element, from 2; block=1024: elements that are rotated together, a power of two "
    "from 64 to 4096",
    create};

}  // namespace gossamer
#endif
