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

// A sample is as large as makes so many of the k largest expected in it, and no larger than an
// eighth of all: a guess of their number is off by its square root, and the margin three times
// that.
constexpr uint64_t kSampleKept = 64;
constexpr uint64_t kSampleKeptMin = 8;

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

// Picks, in their order, those that the threshold lets pass. `from` may be `into`, which is never
// ahead of it.
template <class PositionAt>
void keep(std::span<const float> from, Threshold threshold, const PositionAt& position_at,
          Picks into) {
  uint64_t kept = 0;
  for (uint64_t i = 0; i < from.size(); ++i) {
    const uint32_t key = magnitude_key(from[i]);
    if (key < threshold.key) continue;
    if (key == threshold.key) {
      if (threshold.ties == 0) continue;
      --threshold.ties;
    }
    into.positions[kept] = position_at(i);
    into.values[kept++] = from[i];
  }
}

template <class PositionAt>
void keep_largest(std::span<const float> from, uint64_t kept, const PositionAt& position_at,
                  Picks into) {
  const auto key_at = [&](uint64_t i) { return magnitude_key(from[i]); };
  keep(from, find_threshold(from.size(), kept, key_at), position_at, into);
}

uint64_t sample_size(uint64_t count, uint64_t kept) {
  return kept == 0 ? 0 : std::min((kSampleKept * count + kept - 1) / kept, count / 8);
}

// Whether a sample is worth its time.
bool can_sample(uint64_t count, uint64_t kept) {
  return count > 0 && sample_size(count, kept) * kept / count >= kSampleKeptMin;
}

// A key that somewhat more than `kept` values are likely to reach, 0 when a sample cannot tell.
uint32_t guess_threshold(std::span<const float> values, uint64_t kept, uint32_t* workspace) {
  const uint64_t samples = sample_size(values.size(), kept);
  const double expected =
      static_cast<double>(samples) * static_cast<double>(kept) / static_cast<double>(values.size());
  const auto rank = static_cast<uint64_t>(expected + 3 * std::sqrt(expected));
  if (rank >= samples) return 0;
  const uint64_t stride = values.size() / samples;
  for (uint64_t s = 0; s < samples; ++s) {
    // Matrices have rows of round lengths: places within strides differ.
    const uint64_t place = ((s * 0x9E3779B97F4A7C15U) >> 32) * stride >> 32;
    workspace[s] = magnitude_key(values[s * stride + place]);
  }
  std::nth_element(workspace, workspace + rank, workspace + samples, std::greater<>());
  return std::min(workspace[rank], kInfinityKey);
}

uint64_t count_not_finite(std::span<const float> values) {
  uint64_t found = 0;
  for (const float value : values) found += std::isfinite(value) ? 0 : 1;
  return found;
}

uint64_t candidates_max(uint64_t kept) {
  return 3 * kept;
}

// Whether it did: else nothing is known.
bool select_by_sample(std::span<const float> values, uint64_t kept, Picks picks,
                      Selection* selection) {
  if (!can_sample(values.size(), kept)) return false;
  const uint32_t least = guess_threshold(values, kept, picks.positions);
  if (least == 0) return false;
  const uint64_t room = candidates_max(kept);
  const uint64_t found = find_at_least(values, least, picks, room);
  if (found < kept || found > room) return false;
  // Whatever is not finite has passed, but a NaN only as one.
  const std::span<const float> candidates(picks.values, found);
  const auto nans = static_cast<uint64_t>(std::count_if(
      candidates.begin(), candidates.end(), [](float value) { return std::isnan(value); }));
  if (found - nans < kept) return false;
  selection->not_finite = count_not_finite(candidates);
  keep_largest(
      candidates, kept, [&](uint64_t i) { return picks.positions[i]; }, picks);
  return true;
}

}  // namespace

uint64_t selection_room(uint64_t count, uint64_t kept) {
  if (!can_sample(count, kept)) return kept;
  return std::max(candidates_max(kept), sample_size(count, kept)) + kPickSlack;
}

Selection select_largest(std::span<const float> values, uint64_t kept, bool sample, Picks picks) {
  GOSSAMER_CHECK(kept <= values.size() && values.size() <= UINT32_MAX);
  Selection selection;
  selection.kept = kept;
  if (kept == 0) return selection;
  if (sample && select_by_sample(values, kept, picks, &selection)) return selection;
  keep_largest(
      values, kept, [](uint64_t i) { return static_cast<uint32_t>(i); }, picks);
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
