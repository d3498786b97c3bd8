// Random-k: values at places that all ranks draw alike, so that none has to be told.
//   Source    Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018; strips as in
//             stratified sampling: Neyman, J. Royal Statistical Society 97(4), 1934.
//   Code      The draw as 8 bytes, then k = ceil(ratio * count) values as fp32: one from each of k
//             strips whose lengths differ by at most one, at a place drawn from Draws::shared. The
//             places of any strip can be told without the others', and no memory is needed.
//   Error     plain: biased, and an unlucky draw loses all; over draws at most 1 - 1 / (the longest
//             strip) of the squared norm in expectation, which is what feedback needs. unbiased:
//             values are multiplied by the length of their strip; at most the longest strip - 1.
//   Values    Those that are not drawn are 0. A NaN is 0, an infinity the largest finite magnitude;
//             multiplied values beyond the largest fp32 become that.
//   Sums      Values may be added as numbers where ranks drew alike (class L).

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "src/check.h"
#include "src/compress/list.h"
#include "src/compress/select.h"
#include "src/compress/shared_draw.h"
#include "src/compress/sparse.h"

namespace gossamer {
namespace {

// `count` elements in `number` strips, the longer ones first.
class Strips {
 public:
  Strips(uint64_t count, uint64_t number)
      : length_(count / number), longer_(count % number), number_(number) {}

  uint64_t number() const { return number_; }
  uint64_t longest() const { return length_ + (longer_ > 0 ? 1 : 0); }
  uint64_t length(uint64_t strip) const { return length_ + (strip < longer_ ? 1 : 0); }
  uint64_t place(uint64_t strip, uint64_t draw) const {
    const uint64_t begin = strip * length_ + std::min(strip, longer_);
    return begin + ((mixed(draw + strip) >> 32) * length(strip) >> 32);
  }

 private:
  uint64_t length_;
  uint64_t longer_;
  uint64_t number_;
};

class RandomK final : public Codec {
 public:
  RandomK(double ratio, bool unbiased) : ratio_(ratio), unbiased_(unbiased) {}

  CodecTraits traits() const override {
    return {.fixed_size = true,
            .unbiased = unbiased_,
            .needs_feedback = !unbiased_,
            .sparse = true,
            .shared_positions = true};
  }
  uint64_t entries_max(uint64_t count) const override { return kept_of(ratio_, count); }
  uint64_t count_max() const override { return kSparseCountMax; }
  uint64_t bytes_max(uint64_t count) const override {
    return count == 0 ? 0 : sizeof(Draw) + kept_of(ratio_, count) * sizeof(float);
  }
  double error_max(uint64_t count) const override {
    if (count == 0) return 0;
    const auto longest = static_cast<double>(strips(count).longest());
    return unbiased_ ? longest - 1 : std::min(longest - 1, 1.0);
  }

  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    GOSSAMER_CHECK(values.size() <= kSparseCountMax && code.size() >= bytes_max(values.size()));
    if (values.empty()) return {};
    const Draw draw = shared_draw(draws);
    std::memcpy(code.data(), &draw, sizeof draw);
    Encoded encoded{bytes_max(values.size()), 0};
    for (const float value : values) encoded.not_finite += std::isfinite(value) ? 0 : 1;
    const float infinity = encoded.not_finite > 0 ? largest_finite(values) : 0;
    const Strips all = strips(values.size());
    for (uint64_t strip = 0; strip < all.number(); ++strip) {
      float value = values[all.place(strip, draw)];
      if (std::isnan(value)) value = 0;
      if (std::isinf(value)) value = std::copysign(infinity, value);
      if (unbiased_) {
        value *= static_cast<float>(all.length(strip));
        constexpr float kMost = std::numeric_limits<float>::max();
        value = std::clamp(value, -kMost, kMost);
      }
      std::memcpy(code.data() + value_begin(strip), &value, sizeof value);
    }
    return encoded;
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    const uint64_t expected = count > kSparseCountMax ? 0 : bytes_max(count);
    if (Status sound = check_length(*this, code.size(), expected, count); !sound) return sound;
    for (uint64_t at = sizeof(Draw); at < code.size(); at += sizeof(float)) {
      if (std::isfinite(value_at(code, at))) continue;
      return Status::error(Code::kMismatch, "a value is not finite; the code is damaged");
    }
    return Status::ok();
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    each(code, into.size(), [&](uint64_t place, float value) { into[place] = value; });
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    each(code, into.size(), [&](uint64_t place, float value) { into[place] += factor * value; });
  }

 private:
  static uint64_t value_begin(uint64_t strip) { return sizeof(Draw) + strip * sizeof(float); }
  static float value_at(std::span<const std::byte> code, uint64_t at) {
    float value = 0;
    std::memcpy(&value, code.data() + at, sizeof value);
    return value;
  }
  Strips strips(uint64_t count) const { return {count, kept_of(ratio_, count)}; }

  template <class Each>
  void each(std::span<const std::byte> code, uint64_t count, const Each& each) const {
    if (count == 0 || code.size() < bytes_max(count)) return;
    Draw draw = 0;
    std::memcpy(&draw, code.data(), sizeof draw);
    const Strips all = strips(count);
    for (uint64_t strip = 0; strip < all.number(); ++strip) {
      each(all.place(strip, draw), value_at(code, value_begin(strip)));
    }
  }

  double ratio_;
  bool unbiased_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<double> ratio = parameters.real("ratio", 1e-9, 1);
  if (!ratio) return ratio.status();
  constexpr std::string_view kScales[] = {"plain", "unbiased"};
  const Result<size_t> scale = parameters.choice("scale", kScales);
  if (!scale) return scale.status();
  return std::unique_ptr<Codec>(std::make_unique<RandomK>(*ratio, *scale == 1));
}

}  // namespace

const CodecFactory randomk_codec = {"randomk", "values at random places that all ranks draw alike",
                                    "ratio=0.01: part of the elements that is kept; "
                                    "scale=plain: or unbiased, times what a value stands for",
                                    create};

}  // namespace gossamer
