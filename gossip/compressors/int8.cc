// Int8: whole numbers with a scale per block.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "gossamer/compressor.h"
#include "src/check.h"

namespace gossamer {
namespace {

constexpr float kLevels = 127;

class Int8 final : public Compressor {
 public:
  explicit Int8(uint32_t block) : block_(block) {}

  std::string name() const override { return fmt::format("int8:block={}", block_); }
  uint64_t bytes(uint64_t count) const override { return blocks(count) * sizeof(float) + count; }
  // Each error is at most half a scale, and the block's largest magnitude is part of its norm.
  double delta(uint64_t count) const override {
    const auto most = static_cast<double>(std::min<uint64_t>(block_, count));
    return 1 - most / (4 * static_cast<double>(kLevels * kLevels));
  }
  void encode(std::span<const float> values, std::span<std::byte> code) override;
  Status check(std::span<const std::byte> code, uint64_t count) const override;
  void add(std::span<const std::byte> code, double factor, std::span<double> into) const override;

 private:
  uint64_t blocks(uint64_t count) const { return (count + block_ - 1) / block_; }

  uint32_t block_;
};

// The scales come first, then the numbers.
float scale_at(std::span<const std::byte> code, uint64_t block) {
  float scale = 0;
  std::memcpy(&scale, code.data() + block * sizeof scale, sizeof scale);
  return scale;
}

void Int8::encode(std::span<const float> values, std::span<std::byte> code) {
  GOSSAMER_CHECK(code.size() == bytes(values.size()));
  std::byte* const numbers = code.data() + blocks(values.size()) * sizeof(float);
  for (uint64_t b = 0, first = 0; first < values.size(); ++b, first += block_) {
    const auto block = values.subspan(first, std::min<uint64_t>(block_, values.size() - first));
    float largest = 0;
    bool finite = true;
    for (const float value : block) {
      largest = std::max(largest, std::abs(value));
      finite = finite && std::isfinite(value);
    }
    // What is too small for a scale that is a normal number waits until it has grown. What is not
    // finite must not look as if it were.
    float scale = largest / kLevels;
    if (scale < std::numeric_limits<float>::min()) scale = 0;
    if (std::isinf(scale * kLevels)) scale = std::nextafter(scale, 0.0F);
    if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(code.data() + b * sizeof scale, &scale, sizeof scale);
    const bool usable = finite && scale > 0;
    for (uint64_t i = 0; i < block.size(); ++i) {
      const float level = usable ? std::clamp(std::rint(block[i] / scale), -kLevels, kLevels) : 0;
      numbers[first + i] = std::bit_cast<std::byte>(static_cast<int8_t>(level));
    }
  }
}

Status Int8::check(std::span<const std::byte> code, uint64_t count) const {
  if (code.size() != bytes(count)) {
    return Status::error(Code::kMismatch,
                         fmt::format("{} bytes are no {} of {} floats: they are {}", code.size(),
                                     name(), count, bytes(count)));
  }
  for (uint64_t b = 0; b < blocks(count); ++b) {
    const float scale = scale_at(code, b);
    if (scale < 0 || std::isinf(scale)) {
      return Status::error(Code::kMismatch, fmt::format("the scale of block {} is {}", b, scale));
    }
  }
  return Status::ok();
}

void Int8::add(std::span<const std::byte> code, double factor, std::span<double> into) const {
  const std::byte* const numbers = code.data() + blocks(into.size()) * sizeof(float);
  for (uint64_t b = 0, first = 0; first < into.size(); ++b, first += block_) {
    // The decoded value is a float on every rank, whatever it is added to.
    const float scale = scale_at(code, b);
    const uint64_t end = std::min<uint64_t>(first + block_, into.size());
    for (uint64_t i = first; i < end; ++i) {
      const float decoded = scale * static_cast<float>(std::bit_cast<int8_t>(numbers[i]));
      into[i] += factor * static_cast<double>(decoded);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Compressor>> make_int8(uint32_t block) {
  if (block < 1 || block > 32768) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("int8 has blocks of 1 to 32768 elements, not {}", block));
  }
  return std::unique_ptr<Compressor>(std::make_unique<Int8>(block));
}

}  // namespace gossamer
