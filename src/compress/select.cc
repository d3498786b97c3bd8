// Selection of the k largest: a radix select on the bits of magnitudes, and a sample before it.
//   Source    Radix select: Alabi, Blanchard, Gordon and Steinbach, "Fast k-selection algorithms
//             for graphics processing units", ACM J. Experimental Algorithmics 17, 2012. Thresholds
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
constexpr uint64_t kSampleKept = 16;
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

// Runs from here on are worth a table more, and one for their first digit alone.
constexpr uint64_t kLongRun = 16384;
constexpr uint64_t kDigitRun = 1024;
constexpr uint64_t kShortRun = 512;

// A digit of the k-th largest of those whose higher digits are those of `known`, whose ties are k.
template <uint64_t tables, class KeyAt>
Threshold find_digit_in(uint64_t n, Threshold known, Digits digit, const KeyAt& key_at) {
  uint32_t counts[tables][2048] = {};
  const uint32_t last = (1U << digit.bits) - 1;
  const auto mask = static_cast<uint32_t>(~uint64_t{0} << (digit.shift + digit.bits));
  const auto take = [&](uint64_t table, uint32_t key) {
    counts[table][(key >> digit.shift) & last] += (key & mask) == known.key ? 1 : 0;
  };
  uint64_t i = 0;
  for (; i + tables <= n; i += tables) {
    for (uint64_t table = 0; table < tables; ++table) take(table, key_at(i + table));
  }
  for (; i < n; ++i) take(0, key_at(i));
  for (uint32_t value = last;; --value) {
    uint64_t found = 0;
    for (const auto& table : counts) found += table[value];
    if (found >= known.ties || value == 0) return {known.key | value << digit.shift, known.ties};
    known.ties -= found;
  }
}
// Neighbours that are alike, as zeros are, would wait for each other in one table.
template <class KeyAt>
Threshold find_digit(uint64_t n, Threshold known, Digits digit, const KeyAt& key_at) {
  return n < kLongRun ? find_digit_in<1>(n, known, digit, key_at)
                      : find_digit_in<4>(n, known, digit, key_at);
}

// Of up to kShortRun keys, for which clearing tables takes longer.
template <class KeyAt>
Threshold find_threshold_in_few(uint64_t n, uint64_t k, const KeyAt& key_at) {
  uint32_t keys[kShortRun];
  for (uint64_t i = 0; i < n; ++i) keys[i] = key_at(i);
  std::nth_element(keys, keys + (k - 1), keys + n, std::greater<>());
  const uint32_t key = keys[k - 1];
  const auto above = std::count_if(keys, keys + k, [key](uint32_t one) { return one > key; });
  return {key, k - static_cast<uint64_t>(above)};
}

// Of n keys, k-th largest, 1 <= k <= n.
template <class KeyAt>
Threshold find_threshold(uint64_t n, uint64_t k, const KeyAt& key_at) {
  if (n <= kShortRun) return find_threshold_in_few(n, k, key_at);
  Threshold found{0, k};
  for (const Digits digit : kDigits) found = find_digit(n, found, digit, key_at);
  return found;
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

// Looks closely at those from key `least` on only. Whether they are few enough and have the `kept`
// largest: else nothing is known.
bool select_from(std::span<const float> values, uint32_t least, uint64_t kept, Picks picks,
                 Selection* selection) {
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

bool select_by_sample(std::span<const float> values, uint64_t kept, Picks picks,
                      Selection* selection) {
  if (!can_sample(values.size(), kept)) return false;
  const uint32_t least = guess_threshold(values, kept, picks.positions);
  return least != 0 && select_from(values, least, kept, picks, selection);
}

// Whether there is room for candidates, and a pass to find them is worth its time.
bool can_find_digit(uint64_t count, uint64_t kept) {
  return count >= kDigitRun && candidates_max(kept) < count;
}

// The first digit of the threshold, which is exact, and those that have it or a larger one: where
// values are spread, few more than the `kept` largest.
bool select_by_digit(std::span<const float> values, uint64_t kept, Picks picks,
                     Selection* selection) {
  if (!can_find_digit(values.size(), kept)) return false;
  const auto key_at = [&](uint64_t i) { return magnitude_key(values[i]); };
  const Threshold first = find_digit(values.size(), {0, kept}, kDigits[0], key_at);
  return first.key != 0 && select_from(values, first.key, kept, picks, selection);
}

}  // namespace

uint64_t selection_room(uint64_t count, uint64_t kept) {
  const bool sample = can_sample(count, kept);
  if (!sample && !can_find_digit(count, kept)) return kept;
  return std::max(candidates_max(kept), sample ? sample_size(count, kept) : 0) + kPickSlack;
}

Selection select_largest(std::span<const float> values, uint64_t kept, bool sample, Picks picks) {
  GOSSAMER_CHECK(kept <= values.size() && values.size() <= UINT32_MAX);
  Selection selection;
  selection.kept = kept;
  if (kept == 0) return selection;
  if (sample && select_by_sample(values, kept, picks, &selection)) return selection;
  if (select_by_digit(values, kept, picks, &selection)) return selection;
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
