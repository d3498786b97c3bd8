// Positions with as many bits as the last element's has.

#include <bit>

#include "src/compress/positions.h"

namespace gossamer {
namespace {

class PositionsBitpack final : public PositionCoding {
 public:
  std::string_view name() const override { return "bitpack"; }
  bool fixed_size() const override { return true; }
  uint64_t bytes_max(Kept kept) const override { return (kept.kept * width(kept.count) + 7) / 8; }
  uint64_t bytes_most(uint64_t count) const override { return bytes_max({count, count}); }

  uint64_t encode(std::span<const uint32_t> positions, uint64_t count,
                  std::byte* code) const override {
    BitWriter writer(code);
    for (const uint32_t position : positions) writer.put(position, width(count));
    return writer.finish();
  }

  bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
            std::span<uint32_t> into) const override {
    const uint32_t bits = width(kept.count);
    return read_bits(code, kept, cursor, into,
                     [&](BitReader* reader) { return reader->take(bits); });
  }

  bool ends(std::span<const std::byte> code, Kept /*kept*/,
            const PositionCursor& cursor) const override {
    return bits_end(code, cursor.bit);
  }

 private:
  static uint32_t width(uint64_t count) {
    return count < 2 ? 0 : static_cast<uint32_t>(std::bit_width(count - 1));
  }
};

const PositionsBitpack kCoding;

}  // namespace

const PositionCoding& positions_bitpack = kCoding;

}  // namespace gossamer
