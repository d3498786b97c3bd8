// How codecs are made (gossamer/codec.h says what they are), and what most of them share.
//
// Threads    Pure.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "gossamer/codec.h"
#include "src/parameters.h"

namespace gossamer {

// One line in src/compress/list.h.
struct CodecFactory {
  const char* name;
  const char* what;        // half a sentence for people
  const char* parameters;  // "block=256: elements per scale; mode=symmetric: or minmax"; or ""
  Result<std::unique_ptr<Codec>> (*create)(Parameters& parameters);
};

std::span<const CodecFactory* const> codec_factories();

// Gives a new codec its name and identity.
struct CodecMaker {
  static void introduce(Codec* codec, const std::string& name);
};

// Values of parameters that several codecs have.
inline constexpr std::string_view kModes[] = {"symmetric", "minmax"};
inline constexpr std::string_view kRoundings[] = {"nearest", "stochastic"};

// How a run is cut into blocks of `block` elements; the last one is shorter, and a block of 0 is
// the whole run.
struct Blocks {
  uint64_t block;

  uint64_t length(uint64_t count) const { return block == 0 || block > count ? count : block; }
  uint64_t number(uint64_t count) const {
    return count == 0 ? 0 : (count + length(count) - 1) / length(count);
  }
};

// kMismatch, unless `bytes` are the `expected` ones of `count` elements.
Status check_length(const Codec& codec, uint64_t bytes, uint64_t expected, uint64_t count);

// How the blocks of a code begin: with fp32 numbers, of which the last is a scale, never negative.
// Then come `bits` for each element, up to a whole byte.
struct BlockLayout {
  uint64_t block;    // elements, not 0
  uint64_t numbers;  // before the elements
  uint64_t bits;

  uint64_t bytes(uint64_t elements) const {
    return numbers * sizeof(float) + (elements * bits + 7) / 8;
  }
};
// kMismatch, unless the numbers of all blocks are what encode() writes. The code's length is right.
Status check_numbers(std::span<const std::byte> code, uint64_t count, const BlockLayout& layout);

}  // namespace gossamer
