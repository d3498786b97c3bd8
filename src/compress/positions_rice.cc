// Rice codes of the gaps: within 2 % of the entropy of positions that are chosen at random.
//   Source    Golomb, "Run-length encodings", IEEE Transactions on Information Theory 12(3), 1966;
//             Rice and Plaunt, "Adaptive variable-length coding for efficient compression of
//             spacecraft television data", IEEE Transactions on Communication Technology 19(6),
//             1971.
//   Code      A gap of g elements between two that are kept: g >> b zeros, a one, the lowest b bits
//             of g. b = round(log2(0.69 count / kept)), which both ends know.

#include <algorithm>
#include <bit>

#include "src/compress/positions.h"

namespace gossamer {
namespace {

class PositionsRice final : public PositionCoding {
 public:
  std::string_view name() const override { return "rice"; }
  bool fixed_size() const override { return false; }

  // Each gap has b + 1 bits, and all gaps together at most count >> b zeros.
  uint64_t bytes_max(Kept kept) const override {
    if (kept.kept == 0) return 0;
    const uint32_t b = low_bits(kept);
    return (kept.kept * (b + 1) + (kept.count >> b) + 7) / 8;
  }
  // Most where all are kept: a one for each, and as many zeros were there any gaps.
  uint64_t bytes_most(uint64_t count) const override { return count / 4 + 8; }

  uint64_t encode(std::span<const uint32_t> positions, uint64_t count,
                  std::byte* code) const override {
    const uint32_t b = low_bits({positions.size(), count});
    const uint64_t mask = (uint64_t{1} << b) - 1;
    BitWriter writer(code);
    uint64_t least = 0;
    for (const uint32_t position : positions) {
      const uint64_t gap = position - least;
      writer.put_unary(gap >> b);
      writer.put(gap & mask, b);
      least = uint64_t{position} + 1;
    }
    return writer.finish();
  }

  bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
            std::span<uint32_t> into) const override {
    const uint32_t b = low_bits(kept);
    const uint64_t most = kept.count >> b;
    return read_bits(code, kept, cursor, into, [&](BitReader* reader) {
      const uint64_t high = reader->take_unary(most);
      return high > most ? kept.count : cursor->least + (high << b | reader->take(b));
    });
  }

  bool ends(std::span<const std::byte> code, Kept /*kept*/,
            const PositionCursor& cursor) const override {
    return bits_end(code, cursor.bit);
  }

 private:
  // In whole numbers: the least b with 0.69 count / kept < 2^(b + 1/2), and sqrt(2) is 1.41421.
  static uint32_t low_bits(Kept kept) {
    if (kept.kept == 0) return 0;
    uint32_t b = 0;
    while (b < 31 && kept.count * 69000 >= (kept.kept << b) * 141421) ++b;
    return b;
  }
};

const PositionsRice kCoding;

}  // namespace

const PositionCoding& positions_rice = kCoding;

}  // namespace gossamer
