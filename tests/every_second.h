// A codec of the caller's own, for tests: it sends half of the elements, times a number.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "gossamer/codec.h"

namespace gossamer {

class EverySecond final : public Codec {
 public:
  explicit EverySecond(std::string name, float times = 1) : Codec(std::move(name)), times_(times) {}

  CodecTraits traits() const override { return {}; }
  uint64_t bytes_max(uint64_t count) const override { return (count + 1) / 2 * sizeof(float); }
  double error_max(uint64_t /*count*/) const override { return 1; }
  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    for (size_t i = 0; i < values.size(); i += 2) {
      const float value = times_ * values[i];
      std::memcpy(&code[i * 2], &value, sizeof value);
    }
    return {bytes_max(values.size()), 0};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (code.size() == bytes_max(count)) return Status::ok();
    return Status::error(Code::kMismatch, "of another length");
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    add(code, 1, into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    for (size_t i = 0; i < into.size(); i += 2) {
      float value = 0;
      std::memcpy(&value, &code[i * 2], 4);
      into[i] += factor * value;
    }
  }

 private:
  float times_;
};

}  // namespace gossamer
