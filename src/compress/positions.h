// How positions of kept elements are written: ascending, each once.
//
// Sizes      In bits per position at densities of 1 % and 0.1 %, of positions chosen at random; the
//            entropy is 8.08 and 11.41.
//              u32      32           32           any order of reading
//              u16      16 and 32 per block of 65536 elements
//              bitpack  as many as the largest position has
//              elias    10.79        15.45        Elias delta codes of the gaps
//              rice     8.11         11.49        Rice codes of the gaps
// Threads    Pure.
// Units      Counts are elements; fewer than 2^32.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "src/compress/bits.h"

namespace gossamer {

// What both ends know.
struct Kept {
  uint64_t kept;   // positions
  uint64_t count;  // each is below
};

// Where reading has come to.
struct PositionCursor {
  uint64_t read = 0;   // positions
  uint64_t bit = 0;    // of the code, where codes are streams of bits
  uint64_t least = 0;  // the next position is no less
  uint64_t block = 0;  // of 65536 elements, and how many positions there have been in it
  uint64_t in_block = 0;
};

class PositionCoding {
 public:
  virtual ~PositionCoding() = default;

  virtual std::string_view name() const = 0;
  // Codes have bytes_max(), always.
  virtual bool fixed_size() const = 0;
  virtual uint64_t bytes_max(Kept kept) const = 0;
  // The longest code of any number of positions.
  virtual uint64_t bytes_most(uint64_t count) const = 0;

  // Returns how many bytes it wrote.
  virtual uint64_t encode(std::span<const uint32_t> positions, uint64_t count,
                          std::byte* code) const = 0;
  // The next positions, as many as `into` has, which is no more than are left. False when encode()
  // has not written this; what `into` has then is unspecified. All are below the count.
  virtual bool read(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
                    std::span<uint32_t> into) const = 0;
  // Once all are read: whether the code ends as encode() ends it.
  virtual bool ends(std::span<const std::byte> code, Kept kept,
                    const PositionCursor& cursor) const = 0;
};

// The names, and the coding of each; in one order.
inline constexpr std::string_view kPositionCodings[] = {"u32", "u16", "bitpack", "elias", "rice"};
const PositionCoding& position_coding(size_t index);

extern const PositionCoding& positions_u32;
extern const PositionCoding& positions_u16;
extern const PositionCoding& positions_bitpack;
extern const PositionCoding& positions_elias;
extern const PositionCoding& positions_rice;

// For codes that are streams of bits. PositionCoding::read(), where next(reader) reads one
// position; a code that is none gives the count, or whatever is no position of those that are left.
template <class Next>
bool read_bits(std::span<const std::byte> code, Kept kept, PositionCursor* cursor,
               std::span<uint32_t> into, const Next& next) {
  BitReader reader(code, cursor->bit);
  for (uint32_t& position : into) {
    const uint64_t at = next(&reader);
    if (at < cursor->least || at >= kept.count || reader.past()) return false;
    position = static_cast<uint32_t>(at);
    cursor->least = at + 1;
  }
  cursor->bit = reader.bit();
  cursor->read += into.size();
  return true;
}
// Nothing but zeros up to the end of the last byte.
inline bool bits_end(std::span<const std::byte> code, uint64_t bit) {
  if ((bit + 7) / 8 != code.size()) return false;
  return bit % 8 == 0 || std::to_integer<uint32_t>(code.back()) >> (bit % 8) == 0;
}

}  // namespace gossamer
