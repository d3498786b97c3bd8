// Selection of the k largest: a radix select on the bits of magnitudes, and a sample before it.
//   Source    Radix select: Alabi, Blanchard, Gordon and Steinbach, "Fast k-selection algorithms
//   for
//             graphics processing units", ACM J. Experimental Algorithmics 17, 2012. Thresholds
//             from samples: Lin et al., "Deep gradient compression", ICLR 2018.

#include "src/compress/select.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/check.h"

namespace gossamer {
namespace {

// So many of a sample are expected among the k largest: the guess of a threshold is off by their
// square root, and the margin is three times that.
constexpr uint64_t kSampleKept = 64;
constexpr uint64_t kSampleMargin = 24;
constexpr uint64_t kSampleMax = 1 << 16;
constexpr uint64_t kStoreSlack = 64;  // a vector is stored where one position is wanted

struct Digits {
  int shift;
  int bits;
};
constexpr Digits kDigits[] = {{20, 11}, {9, 11}, {0, 9}};

struct Threshold {
  uint32_t key;   // of the k-th largest
  uint64_t ties;  // how many of that key are among the k largest
};

// Of n keys, k-th largest, 1 <= k <= n.
template <class KeyAt>
Threshold find_threshold(uint64_t n, uint64_t k, const KeyAt& key_at) {
  uint32_t prefix = 0;
  uint32_t mask = 0;
  for (const Digits digit : kDigits) {
    uint32_t counts[2048] = {};
    const uint32_t last = (1U << digit.bits) - 1;
    for (uint64_t i = 0; i < n; ++i) {
      const uint32_t key = key_at(i);
      counts[(key >> digit.shift) & last] += (key & mask) == prefix ? 1 : 0;
    }
    uint32_t value = last;
    while (counts[value] < k) k -= counts[value--];
    prefix |= value << digit.shift;
    mask |= last << digit.shift;
  }
  return {prefix, k};
}

// Copies, in their order, the positions of those that the threshold lets pass.
template <class KeyAt, class PositionAt>
void keep(uint64_t n, Threshold threshold, const KeyAt& key_at, const PositionAt& position_at,
          uint32_t* into) {
  for (uint64_t i = 0; i < n; ++i) {
    const uint32_t key = key_at(i);
    if (key < threshold.key) continue;
    if (key == threshold.key) {
      if (threshold.ties == 0) continue;
      --threshold.ties;
    }
    *into++ = position_at(i);
  }
}

void select_among_all(std::span<const float> values, uint64_t kept, uint32_t* positions) {
  const auto key_at = [&](uint64_t i) { return magnitude_key(values[i]); };
  const Threshold threshold = find_threshold(values.size(), kept, key_at);
  keep(
      values.size(), threshold, key_at, [](uint64_t i) { return static_cast<uint32_t>(i); },
      positions);
}

uint64_t sample_size(uint64_t count, uint64_t kept) {
  return (kSampleKept * count + kept - 1) / kept;
}

// Whether a sample is worth its time.
bool can_sample(uint64_t count, uint64_t kept) {
  return kept >= kSampleKept && sample_size(count, kept) <= std::min(kSampleMax * 2, count / 8);
}

// A key that somewhat more than `kept` values are likely to reach, 0 when a sample cannot tell.
uint32_t guess_threshold(std::span<const float> values, uint64_t kept,
                         std::span<uint32_t> workspace) {
  const uint64_t samples = std::min<uint64_t>(sample_size(values.size(), kept), workspace.size());
  const uint64_t expected = std::max<uint64_t>(1, samples * kept / values.size());
  const uint64_t rank = expected + kSampleMargin;
  if (rank >= samples) return 0;
  const uint64_t stride = values.size() / samples;
  for (uint64_t s = 0; s < samples; ++s) {
    // Matrices have rows of round lengths: places within strides differ.
    const uint64_t place = (s * 0x9E3779B97F4A7C15U >> 32) * stride >> 32;
    workspace[s] = magnitude_key(values[s * stride + place]);
  }
  const auto at = workspace.begin() + static_cast<ptrdiff_t>(rank);
  std::nth_element(workspace.begin(), at, workspace.begin() + static_cast<ptrdiff_t>(samples),
                   std::greater<>());
  return std::min(*at, kInfinityKey);
}

uint64_t count_not_finite(std::span<const float> values) {
  uint64_t found = 0;
  for (const float value : values) found += std::isfinite(value) ? 0 : 1;
  return found;
}

// Whether it did: else nothing is known.
bool select_by_sample(std::span<const float> values, uint64_t kept, std::span<uint32_t> positions,
                      Selection* selection) {
  if (!can_sample(values.size(), kept)) return false;
  const uint32_t least = guess_threshold(values, kept, positions);
  if (least == 0) return false;
  const uint64_t room = positions.size() - kStoreSlack;
  const uint64_t found = find_at_least(values, least, positions.data(), room);
  if (found < kept || found > room) return false;
  // Whatever is not finite has passed, but a NaN only as one.
  uint64_t nans = 0;
  for (uint64_t i = 0; i < found; ++i) {
    const float value = values[positions[i]];
    selection->not_finite += std::isfinite(value) ? 0 : 1;
    nans += std::isnan(value) ? 1 : 0;
  }
  if (found - nans < kept) {
    selection->not_finite = 0;
    return false;
  }
  const auto key_at = [&](uint64_t i) { return magnitude_key(values[positions[i]]); };
  const auto position_at = [&](uint64_t i) { return positions[i]; };
  const Threshold threshold = find_threshold(found, kept, key_at);
  keep(found, threshold, key_at, position_at, positions.data());  // never ahead of what it reads
  return true;
}

}  // namespace

uint64_t selection_room(uint64_t count, uint64_t kept) {
  if (!can_sample(count, kept)) return kept;
  return std::max(2 * kept + kSampleMargin, sample_size(count, kept)) + kStoreSlack;
}

Selection select_largest(std::span<const float> values, uint64_t kept, bool sample,
                         std::span<uint32_t> positions) {
  GOSSAMER_CHECK(kept <= values.size() && values.size() <= UINT32_MAX &&
                 positions.size() >= selection_room(values.size(), kept));
  Selection selection;
  selection.kept = kept;
  if (kept == 0) return selection;
  if (sample && select_by_sample(values, kept, positions, &selection)) return selection;
  select_among_all(values, kept, positions.data());
  selection.not_finite = count_not_finite(values);
  return selection;
}

float largest_finite(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    const float magnitude = std::abs(value);
    if (magnitude > largest && std::isfinite(magnitude)) largest = magnitude;
  }
  return largest;
}

}  // namespace gossamer
