#include "src/packing.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace gossamer {
namespace {

constexpr uint64_t kWordBits = 64;
constexpr uint32_t kUnused = UINT32_MAX;

struct Pair {
  uint32_t index;
  float value;
};

uint64_t words(uint64_t count) {
  return (count + kWordBits - 1) / kWordBits;
}
uint64_t bitmap_bytes(uint64_t count, uint64_t entries) {
  return words(count) * sizeof(uint64_t) + entries * sizeof(float);
}
bool in_pairs(uint64_t count, uint64_t entries) {
  return count < kUnused && entries * sizeof(Pair) <= bitmap_bytes(count, entries);
}

bool pack_pairs(std::span<const float> values, uint64_t entries, std::byte* into) {
  uint64_t used = 0;
  for (uint64_t i = 0; i < values.size(); ++i) {
    if (std::bit_cast<uint32_t>(values[i]) == 0) continue;
    if (used == entries) return false;
    const Pair pair{static_cast<uint32_t>(i), values[i]};
    std::memcpy(into + used++ * sizeof(Pair), &pair, sizeof(Pair));
  }
  for (; used < entries; ++used) {
    const Pair pair{kUnused, 0};
    std::memcpy(into + used * sizeof(Pair), &pair, sizeof(Pair));
  }
  return true;
}

bool unpack_pairs(const std::byte* packed, uint64_t entries, std::span<float> into) {
  std::fill(into.begin(), into.end(), 0.0F);
  uint64_t next = 0;
  for (uint64_t i = 0; i < entries; ++i) {
    Pair pair;
    std::memcpy(&pair, packed + i * sizeof(Pair), sizeof(Pair));
    if (pair.index == kUnused) continue;
    if (pair.index < next || pair.index >= into.size()) return false;
    into[pair.index] = pair.value;
    next = uint64_t{pair.index} + 1;
  }
  return true;
}

bool pack_bitmap(std::span<const float> values, uint64_t entries, std::byte* into) {
  std::byte* const numbers = into + words(values.size()) * sizeof(uint64_t);
  uint64_t used = 0;
  for (uint64_t w = 0; w < words(values.size()); ++w) {
    const uint64_t first = w * kWordBits;
    const uint64_t length = std::min<uint64_t>(kWordBits, values.size() - first);
    uint64_t bits = 0;
    for (uint64_t i = 0; i < length; ++i) {
      bits |= uint64_t{std::bit_cast<uint32_t>(values[first + i]) != 0} << i;
    }
    std::memcpy(into + w * sizeof(uint64_t), &bits, sizeof(bits));
    if (used + static_cast<uint64_t>(std::popcount(bits)) > entries) return false;
    for (; bits != 0; bits &= bits - 1) {
      const float value = values[first + static_cast<uint64_t>(std::countr_zero(bits))];
      std::memcpy(numbers + used++ * sizeof(float), &value, sizeof(float));
    }
  }
  std::memset(numbers + used * sizeof(float), 0, (entries - used) * sizeof(float));
  return true;
}

bool unpack_bitmap(const std::byte* packed, uint64_t entries, std::span<float> into) {
  std::fill(into.begin(), into.end(), 0.0F);
  const std::byte* const numbers = packed + words(into.size()) * sizeof(uint64_t);
  uint64_t used = 0;
  for (uint64_t w = 0; w < words(into.size()); ++w) {
    uint64_t bits = 0;
    std::memcpy(&bits, packed + w * sizeof(uint64_t), sizeof(bits));
    const uint64_t left = into.size() - w * kWordBits;
    if (left < kWordBits && bits >> left != 0) return false;
    if (used + static_cast<uint64_t>(std::popcount(bits)) > entries) return false;
    for (; bits != 0; bits &= bits - 1) {
      float value = 0;
      std::memcpy(&value, numbers + used++ * sizeof(float), sizeof(float));
      into[w * kWordBits + static_cast<uint64_t>(std::countr_zero(bits))] = value;
    }
  }
  return true;
}

}  // namespace

uint64_t packed_entries(const Codec& codec, int32_t size, uint64_t count) {
  const uint64_t each = codec.entries_max(count);
  const auto ranks = static_cast<uint64_t>(size);
  return each >= count / ranks ? std::min(count, each * ranks) : each * ranks;
}

uint64_t packed_bytes(uint64_t count, uint64_t entries, uint64_t element_bytes) {
  const uint64_t bytes =
      in_pairs(count, entries) ? entries * sizeof(Pair) : bitmap_bytes(count, entries);
  return bytes < count * element_bytes ? bytes : 0;
}

bool pack(std::span<const float> values, uint64_t entries, std::span<std::byte> into) {
  return in_pairs(values.size(), entries) ? pack_pairs(values, entries, into.data())
                                          : pack_bitmap(values, entries, into.data());
}

bool unpack(std::span<const std::byte> packed, uint64_t entries, std::span<float> into) {
  return in_pairs(into.size(), entries) ? unpack_pairs(packed.data(), entries, into)
                                        : unpack_bitmap(packed.data(), entries, into);
}

}  // namespace gossamer
