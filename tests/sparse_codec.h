// The largest of every run, as a codec: what schedules for sparse codes are tested with, whatever
// codecs there are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "gossamer/schedule.h"
#include "src/compress/factory.h"

namespace gossamer {

class LargestCodec final : public Codec {
 public:
  explicit LargestCodec(uint64_t one_in) : one_in_(one_in) {
    CodecMaker::introduce(this, "largest:one_in=" + std::to_string(one_in));
  }

  CodecTraits traits() const override { return {.needs_feedback = true, .sparse = true}; }
  uint64_t bytes_max(uint64_t count) const override { return entries_max(count) * sizeof(Entry); }
  uint64_t entries_max(uint64_t count) const override { return (count + one_in_ - 1) / one_in_; }
  double error_max(uint64_t) const override { return 1; }

  Encoded encode(std::span<const float> values, const Draws&, std::span<std::byte> code,
                 std::span<std::byte>) const override {
    std::vector<uint32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return std::abs(values[a]) > std::abs(values[b]);
    });
    for (uint64_t i = 0; i < entries_max(values.size()); ++i) {
      const Entry entry{order[i], values[order[i]]};
      std::memcpy(code.data() + i * sizeof(Entry), &entry, sizeof(Entry));
    }
    return {.bytes = bytes_max(values.size())};
  }

  Status check(std::span<const std::byte> code, uint64_t count) const override {
    for (uint64_t i = 0; i < entries_max(count); ++i) {
      if (at(code, i).index >= count)
        return Status::error(Code::kMismatch, "an index is too large");
    }
    return Status::ok();
  }

  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    add(code, 1, into);
  }

  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    for (uint64_t i = 0; i < entries_max(into.size()); ++i) {
      const Entry entry = at(code, i);
      if (entry.index < into.size()) into[entry.index] += factor * entry.value;
    }
  }

 private:
  struct Entry {
    uint32_t index;
    float value;
  };
  static Entry at(std::span<const std::byte> code, uint64_t i) {
    Entry entry{};
    std::memcpy(&entry, code.data() + i * sizeof(Entry), sizeof(Entry));
    return entry;
  }

  uint64_t one_in_;
};

inline bool is_for_adding_codecs(const Algorithm& algorithm) {
  return algorithm.codes && algorithm.accepts == has_adding_codec;
}

inline bool is_for_sparse_codecs(const Algorithm& algorithm) {
  static const LargestCodec sparse(100);
  static const auto dense = make_codec("int8").value();
  const auto accepts = [&](const Codec* codec) {
    return algorithm.accepts({.size = 2, .count = 2, .codec = codec});
  };
  return algorithm.codes && accepts(&sparse) && !accepts(dense.get());
}

}  // namespace gossamer
