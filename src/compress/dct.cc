// DCT top-k: the largest coefficients of the cosine transform of each chunk, as DeMo sends them.
//   Source    Peng, Quesnelle and Kingma, "DeMo: decoupled momentum optimization", 2024.
//   Code      Chunks of c = chunk^dims elements, in two dimensions taken for rows of `chunk`, and
//             transformed as such; what is left over is taken for rows too, each of which is
//             transformed by itself, a shorter last one included. Of each chunk the k = keep
//             largest coefficients, of t elements left over the ceil(k t / c) largest: their
//             positions, ascending, 2 bytes each, then their values as fp32.
//   Error     Biased: of the squared norm at most 1 - k / c. Of Gaussian values as top-k: 32 of
//             4096 have 6.2 % of it; smooth runs have nearly all of it in a few. Needs error
//             feedback.
//   Values    Zeros come back as zeros in chunks of zeros. A NaN is 0, an infinity the largest
//             finite magnitude of the chunk. Of equal magnitudes the first coefficient.
//             Coefficients and decoded values beyond 3.4e38 become that.
//   Sums      Coefficients are added as they are, and one transform makes values of the sum. Per
//             chunk min(c, k N) entries for N ranks, ascending: position and number of ranks that
//             sent it, 2 bytes each, then the sum as fp32; unused ones, of no ranks, are last.
//             mean=ranks: a coefficient that a rank did not send counts as 0. mean=senders, as in
//             DeMo: it counts as the mean of those that did, so that an average is over senders;
//             then what is decoded and what feedback keeps do not add up to what was encoded.
//   DeMo      is this codec with the feedback "ef14:decay=0.999", whose residual is the momentum,
//             of which what was sent is taken out, and with an optimiser that goes by the sign of
//             the average: the state is each rank's own, in Role::kSender. Its chunks are cut from
//             the shape of a tensor, these from the run as it lies in memory.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "gossamer/code_sums.h"
#include "src/check.h"
#include "src/compress/cosines.h"
#include "src/compress/list.h"
#include "src/compress/select.h"
#include "src/compress/sparse.h"

namespace gossamer {
namespace {

using Place = uint16_t;
constexpr uint64_t kEntryBytes = sizeof(Place) + sizeof(float);
constexpr float kMost = std::numeric_limits<float>::max();

// Larger values are transformed times 2^-28, so that no sum of 4096 of them is infinite.
constexpr float kLarge = 0x1p100F;
constexpr float kSmaller = 0x1p-28F;

template <class T>
T read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
void write(T value, std::byte* into) {
  std::memcpy(into, &value, sizeof value);
}

float bounded(float value) {
  return std::clamp(value, -kMost, kMost);
}

// Of a sum: a coefficient that some ranks sent.
struct Entry {
  Place place;
  uint16_t senders;  // 0: unused
  float sum;
};
static_assert(sizeof(Entry) == 8);

// transform(values) without infinities. `largest` is the key of their largest magnitude.
template <class Transform>
void transform_bounded(std::span<float> values, uint32_t largest, const Transform& transform) {
  if (largest <= magnitude_key(kLarge)) return transform(values);
  for (float& value : values) value *= kSmaller;
  transform(values);
  for (float& value : values) value = bounded(value / kSmaller);
}

struct Form {
  uint64_t chunk;
  uint64_t dims;
  uint64_t keep;
  bool by_senders;
};

class Dct final : public Codec, private CodeSums {
 public:
  explicit Dct(const Form& form)
      : form_(form),
        area_(form.dims == 2 ? form.chunk * form.chunk : form.chunk),
        cosines_(form.chunk) {}

  CodecTraits traits() const override { return {.needs_feedback = true, .sparse = true}; }
  uint64_t block() const override { return area_; }
  uint64_t bytes_max(uint64_t count) const override {
    return (count / area_ * form_.keep + kept(count % area_)) * kEntryBytes;
  }
  uint64_t workspace_bytes(uint64_t count) const override {
    return workspace_of(room(std::min(count, area_)));
  }
  double error_max(uint64_t count) const override {
    if (count == 0) return 0;
    const uint64_t least = count < area_ ? count : area_;
    return 1 - static_cast<double>(kept(least)) / static_cast<double>(least) + 1e-6;
  }
  const CodeSums* sums() const override { return this; }

  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> workspace) const override {
    GOSSAMER_CHECK(code.size() >= bytes_max(values.size()) &&
                   workspace.size() >= workspace_bytes(values.size()));
    Encoded made{bytes_max(values.size()), 0};
    std::byte* at = code.data();
    each_chunk(values.size(), [&](uint64_t first, uint64_t length) {
      float chunk[Cosines::kAreaMax];
      const std::span<float> part(chunk, length);
      const uint32_t largest = copy_finite(values.subspan(first, length), chunk, &made.not_finite);
      transform_bounded(part, largest, [&](std::span<float> all) { transform(all); });
      const Picks picks = picks_in(workspace, room(length));
      select_largest(part, kept(length), false, picks);
      for (uint64_t i = 0; i < kept(length); ++i) {
        write(static_cast<Place>(picks.positions[i]), at + i * sizeof(Place));
        write(picks.values[i], at + kept(length) * sizeof(Place) + i * sizeof(float));
      }
      at += kept(length) * kEntryBytes;
      return true;
    });
    return made;
  }

  Status check(std::span<const std::byte> code, uint64_t count) const override {
    Status sound = check_length(*this, code.size(), bytes_max(count), count);
    if (!sound) return sound;
    const std::byte* at = code.data();
    each_chunk(count, [&](uint64_t first, uint64_t length) {
      uint64_t least = 0;
      for (uint64_t i = 0; i < kept(length) && sound; ++i) {
        const auto place = read<Place>(at + i * sizeof(Place));
        const auto value = value_at(at, length, i);
        if (place < least || place >= length || !std::isfinite(value)) {
          sound = damaged(first, place, value);
        }
        least = uint64_t{place} + 1;
      }
      at += kept(length) * kEntryBytes;
      return sound.is_ok();
    });
    return sound;
  }

  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    const std::byte* at = code.data();
    each_chunk(into.size(), [&](uint64_t first, uint64_t length) {
      decode_chunk(at, into.subspan(first, length));
      at += kept(length) * kEntryBytes;
      return true;
    });
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (code.size() != bytes_max(into.size())) return;
    const std::byte* at = code.data();
    each_chunk(into.size(), [&](uint64_t first, uint64_t length) {
      float chunk[Cosines::kAreaMax];
      decode_chunk(at, {chunk, length});
      for (uint64_t i = 0; i < length; ++i) into[first + i] += factor * chunk[i];
      at += kept(length) * kEntryBytes;
      return true;
    });
  }

 private:
  // Of a chunk, or of fewer elements that are left over.
  uint64_t kept(uint64_t length) const { return (form_.keep * length + area_ - 1) / area_; }
  uint64_t room(uint64_t length) const {
    return length == 0 ? 0 : selection_room(length, kept(length));
  }

  // Calls each(first, length), until one is false.
  template <class Each>
  void each_chunk(uint64_t count, const Each& each) const {
    for (uint64_t first = 0; first < count; first += area_) {
      if (!each(first, std::min(area_, count - first))) return;
    }
  }

  bool is_square(uint64_t length) const { return form_.dims == 2 && length == area_; }
  void transform(std::span<float> values) const {
    is_square(values.size()) ? cosines_.square(values.data()) : cosines_.rows(values);
  }

  // The coefficients of a chunk, and back to values in the same place.
  class Coefficients {
   public:
    Coefficients(const Dct& codec, std::span<float> chunk) : codec_(codec), chunk_(chunk) {
      std::fill(chunk.begin(), chunk.end(), 0.0F);
    }
    // Places that are none are left out.
    void put(uint64_t place, float value) {
      if (place >= chunk_.size()) return;
      chunk_[place] = value;
      largest_ = std::max(largest_, magnitude_key(value));
      rows_ |= uint64_t{1} << (place / codec_.form_.chunk);
    }
    void transform_back() const {
      transform_bounded(chunk_, largest_, [this](std::span<float> all) {
        codec_.is_square(all.size()) ? codec_.cosines_.square_back(all.data(), rows_)
                                     : codec_.cosines_.rows_back(all);
      });
    }

   private:
    const Dct& codec_;
    const std::span<float> chunk_;
    uint32_t largest_ = 0;
    uint64_t rows_ = 0;  // that have one; as many as a square can have
  };

  // Compared as integers, of which many are at a time.
  static uint32_t largest_bits(std::span<const float> values) {
    int32_t largest = 0;
    for (const float value : values) {
      largest = std::max(largest, __builtin_bit_cast(int32_t, value) & 0x7fffffff);
    }
    return static_cast<uint32_t>(largest);
  }
  // The key of the largest magnitude.
  static uint32_t copy_finite(std::span<const float> from, float* into, uint64_t* not_finite) {
    std::memcpy(into, from.data(), from.size_bytes());
    const uint32_t largest = largest_bits(from);
    if (largest < kInfinityKey) return largest;
    const float infinity = largest_finite(from);
    for (uint64_t i = 0; i < from.size(); ++i) {
      if (std::isfinite(into[i])) continue;
      ++*not_finite;
      into[i] = std::isnan(into[i]) ? 0 : std::copysign(infinity, into[i]);
    }
    return magnitude_key(infinity);
  }

  float value_at(const std::byte* chunk_code, uint64_t length, uint64_t i) const {
    return read<float>(chunk_code + kept(length) * sizeof(Place) + i * sizeof(float));
  }

  Status damaged(uint64_t first, uint64_t place, float value) const {
    return Status::error(Code::kMismatch,
                         fmt::format("coefficient {} of the chunk at element {} is {}, or they do "
                                     "not ascend, which no encoder writes; the code is damaged",
                                     place, first, value));
  }

  // Of a chunk's code, the values.
  void decode_chunk(const std::byte* code, std::span<float> into) const {
    Coefficients coefficients(*this, into);
    for (uint64_t i = 0; i < kept(into.size()); ++i) {
      coefficients.put(read<Place>(code + i * sizeof(Place)), value_at(code, into.size(), i));
    }
    coefficients.transform_back();
  }

  // --- sums ---

  Encoded encode_agreed(std::span<const float> values, std::span<const float> /*numbers*/,
                        const Draws& draws, std::span<std::byte> code,
                        std::span<std::byte> workspace) const override {
    return encode(values, draws, code, workspace);
  }
  uint64_t entries(uint64_t length, uint32_t ranks) const {
    return std::min(length, kept(length) * ranks);
  }
  uint64_t sum_bytes(uint64_t count, uint32_t ranks) const override {
    return (count / area_ * entries(area_, ranks) + entries(count % area_, ranks)) * sizeof(Entry);
  }
  void begin_sum(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                 std::span<std::byte> sum) const override {
    std::memset(sum.data(), 0, sum_bytes(count, ranks));
    // Cannot fail: sums of none have room for one.
    (void)add_code(code, count, ranks, sum);
  }
  Status add_code(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                  std::span<std::byte> sum) const override {
    const std::byte* from = code.data();
    std::byte* into = sum.data();
    bool fits = true;
    each_chunk(count, [&](uint64_t /*first*/, uint64_t length) {
      fits = merge(from, length, into, entries(length, ranks));
      from += kept(length) * kEntryBytes;
      into += entries(length, ranks) * sizeof(Entry);
      return fits;
    });
    if (fits) return Status::ok();
    return Status::error(Code::kMismatch,
                         fmt::format("the sum has no room for this code of {} beside those of the "
                                     "other {} ranks; each is added once",
                                     name(), ranks - 1));
  }

  // Both ascend. False: there is no room.
  bool merge(const std::byte* code, uint64_t length, std::byte* sum, uint64_t room_for) const {
    const auto entry_at = [&](uint64_t i) { return read<Entry>(sum + i * sizeof(Entry)); };
    const uint64_t more = kept(length);
    uint64_t used = 0;
    while (used < room_for && entry_at(used).senders > 0) ++used;
    uint64_t common = 0;
    for (uint64_t i = 0, j = 0; i < used && j < more;) {
      const Place mine = entry_at(i).place;
      const auto theirs = read<Place>(code + j * sizeof(Place));
      common += mine == theirs ? 1 : 0;
      if (mine <= theirs) ++i;
      if (theirs <= mine) ++j;
    }
    if (used + more - common > room_for) return false;
    // From the back, where the room is.
    uint64_t i = used;
    uint64_t j = more;
    for (uint64_t at = used + more - common; j > 0; --at) {
      const auto theirs = read<Place>(code + (j - 1) * sizeof(Place));
      const float value = value_at(code, length, j - 1);
      Entry entry{theirs, 1, value};
      if (i > 0 && entry_at(i - 1).place >= theirs) {
        entry = entry_at(--i);
        if (entry.place == theirs) {
          entry.sum = bounded(entry.sum + value);
          ++entry.senders;
          --j;
        }
      } else {
        --j;
      }
      write(entry, sum + (at - 1) * sizeof(Entry));
    }
    return true;
  }

  Status check_sum(std::span<const std::byte> sum, uint64_t count, uint32_t ranks) const override {
    Status sound = check_length(*this, sum.size(), sum_bytes(count, ranks), count);
    if (!sound) return sound;
    const std::byte* at = sum.data();
    each_chunk(count, [&](uint64_t first, uint64_t length) {
      uint64_t least = 0;
      bool ended = false;
      for (uint64_t i = 0; i < entries(length, ranks) && sound; ++i) {
        const auto entry = read<Entry>(at + i * sizeof(Entry));
        ended = ended || entry.senders == 0;
        const bool right = ended ? entry.senders == 0
                                 : entry.place >= least && entry.place < length &&
                                       entry.senders <= ranks && std::isfinite(entry.sum);
        if (!right) sound = damaged(first, entry.place, entry.sum);
        least = uint64_t{entry.place} + 1;
      }
      at += entries(length, ranks) * sizeof(Entry);
      return sound.is_ok();
    });
    return sound;
  }
  void decode_sum(std::span<const std::byte> sum, uint32_t ranks,
                  std::span<float> into) const override {
    if (sum.size() != sum_bytes(into.size(), ranks)) return;
    const std::byte* at = sum.data();
    each_chunk(into.size(), [&](uint64_t first, uint64_t length) {
      Coefficients coefficients(*this, into.subspan(first, length));
      for (uint64_t i = 0; i < entries(length, ranks); ++i) {
        const auto entry = read<Entry>(at + i * sizeof(Entry));
        if (entry.senders == 0) break;
        const float missing = static_cast<float>(ranks) / static_cast<float>(entry.senders);
        coefficients.put(entry.place, form_.by_senders ? bounded(entry.sum * missing) : entry.sum);
      }
      coefficients.transform_back();
      at += entries(length, ranks) * sizeof(Entry);
      return true;
    });
  }

  Form form_;
  uint64_t area_;
  Cosines cosines_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<int64_t> chunk =
      parameters.integer("chunk", 2, static_cast<int64_t>(Cosines::kSideMax));
  if (!chunk) return chunk.status();
  const Result<int64_t> dims = parameters.integer("dims", 1, 2);
  if (!dims) return dims.status();
  const Result<int64_t> keep =
      parameters.integer("keep", 1, static_cast<int64_t>(Cosines::kAreaMax));
  if (!keep) return keep.status();
  constexpr std::string_view kMeans[] = {"ranks", "senders"};
  const Result<size_t> mean = parameters.choice("mean", kMeans);
  if (!mean) return mean.status();
  const int64_t area = *dims == 2 ? *chunk * *chunk : *chunk;
  if (*keep > area) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("dct keeps {} of the {} coefficients of a chunk; give keep={} "
                                     "or less, or larger chunks",
                                     *keep, area, area));
  }
  return std::unique_ptr<Codec>(
      std::make_unique<Dct>(Form{static_cast<uint64_t>(*chunk), static_cast<uint64_t>(*dims),
                                 static_cast<uint64_t>(*keep), *mean == 1}));
}

}  // namespace

const CodecFactory dct_codec = {
    "dct", "the largest coefficients of the cosine transform of each chunk (DeMo)",
    "chunk=64: elements on a side, from 2 to 64; dims=2: of a chunk, or 1; keep=32: coefficients "
    "per chunk; mean=ranks: or senders, what a coefficient that a rank lacks counts for",
    create};

}  // namespace gossamer
