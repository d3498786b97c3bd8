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
inline constexpr int64_t kBlockMax = int64_t{1} << 30;
inline constexpr std::string_view kModes[] = {"symmetric", "minmax"};
inline constexpr std::string_view kRoundings[] = {"nearest", "stochastic"};

// How the blocks of a code begin: with fp32 numbers, of which the last is a scale, never negative.
// Then come `bits` for each element, up to a whole byte.
struct BlockLayout {
  uint64_t block;  // elements, not 0; the last block of a run is shorter
  uint64_t numbers;
  uint64_t bits;

  uint64_t bytes(uint64_t count) const {
    const uint64_t whole = count / block;
    const uint64_t rest = count % block;
    return whole * of_block(block) + (rest == 0 ? 0 : of_block(rest));
  }
  uint64_t of_block(uint64_t count) const {
    return numbers * sizeof(float) + (count * bits + 7) / 8;
  }
};

// kMismatch, unless `bytes` are the `expected` ones of `count` elements.
Status check_length(const Codec& codec, uint64_t bytes, uint64_t expected, uint64_t count);

}  // namespace gossamer
