// Elias delta codes of the gaps: short for short gaps, whatever the density.
//   Source    Elias, "Universal codeword sets and representations of the integers", IEEE
//             Transactions on Information Theory 21(2), 1975.
//   Code      A gap g >= 1 has n = bit_width(g) bits, and n has m. m - 1 zeros, the m bits of n
//             from its one at the front, the n - 1 bits of g below its one: n + 2 m - 2 bits.

#include <bit>
#include <cmath>

#include "src/compress/positions.h"

namespace gossamer {
namespace {

class PositionsElias final : public PositionCoding {
 public:
  std::string_view name() const override { return "elias"; }
  bool fixed_size() const override { return false; }

  // The length of a code is at most 1 + log2(g) + 2 log2(1 + log2(g)), which is concave: no gaps of
  // one sum are longer than equal ones. A byte for what the logarithms round.
  uint64_t bytes_max(Kept kept) const override {
    if (kept.kept == 0) return 0;
    const auto number = static_cast<double>(kept.kept);
    const double log = std::log2(std::max(1.0, static_cast<double>(kept.count) / number));
    return static_cast<uint64_t>(number * (1 + log + 2 * std::log2(1 + log)) / 8) + 2;
  }
  // 1.8 elements per gap are the worst: 2.012 bits for each element.
  uint64_t bytes_most(uint64_t count) const override { return count / 4 + count / 64 + 8; }

  uint64_t encode(std::span<const uint32_t> positions, uint64_t /*count*/,
                  std::byte* code) const override {
    BitWriter writer(code);
    uint64_t least = 0;
    for (const uint32_t position : positions) {
      const uint64_t gap = position - least + 1;
      const auto n = static_cast<uint32_t>(std::bit_width(gap));
      const auto m = static_cast<uint32_t>(std::bit_width(n));
      writer.put_unary(m - 1);                 // its one is the front of n
      writer.put(n - (1U << (m - 1)), m - 1);  // the rest of n
      writer.put(gap - (uint64_t{1} << (n - 1)), n - 1);
      least = uint64_t{position} + 1;
    }
    return writer.finish();
  }

  bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
            std::span<uint32_t> into) const override {
    return read_bits(code, kept, cursor, into, [&](BitReader* reader) {
      const uint64_t more = reader->take_unary(kLengthBitsMax);
      if (more > kLengthBitsMax) return kept.count;
      const auto length = static_cast<uint32_t>(more);
      const uint64_t n = (uint64_t{1} << length) + reader->take(length);
      if (n > kGapBitsMax) return kept.count;
      const auto below = static_cast<uint32_t>(n - 1);
      return cursor->least + (uint64_t{1} << below) + reader->take(below) - 1;
    });
  }

  bool ends(std::span<const std::byte> code, Kept /*kept*/,
            const PositionCursor& cursor) const override {
    return bits_end(code, cursor.bit);
  }

 private:
  static constexpr uint64_t kGapBitsMax = 32;
  static constexpr uint64_t kLengthBitsMax = 5;
};

const PositionsElias kCoding;

}  // namespace

const PositionCoding& positions_elias = kCoding;

}  // namespace gossamer
