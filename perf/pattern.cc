#include "perf/pattern.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "src/check.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

uint32_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15U + b * 0xC2B2AE3D27D4EB4FU + 0x165667B19E3779F9U;
  x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9U;
  return static_cast<uint32_t>(x >> 32);
}

bool is_integer(DataType type) {
  return type <= DataType::kUint64;
}

// The largest M such that all integers in [0, M] are exact.
double exact_max_of(DataType type) {
  switch (type) {
    case DataType::kFloat8E5M2:
      return 8;
    case DataType::kFloat8E4M3:
      return 16;
    case DataType::kInt8:
    case DataType::kUint8:
      return 127;
    case DataType::kBfloat16:
      return 256;
    case DataType::kFloat16:
      return 2048;
    default:
      return 1 << 24;
  }
}

// Powers of two below 2^this are finite.
int exponent_max_of(DataType type) {
  switch (type) {
    case DataType::kFloat8E4M3:
      return 8;
    case DataType::kFloat16:
    case DataType::kFloat8E5M2:
      return 15;
    case DataType::kFloat64:
      return 1023;
    default:
      return 127;
  }
}

// One number for an element's place: shares are longer than a tile and its stamps never are.
uint64_t place(uint64_t share, uint64_t index) {
  static_assert(Pattern::kPeriod + Pattern::kStampsMax < 1 << 16);
  return share << 16 | index;
}

template <class T>
void put(std::byte* into, T value) {
  std::memcpy(into, &value, sizeof value);
}

}  // namespace

void encode(DataType type, double value, std::byte* into) {
  const auto wrapped = static_cast<uint64_t>(static_cast<int64_t>(value));
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
      return put(into, static_cast<uint8_t>(wrapped));
    case DataType::kInt32:
    case DataType::kUint32:
      return put(into, static_cast<uint32_t>(wrapped));
    case DataType::kInt64:
    case DataType::kUint64:
      return put(into, wrapped);
    case DataType::kFloat32:
      return put(into, static_cast<float>(value));
    case DataType::kFloat64:
      return put(into, value);
    default:
      return narrow_one(type, static_cast<float>(value), into);
  }
}

double decode(DataType type, const std::byte* from) {
  if (is_narrow_float(type)) return static_cast<double>(widen_one(type, from));
  if (type == DataType::kFloat64) {
    double value = 0;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  float value = 0;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}

uint64_t hash_bytes(const std::byte* bytes, uint64_t count) {
  uint64_t hash = 0xCBF29CE484222325U ^ count;
  uint64_t word = 0;
  for (; count >= sizeof word; bytes += sizeof word, count -= sizeof word) {
    std::memcpy(&word, bytes, sizeof word);
    hash = std::rotl((hash ^ word) * 0x9E3779B97F4A7C15U, 27);
  }
  word = 0;
  if (count > 0) std::memcpy(&word, bytes, count);
  hash = (hash ^ word) * 0xBF58476D1CE4E5B9U;
  return hash ^ (hash >> 31);
}

CallBuffers Pattern::buffers() const {
  Call call;
  call.collective = case_.collective;
  call.count = case_.count;
  call.root = case_.root;
  call.in_place = case_.in_place;
  return buffers_of(call, rank_, case_.size);
}

Pattern::Pattern(const Case& c)
    : case_(c),
      element_bytes_(size_of(c.type)),
      period_(std::min(kPeriod, std::max<uint64_t>(c.count, 1))),
      exact_max_(exact_max_of(c.type)) {}

void Pattern::reseed(uint32_t salt) {
  salt_ = salt;
}

// `index` is an element's place in its share, and the share.
double Pattern::value(Rank rank, uint64_t index) const {
  const uint32_t random = mix(index + (static_cast<uint64_t>(salt_) << 40), 0);
  if (!reduces(case_.collective))
    return mix(random, static_cast<uint64_t>(rank)) %
           static_cast<uint32_t>(std::min(128.0, exact_max_ + 1));
  const auto turn = (static_cast<uint64_t>(rank) + random) % static_cast<uint64_t>(case_.size);
  // at most three ranks multiply by two, so that the product is at most eight
  if (case_.op == ReduceOp::kProd) return turn < random % 4 ? 2 : 1;
  const double sum_max = case_.op == ReduceOp::kPreMulSum ? exact_max_ / kScalar : exact_max_;
  const auto each_max = static_cast<uint32_t>(std::min(15.0, sum_max / case_.size));
  // few ranks hold a one where all of them together would be too many
  if (each_max == 0) return turn < static_cast<uint64_t>(sum_max) ? 1 : 0;
  return mix(random, static_cast<uint64_t>(rank)) % (each_max + 1);
}

double Pattern::reduced(uint64_t index) const {
  double result = value(0, index);
  for (Rank r = 1; r < case_.size; ++r) {
    const double v = value(r, index);
    switch (case_.op) {
      case ReduceOp::kProd:
        result *= v;
        break;
      case ReduceOp::kMax:
        result = std::max(result, v);
        break;
      case ReduceOp::kMin:
        result = std::min(result, v);
        break;
      default:
        result += v;
    }
  }
  if (case_.op == ReduceOp::kPreMulSum) return result * kScalar;
  if (case_.op != ReduceOp::kAvg) return result;
  if (case_.type == DataType::kFloat64 || is_integer(case_.type)) return result / case_.size;
  return static_cast<float>(result) / static_cast<float>(case_.size);  // then rounded by encode()
}

bool Pattern::stamps() const {
  return case_.count > 0 && !(case_.in_place && reduces(case_.collective));
}

void Pattern::fill(Rank rank, std::byte* input) {
  rank_ = rank;
  const uint64_t tile = period_ * element_bytes_;
  const uint64_t bytes = case_.count * element_bytes_;
  const uint64_t shares = input == nullptr || bytes == 0 ? 0 : buffers().input_count / case_.count;
  // encoded ahead: stamp() runs inside the timed loop
  stamps_.resize(shares * kStampsMax * element_bytes_);
  for (uint64_t share = 0; share < shares; ++share) {
    std::byte* const to = input + share * bytes;
    for (uint64_t i = 0; i < period_; ++i)
      encode(case_.type, value(rank, place(share, i)), to + i * element_bytes_);
    for (uint64_t done = tile; done < bytes; done += tile)
      std::memcpy(to + done, to, std::min(tile, bytes - done));
    for (uint64_t k = 0; k < kStampsMax; ++k)
      encode(case_.type, value(rank, place(share, kPeriod + k)),
             stamps_.data() + (k * shares + share) * element_bytes_);
  }
}

void Pattern::stamp(int operation, std::byte* input) const {
  if (!stamps() || input == nullptr) return;
  const uint64_t shares = stamps_.size() / (kStampsMax * element_bytes_);
  const std::byte* from =
      stamps_.data() + static_cast<uint64_t>(operation) * shares * element_bytes_;
  for (uint64_t share = 0; share < shares; ++share, from += element_bytes_)
    std::memcpy(input + share * case_.count * element_bytes_, from, element_bytes_);
}

bool Pattern::can_foretell(int operations) const {
  const bool repeats = case_.in_place && reduces(case_.collective);
  if (!repeats || operations == 1) return true;
  if (case_.op == ReduceOp::kMin || case_.op == ReduceOp::kMax) return true;
  // Elsewhere than in an all-reduce only part of the input is replaced by the result.
  if (case_.op != ReduceOp::kSum || case_.collective != Collective::kAllReduce) return false;
  if (is_integer(case_.type)) return true;  // modulo 2^bits, whatever the order
  if (!std::has_single_bit(static_cast<uint32_t>(case_.size))) return false;
  // each later operation sums equal values: their multiples up to `size` must be exact as well,
  // after that only the exponent grows
  const double sum_max = std::min(15.0, exact_max_ / case_.size) * case_.size;
  if (sum_max * case_.size > exact_max_) return false;
  const int growth = std::countr_zero(static_cast<uint32_t>(case_.size)) * (operations - 1);
  return growth + std::ilogb(exact_max_) + 1 < exponent_max_of(case_.type);
}

Pattern::Source Pattern::source_of(Rank output_share) const {
  switch (case_.collective) {
    case Collective::kAllReduce:
    case Collective::kReduce:
      return {-1, 0};
    case Collective::kReduceScatter:
      return {-1, static_cast<uint64_t>(rank_)};
    case Collective::kBroadcast:
      return {case_.root, 0};
    case Collective::kScatter:
      return {case_.root, static_cast<uint64_t>(rank_)};
    case Collective::kAllToAll:
      return {output_share, static_cast<uint64_t>(rank_)};
    case Collective::kAllGather:
    case Collective::kGather:
      break;
    case Collective::kNeighborAverage:  // checked by perf/neighbor_run.cc
    case Collective::kNeighborAllGather:
      GOSSAMER_CHECK(false);
  }
  return {output_share, 0};
}

double Pattern::expected(const Source& source, uint64_t index) const {
  const uint64_t at = place(source.share, index);
  return source.rank < 0 ? reduced(at) : value(source.rank, at);
}

std::vector<std::byte> Pattern::expected_tile(const Source& source, int operations) const {
  std::vector<std::byte> tile(period_ * element_bytes_);
  const bool grows = case_.collective == Collective::kAllReduce && case_.in_place &&
                     case_.op == ReduceOp::kSum && operations > 1;
  uint64_t power = 1;
  for (int k = 1; k < operations; ++k) power *= static_cast<uint64_t>(case_.size);
  const double factor = std::pow(static_cast<double>(case_.size), operations - 1);
  for (uint64_t i = 0; i < period_; ++i) {
    std::byte* into = tile.data() + i * element_bytes_;
    const double once = expected(source, i);
    if (grows && is_integer(case_.type)) {
      const uint64_t wrapped = power * static_cast<uint64_t>(once);
      std::memcpy(into, &wrapped, element_bytes_);  // little endian: the low bytes
    } else {
      encode(case_.type, grows ? once * factor : once, into);
    }
  }
  return tile;
}

uint64_t Pattern::wrong_in_share(const Source& source, const std::byte* have,
                                 int operations) const {
  const uint64_t bytes = case_.count * element_bytes_;
  const std::vector<std::byte> tile = expected_tile(source, operations);
  std::byte first[8];
  std::memcpy(first, tile.data(), element_bytes_);
  const uint64_t last = kPeriod + static_cast<uint64_t>(operations) - 1;
  if (stamps()) encode(case_.type, expected(source, last), first);
  uint64_t wrong = std::memcmp(have, first, element_bytes_) != 0 ? 1 : 0;
  for (uint64_t at = element_bytes_; at < bytes;) {
    const uint64_t offset = at % tile.size();
    const uint64_t run = std::min(tile.size() - offset, bytes - at);
    if (std::memcmp(have + at, tile.data() + offset, run) != 0) {
      for (uint64_t i = 0; i < run; i += element_bytes_)
        wrong += std::memcmp(have + at + i, tile.data() + offset + i, element_bytes_) != 0;
    }
    at += run;
  }
  return wrong;
}

uint64_t Pattern::wrong(const std::byte* output, int operations) const {
  if (case_.count == 0 || output == nullptr) return 0;
  uint64_t wrong = 0;
  const auto shares = static_cast<Rank>(buffers().output_count / case_.count);
  for (Rank share = 0; share < shares; ++share) {
    const std::byte* const have =
        output + static_cast<uint64_t>(share) * case_.count * element_bytes_;
    wrong += wrong_in_share(source_of(share), have, operations);
  }
  return wrong;
}

void Pattern::fill_irregular(Rank rank, std::byte* input) const {
  const uint64_t elements = input == nullptr ? 0 : buffers().input_count;
  for (uint64_t i = 0; i < elements; ++i) {
    const double v = 0.5 + mix(i, static_cast<uint64_t>(rank) + 1) * 0x1p-32;
    encode(case_.type, is_integer(case_.type) ? std::floor(v * 64) : v, input + i * element_bytes_);
  }
}

}  // namespace gossamer
