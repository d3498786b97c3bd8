// Positions relative to blocks of 65536 elements: how many each block has, 4 bytes, then 2 bytes
// for each position. Nothing has to be decoded to read any of them.

#include <algorithm>

#include "src/compress/positions.h"

namespace gossamer {
namespace {

constexpr uint64_t kBlock = 65536;

class PositionsU16 final : public PositionCoding {
 public:
  std::string_view name() const override { return "u16"; }
  bool fixed_size() const override { return true; }
  uint64_t bytes_max(Kept kept) const override {
    return blocks(kept.count) * sizeof(uint32_t) + kept.kept * sizeof(uint16_t);
  }
  uint64_t bytes_most(uint64_t count) const override { return bytes_max({count, count}); }

  uint64_t encode(std::span<const uint32_t> positions, uint64_t count,
                  std::byte* code) const override {
    std::byte* const places = code + blocks(count) * sizeof(uint32_t);
    uint64_t read = 0;
    for (uint64_t b = 0; b < blocks(count); ++b) {
      const uint64_t before = read;
      for (; read < positions.size() && positions[read] / kBlock == b; ++read) {
        const auto place = static_cast<uint16_t>(positions[read] % kBlock);
        std::memcpy(places + read * sizeof place, &place, sizeof place);
      }
      const auto number = static_cast<uint32_t>(read - before);
      std::memcpy(code + b * sizeof number, &number, sizeof number);
    }
    return bytes_max({positions.size(), count});
  }

  bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
            std::span<uint32_t> into) const override {
    if (code.size() < bytes_max(kept)) return false;
    const std::byte* const places = code.data() + blocks(kept.count) * sizeof(uint32_t);
    for (uint32_t& position : into) {
      while (cursor->in_block == number_in(code, kept, cursor->block)) {
        if (++cursor->block >= blocks(kept.count)) return false;
        cursor->in_block = 0;
      }
      uint16_t place = 0;
      std::memcpy(&place, places + cursor->read * sizeof place, sizeof place);
      const uint64_t at = cursor->block * kBlock + place;
      if (at < cursor->least || at >= kept.count) return false;
      position = static_cast<uint32_t>(at);
      cursor->least = at + 1;
      ++cursor->in_block;
      ++cursor->read;
    }
    return true;
  }

  bool ends(std::span<const std::byte> code, Kept kept,
            const PositionCursor& /*cursor*/) const override {
    if (code.size() != bytes_max(kept)) return false;
    uint64_t sum = 0;
    for (uint64_t b = 0; b < blocks(kept.count); ++b) sum += number_in(code, kept, b);
    return sum == kept.kept;
  }

 private:
  static uint64_t blocks(uint64_t count) { return (count + kBlock - 1) / kBlock; }
  static uint32_t number_in(std::span<const std::byte> code, Kept kept, uint64_t block) {
    uint32_t number = 0;
    if (block < blocks(kept.count)) {
      std::memcpy(&number, code.data() + block * sizeof number, sizeof number);
    }
    return number;
  }
};

const PositionsU16 kCoding;

}  // namespace

const PositionCoding& positions_u16 = kCoding;

}  // namespace gossamer
