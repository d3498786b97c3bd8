// Positions as they are: 4 bytes each. And the table of codings.

#include "src/check.h"
#include "src/compress/positions.h"

namespace gossamer {
namespace {

class PositionsU32 final : public PositionCoding {
 public:
  std::string_view name() const override { return "u32"; }
  bool fixed_size() const override { return true; }
  uint64_t bytes_max(Kept kept) const override { return kept.kept * sizeof(uint32_t); }
  uint64_t bytes_most(uint64_t count) const override { return count * sizeof(uint32_t); }

  uint64_t encode(std::span<const uint32_t> positions, uint64_t /*count*/,
                  std::byte* code) const override {
    if (!positions.empty()) std::memcpy(code, positions.data(), positions.size_bytes());
    return positions.size_bytes();
  }

  bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
            std::span<uint32_t> into) const override {
    if (code.size() < (cursor->read + into.size()) * sizeof(uint32_t)) return false;
    std::memcpy(into.data(), code.data() + cursor->read * sizeof(uint32_t), into.size_bytes());
    for (const uint32_t position : into) {
      if (position < cursor->least || position >= kept.count) return false;
      cursor->least = uint64_t{position} + 1;
    }
    cursor->read += into.size();
    return true;
  }

  bool ends(std::span<const std::byte> code, Kept kept,
            const PositionCursor& /*cursor*/) const override {
    return code.size() == bytes_max(kept);
  }
};

const PositionsU32 kCoding;

}  // namespace

const PositionCoding& positions_u32 = kCoding;

const PositionCoding& position_coding(size_t index) {
  switch (index) {
    case 0:
      return positions_u32;
    case 1:
      return positions_u16;
    case 2:
      return positions_bitpack;
    case 3:
      return positions_elias;
    default:
      GOSSAMER_CHECK(index == 4);
      return positions_rice;
  }
}

}  // namespace gossamer
