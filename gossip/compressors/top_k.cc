// Top-k: the largest values and where they are.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "gossamer/compressor.h"
#include "src/check.h"

namespace gossamer {
namespace {

class TopK final : public Compressor {
 public:
  explicit TopK(double fraction) : fraction_(fraction) {}

  std::string name() const override { return fmt::format("top_k:fraction={}", fraction_); }
  uint64_t bytes(uint64_t count) const override { return kept(count) * kEntryBytes; }
  double delta(uint64_t count) const override {
    return count == 0 ? 1 : static_cast<double>(kept(count)) / static_cast<double>(count);
  }
  void encode(std::span<const float> values, std::span<std::byte> code) override;
  Status check(std::span<const std::byte> code, uint64_t count) const override;
  void add(std::span<const std::byte> code, double factor, std::span<double> into) const override;

 private:
  static constexpr uint64_t kEntryBytes = sizeof(uint32_t) + sizeof(float);

  uint64_t kept(uint64_t count) const {
    // 0.07 of 100 is 7, though the product of the two doubles is a last bit more.
    const double share = std::ceil(fraction_ * static_cast<double>(count) - 1e-9);
    return std::min(count, std::max<uint64_t>(1, static_cast<uint64_t>(std::max(share, 0.0))));
  }

  double fraction_;
  std::vector<uint64_t> keys_;
};

template <class T>
T read(std::span<const std::byte> from, uint64_t index) {
  T value;
  std::memcpy(&value, from.data() + index * sizeof value, sizeof value);
  return value;
}

void TopK::encode(std::span<const float> values, std::span<std::byte> code) {
  GOSSAMER_CHECK(code.size() == bytes(values.size()) && values.size() <= UINT32_MAX);
  // Magnitude above, position below: bit patterns of magnitudes are ordered as they are, NaN comes
  // first, and the order is total, which comparisons of NaN would not be.
  keys_.resize(values.size());
  for (uint32_t i = 0; i < values.size(); ++i) {
    const uint64_t magnitude = std::bit_cast<uint32_t>(values[i]) & 0x7fffffffU;
    keys_[i] = magnitude << 32 | (UINT32_MAX - i);
  }
  const uint64_t k = kept(values.size());
  const auto end = keys_.begin() + static_cast<ptrdiff_t>(k);
  if (k < values.size()) std::nth_element(keys_.begin(), end, keys_.end(), std::greater<>());
  std::sort(keys_.begin(), end, [](uint64_t a, uint64_t b) {
    return static_cast<uint32_t>(a) > static_cast<uint32_t>(b);
  });
  for (uint64_t e = 0; e < k; ++e) {
    const uint32_t index = UINT32_MAX - static_cast<uint32_t>(keys_[e]);
    std::memcpy(code.data() + e * sizeof index, &index, sizeof index);
    std::memcpy(code.data() + (k + e) * sizeof(float), &values[index], sizeof(float));
  }
}

Status TopK::check(std::span<const std::byte> code, uint64_t count) const {
  const uint64_t k = kept(count);
  if (code.size() != bytes(count)) {
    return Status::error(Code::kMismatch,
                         fmt::format("{} bytes are no {} of {} floats: they are {}", code.size(),
                                     name(), count, bytes(count)));
  }
  uint64_t least = 0;
  for (uint64_t e = 0; e < k; ++e) {
    const uint64_t index = read<uint32_t>(code, e);
    if (index >= count || index < least) {
      return Status::error(
          Code::kMismatch,
          fmt::format("position {} of entry {} is not in [{}, {})", index, e, least, count));
    }
    least = index + 1;
  }
  return Status::ok();
}

void TopK::add(std::span<const std::byte> code, double factor, std::span<double> into) const {
  const uint64_t k = code.size() / kEntryBytes;
  for (uint64_t e = 0; e < k; ++e) {
    into[read<uint32_t>(code, e)] += factor * static_cast<double>(read<float>(code, k + e));
  }
}

}  // namespace

Result<std::unique_ptr<Compressor>> make_top_k(double fraction) {
  if (!(fraction > 0 && fraction <= 1)) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("top-k keeps a fraction in (0, 1], not {}", fraction));
  }
  return std::unique_ptr<Compressor>(std::make_unique<TopK>(fraction));
}

}  // namespace gossamer
