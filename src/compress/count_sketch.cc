// Count-sketch: sums of elements in a table that is smaller than the run, and what the largest of
// them seem to be.
//   Source    Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", ICALP
//             2002; Rothchild et al., "FetchSGD: communication-efficient federated learning with
//             sketching", ICML 2020.
//   Code      The draw as 8 bytes, then `rows` rows of c = ceil(ratio * count / rows) sums as fp32:
//             element i is added to one of each row's, with a sign, both drawn from Draws::shared.
//             Decoded: the medians over rows of an element's sums, times its signs, of the k =
//             ceil(keep * count) elements where they are largest; all others are 0.
//   Error     Biased, without a bound: an element is wrong by the sum of what shares its place, of
//             which the median is at most sqrt(8 / c) norms with the probability that 3/4 of the
//             rows' are. So c is to be many times k, and the k largest are to have most of the
//             norm; Gaussian values have no such elements. Needs error feedback.
//   Values    Zeros come back as zeros in a run of zeros. A NaN is 0, an infinity the largest
//             finite magnitude; sums beyond 3.4e38 become that. Of equal magnitudes the first.
//   Sums      Tables are added as numbers, in the order of ranks, and the sum decoded (class L):
//             elements that are large on no rank but in sum are found.
//   FetchSGD  keeps momentum and error as tables on a server; here they are the ranks' own, of
//             their runs, in Role::kSender: "ef14" with what is decoded of a rank's own table. That
//             adds up where codes are decoded to be added, as the gradient hook does. What an
//             all-reduce decodes is not the sum of that: a residual there, or in a reduce-scatter,
//             keeps what was found in the sum alone, and loses what was found in its own.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "gossamer/code_sums.h"
#include "src/check.h"
#include "src/compress/list.h"
#include "src/compress/select.h"
#include "src/compress/shared_draw.h"
#include "src/compress/sparse.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/count_sketch.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/lanes-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_COUNT_SKETCH_CC_
#define GOSSAMER_SRC_COMPRESS_COUNT_SKETCH_CC_
namespace gossamer {

inline constexpr uint64_t kSketchAtOnce = 256;  // elements
inline constexpr uint64_t kSketchRowsMax = 9;

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

// x * columns / 2^31, of numbers below that.
template <class V>
HWY_INLINE V share_of(V x, uint32_t columns) {
  const hn::DFromV<V> d;
#if HWY_TARGET == HWY_SCALAR  // has no products of twice the length
  return hn::Set(d, static_cast<uint32_t>(uint64_t{hn::GetLane(x)} * columns >> 31));
#else
  const hn::Repartition<uint64_t, decltype(d)> d2;
  const auto by = hn::Set(d, columns);
  const auto odd = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d2, x)));
  const auto low = hn::ShiftRight<31>(hn::MulEven(x, by));
  const auto high = hn::ShiftRight<31>(hn::MulEven(odd, by));
  return hn::BitCast(d, hn::Or(low, hn::ShiftLeft<32>(high)));
#endif
}

// Where elements [first, first + count) go in a row of `columns` < 2^31, and the sign bit of what
// is added there: the finaliser of MurmurHash3, twice.
void find_places(uint64_t key, uint32_t first, uint64_t count, uint32_t columns, uint32_t* places,
                 uint32_t* signs) {
  const hn::CappedTag<uint32_t, kLanesMax> d;
  const size_t n = hn::Lanes(d);
  const auto scramble = [&](hn::Vec<decltype(d)> x) HWY_ATTR {
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(d, 0x85ebca6bU));
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(d, 0xc2b2ae35U));
    return hn::Xor(x, hn::ShiftRight<16>(x));
  };
  const auto upward = hn::Iota(d, 0);  // made in memory, which the first load waits for
  const auto low = hn::Set(d, static_cast<uint32_t>(key));
  const auto high = hn::Set(d, static_cast<uint32_t>(key >> 32));
  for (uint64_t i = 0; i < count; i += n) {  // there is room for whole vectors
    const auto element = hn::Add(upward, hn::Set(d, first + static_cast<uint32_t>(i)));
    const auto x = scramble(hn::Add(scramble(hn::Add(element, low)), high));
    hn::StoreU(hn::ShiftLeft<31>(x), d, signs + i);
    hn::StoreU(share_of(hn::ShiftRight<1>(x), columns), d, places + i);
  }
}

// estimates[0][i] = median of estimates[r][i] over an odd number of rows, sorted by neighbours that
// change places.
void find_medians(uint64_t rows, uint64_t count, float (*estimates)[kSketchAtOnce]) {
  const Floats d;
  const size_t n = hn::Lanes(d);
  for (uint64_t i = 0; i < count; i += n) {
    for (uint64_t turn = 0; turn < rows; ++turn) {
      for (uint64_t r = turn % 2; r + 1 < rows; r += 2) {
        const auto a = hn::LoadU(d, estimates[r] + i);
        const auto b = hn::LoadU(d, estimates[r + 1] + i);
        hn::StoreU(hn::Min(a, b), d, estimates[r] + i);
        hn::StoreU(hn::Max(a, b), d, estimates[r + 1] + i);
      }
    }
    hn::StoreU(hn::LoadU(d, estimates[rows / 2] + i), d, estimates[0] + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(find_places);
HWY_EXPORT(find_medians);

constexpr float kMost = std::numeric_limits<float>::max();

float number_at(const std::byte* from) {
  float value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}
void put_number(float value, std::byte* into) {
  std::memcpy(into, &value, sizeof value);
}

// Which estimates are kept, by those bits of their keys that are known: those that are above
// `least`, and the `equal` largest, of equal ones the first, of the `found` that are at it.
struct Threshold {
  uint32_t known = 0;
  uint32_t least = 0;
  uint64_t equal = 0;
  uint64_t found = 0;
};
constexpr uint32_t kAllKnown = 0x7fffffffU;

// An estimate that may be kept.
struct Candidate {
  uint32_t key;
  float estimate;
  uint64_t element;

  bool operator<(const Candidate& other) const {  // is kept first
    return key != other.key ? key > other.key : element < other.element;
  }
};
constexpr uint64_t kCandidatesMax = 4096;

class CountSketch final : public Codec, private CodeSums {
 public:
  CountSketch(uint64_t rows, double ratio, double keep) : rows_(rows), ratio_(ratio), keep_(keep) {}

  CodecTraits traits() const override {
    return {.needs_feedback = true, .sparse = true, .shared_positions = true};
  }
  uint64_t count_max() const override { return kSparseCountMax; }
  uint64_t bytes_max(uint64_t count) const override {
    return count == 0 ? 0 : sizeof(Draw) + rows_ * columns(count) * sizeof(float);
  }
  uint64_t entries_max(uint64_t count) const override { return kept_of(keep_, count); }
  double error_max(uint64_t /*count*/) const override {
    return std::numeric_limits<double>::infinity();
  }
  const CodeSums* sums() const override { return this; }

  Encoded encode(std::span<const float> values, const Draws& draws, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    const uint64_t count = values.size();
    GOSSAMER_CHECK(count <= kSparseCountMax && code.size() >= bytes_max(count));
    if (values.empty()) return {};
    const Draw draw = shared_draw(draws);
    std::memset(code.data(), 0, bytes_max(count));
    std::memcpy(code.data(), &draw, sizeof draw);
    Encoded made{bytes_max(count), 0};
    for (const float value : values) made.not_finite += std::isfinite(value) ? 0 : 1;
    const float infinity = made.not_finite > 0 ? largest_finite(values) : 0;
    for (uint64_t first = 0; first < count; first += kSketchAtOnce) {
      float part[kSketchAtOnce];
      const uint64_t length = std::min(kSketchAtOnce, count - first);
      std::memcpy(part, values.data() + first, length * sizeof(float));
      for (uint64_t i = 0; made.not_finite > 0 && i < length; ++i) {
        if (std::isfinite(part[i])) continue;
        part[i] = std::isnan(part[i]) ? 0 : std::copysign(infinity, part[i]);
      }
      for (uint64_t r = 0; r < rows_; ++r) {
        const Places places = places_of(draw, r, first, length, count);
        std::byte* const row = code.data() + row_begin(r, count);
        for (uint64_t i = 0; i < length; ++i) {
          std::byte* const at = row + uint64_t{places.columns[i]} * sizeof(float);
          put_number(number_at(at) + signed_by(places.signs[i], part[i]), at);
        }
      }
    }
    bound_numbers(code, count);
    return made;
  }

  Status check(std::span<const std::byte> code, uint64_t count) const override {
    const uint64_t expected = count > kSparseCountMax ? 0 : bytes_max(count);
    if (Status sound = check_length(*this, code.size(), expected, count); !sound) return sound;
    for (uint64_t at = sizeof(Draw); at < code.size(); at += sizeof(float)) {
      const float number = number_at(code.data() + at);
      if (std::isfinite(number)) continue;
      return Status::error(Code::kMismatch,
                           fmt::format("sum {} is {}, which no encoder writes; the code is damaged",
                                       (at - sizeof(Draw)) / sizeof(float), number));
    }
    return Status::ok();
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (into.empty() || code.size() != bytes_max(into.size())) return;
    each_piece(code, into.size(), [&](uint64_t first, std::span<const float> estimates) {
      std::copy(estimates.begin(), estimates.end(), into.begin() + static_cast<ptrdiff_t>(first));
    });
    // The estimates are there, to be gone over as often as it takes.
    Threshold kept = find_threshold(
        into.size(), 0, [&](const auto& use) { use(uint64_t{0}, std::span<const float>(into)); });
    for (float& value : into) {
      if (!keeps(value, &kept)) value = 0;
    }
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (into.empty() || code.size() != bytes_max(into.size())) return;
    // To estimate takes longest: the last bits of the threshold are left to the last pass.
    Threshold kept = find_threshold(into.size(), kCandidatesMax,
                                    [&](const auto& use) { each_piece(code, into.size(), use); });
    Candidate candidates[kCandidatesMax];
    uint64_t found = 0;
    each_piece(code, into.size(), [&](uint64_t first, std::span<const float> estimates) {
      for (uint64_t i = 0; i < estimates.size(); ++i) {
        const uint32_t key = magnitude_key(estimates[i]);
        if ((key & kept.known) == kept.least && kept.known != kAllKnown) {
          candidates[found++] = {key, estimates[i], first + i};
        } else if (keeps(estimates[i], &kept)) {
          into[first + i] += factor * estimates[i];
        }
      }
    });
    const uint64_t chosen = std::min(kept.equal, found);
    std::nth_element(candidates, candidates + chosen, candidates + found);
    for (uint64_t c = 0; c < chosen; ++c) {
      into[candidates[c].element] += factor * candidates[c].estimate;
    }
  }

 private:
  uint64_t columns(uint64_t count) const {
    const double whole =
        std::ceil(ratio_ * static_cast<double>(count) / static_cast<double>(rows_) - 1e-9);
    return std::max<uint64_t>(1, static_cast<uint64_t>(std::max(whole, 0.0)));
  }
  uint64_t row_begin(uint64_t row, uint64_t count) const {
    return sizeof(Draw) + row * columns(count) * sizeof(float);
  }

  struct Places {
    alignas(64) uint32_t columns[kSketchAtOnce];
    alignas(64) uint32_t signs[kSketchAtOnce];
  };
  Places places_of(Draw draw, uint64_t row, uint64_t first, uint64_t length, uint64_t count) const {
    Places places;
    HWY_DYNAMIC_DISPATCH(find_places)
    (mixed(draw + row), static_cast<uint32_t>(first), length, static_cast<uint32_t>(columns(count)),
     places.columns, places.signs);
    return places;
  }
  static float signed_by(uint32_t sign, float value) {
    return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, value) ^ sign);
  }

  void bound_numbers(std::span<std::byte> code, uint64_t count) const {
    for (uint64_t at = sizeof(Draw); at < bytes_max(count); at += sizeof(float)) {
      const float number = number_at(code.data() + at);
      if (!std::isfinite(number)) put_number(std::copysign(kMost, number), code.data() + at);
    }
  }

  // Calls use(first, estimates) for all elements in turn.
  template <class Use>
  void each_piece(std::span<const std::byte> code, uint64_t count, const Use& use) const {
    Draw draw = 0;
    std::memcpy(&draw, code.data(), sizeof draw);
    for (uint64_t first = 0; first < count; first += kSketchAtOnce) {
      const uint64_t length = std::min(kSketchAtOnce, count - first);
      alignas(64) float estimates[kSketchRowsMax][kSketchAtOnce];
      for (uint64_t r = 0; r < rows_; ++r) {
        const Places places = places_of(draw, r, first, length, count);
        const std::byte* const row = code.data() + row_begin(r, count);
        for (uint64_t i = 0; i < length; ++i) {
          const float number = number_at(row + uint64_t{places.columns[i]} * sizeof(float));
          estimates[r][i] = signed_by(places.signs[i], number);
        }
        std::fill(estimates[r] + length, estimates[r] + kSketchAtOnce, 0.0F);
      }
      HWY_DYNAMIC_DISPATCH(find_medians)(rows_, length, estimates);
      use(first, std::span<const float>(estimates[0], length));
    }
  }

  // The key of the k-th largest estimate, by its upper, middle and lower bits in turn, until no
  // more than `few` have those that are known. all(use) calls use(first, estimates) for all
  // elements.
  template <class All>
  Threshold find_threshold(uint64_t count, uint64_t few, const All& all) const {
    static constexpr struct { uint32_t shift, bits; } kDigits[] = {{18, 13}, {9, 9}, {0, 9}};
    Threshold at{0, 0, kept_of(keep_, count), count};
    for (const auto& digit : kDigits) {
      if (at.found <= few) break;
      std::array<uint32_t, 8192> tally{};
      all([&](uint64_t /*first*/, std::span<const float> estimates) {
        for (const float estimate : estimates) {
          const uint32_t key = magnitude_key(estimate);
          if ((key & at.known) != at.least) continue;
          ++tally[key >> digit.shift & ((1U << digit.bits) - 1)];
        }
      });
      uint32_t value = (1U << digit.bits) - 1;
      for (; value > 0 && tally[value] < at.equal; --value) at.equal -= tally[value];
      at.found = tally[value];
      at.least |= value << digit.shift;
      at.known |= ((1U << digit.bits) - 1) << digit.shift;
    }
    return at;
  }
  static bool keeps(float estimate, Threshold* threshold) {
    const uint32_t key = magnitude_key(estimate) & threshold->known;
    if (key != threshold->least) return key > threshold->least;
    if (threshold->equal == 0) return false;
    --threshold->equal;
    return true;
  }

  // --- sums ---

  Encoded encode_agreed(std::span<const float> values, std::span<const float> /*numbers*/,
                        const Draws& draws, std::span<std::byte> code,
                        std::span<std::byte> workspace) const override {
    return encode(values, draws, code, workspace);
  }
  uint64_t sum_bytes(uint64_t count, uint32_t /*ranks*/) const override { return bytes_max(count); }
  void begin_sum(std::span<const std::byte> code, uint64_t count, uint32_t /*ranks*/,
                 std::span<std::byte> sum) const override {
    std::memcpy(sum.data(), code.data(), bytes_max(count));
  }
  Status add_code(std::span<const std::byte> code, uint64_t count, uint32_t /*ranks*/,
                  std::span<std::byte> sum) const override {
    if (count == 0) return Status::ok();
    if (std::memcmp(code.data(), sum.data(), sizeof(Draw)) != 0) {
      return Status::error(Code::kMismatch,
                           fmt::format("codes of {} that drew other places cannot be added; give "
                                       "all ranks the same Draws::shared",
                                       name()));
    }
    for (uint64_t at = sizeof(Draw); at < bytes_max(count); at += sizeof(float)) {
      put_number(number_at(sum.data() + at) + number_at(code.data() + at), sum.data() + at);
    }
    bound_numbers(sum, count);
    return Status::ok();
  }
  Status check_sum(std::span<const std::byte> sum, uint64_t count,
                   uint32_t /*ranks*/) const override {
    return check(sum, count);
  }
  void decode_sum(std::span<const std::byte> sum, uint32_t /*ranks*/,
                  std::span<float> into) const override {
    decode(sum, into);
  }

  uint64_t rows_;
  double ratio_;
  double keep_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> rows = parameters.integer("rows", 1, static_cast<int64_t>(kSketchRowsMax));
  if (!rows) return rows.status();
  const Result<double> ratio = parameters.real("ratio", 1e-9, 1);
  if (!ratio) return ratio.status();
  const Result<double> keep = parameters.real("keep", 1e-9, 1);
  if (!keep) return keep.status();
  if (*rows % 2 == 0) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("count_sketch takes the median of its rows, and of {} there is "
                    "none; give an odd number",
                    *rows));
  }
  return std::unique_ptr<Codec>(
      std::make_unique<CountSketch>(static_cast<uint64_t>(*rows), *ratio, *keep));
}

}  // namespace

const CodecFactory count_sketch_codec = {
    "count_sketch", "sums in a small table, and the largest that are found in it",
    "rows=5: of the table, an odd number up to 9; ratio=0.1: numbers in the table per element; "
    "keep=0.005: part of the elements that is decoded",
    create};

}  // namespace gossamer
#endif
