#include "src/compress/sparse.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/check.h"

namespace gossamer {
namespace {

constexpr uint64_t kBatch = 256;  // positions that are decoded at once

float value_at(const std::byte* from) {
  float value = 0;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Positions with their values, a batch at a time; false where the code is none.
template <class Each>
bool each_batch(const PositionCoding& coding, std::span<const std::byte> code, Kept kept,
                const Each& each) {
  if (kept.kept > kept.count || code.size() < kept.kept * sizeof(float)) return false;
  const uint64_t values_begin = code.size() - kept.kept * sizeof(float);
  const std::span<const std::byte> positions_code = code.first(values_begin);
  const std::byte* values = code.data() + values_begin;
  PositionCursor cursor;
  uint32_t positions[kBatch];
  for (uint64_t done = 0; done < kept.kept; done += kBatch) {
    const uint64_t batch = std::min(kBatch, kept.kept - done);
    if (!coding.read(positions_code, kept, &cursor, std::span(positions, batch))) return false;
    if (!each(std::span<const uint32_t>(positions, batch), values)) return false;
    values += batch * sizeof(float);
  }
  return coding.ends(positions_code, kept, cursor);
}

}  // namespace

uint64_t kept_of(double ratio, uint64_t count) {
  // 0.07 of 100 is 7, though the product of the two doubles is a last bit more.
  const double share = std::ceil(ratio * static_cast<double>(count) - 1e-9);
  return std::min(count, std::max<uint64_t>(1, static_cast<uint64_t>(std::max(share, 0.0))));
}

uint64_t put_sparse(const PositionCoding& coding, uint64_t count,
                    std::span<const uint32_t> positions, const float* values, float infinity,
                    std::byte* code) {
  const uint64_t bytes = coding.encode(positions, count, code);
  std::byte* at = code + bytes;
  for (uint64_t i = 0; i < positions.size(); ++i) {
    float value = values[i];
    if (std::isinf(value)) value = std::copysign(infinity, value);
    if (std::isnan(value)) value = 0;
    std::memcpy(at, &value, sizeof value);
    at += sizeof value;
  }
  return bytes + positions.size() * sizeof(float);
}

Status check_sparse(const Codec& codec, const PositionCoding& coding,
                    std::span<const std::byte> code, Kept kept) {
  const bool sound = each_batch(
      coding, code, kept, [](std::span<const uint32_t> positions, const std::byte* values) {
        bool finite = true;
        for (uint64_t i = 0; i < positions.size(); ++i) {
          finite = finite && std::isfinite(value_at(values + i * sizeof(float)));
        }
        return finite;
      });
  if (sound) return Status::ok();
  return Status::error(Code::kMismatch,
                       fmt::format("{} bytes are no {} of {} of {} elements: positions are not "
                                   "ascending, or values not finite, or bytes too many or few",
                                   code.size(), codec.name(), kept.kept, kept.count));
}

void decode_sparse(const PositionCoding& coding, std::span<const std::byte> code, uint64_t kept,
                   std::span<float> into) {
  std::fill(into.begin(), into.end(), 0.0F);
  each_batch(coding, code, {kept, into.size()},
             [&](std::span<const uint32_t> positions, const std::byte* values) {
               for (uint64_t i = 0; i < positions.size(); ++i) {
                 into[positions[i]] = value_at(values + i * sizeof(float));
               }
               return true;
             });
}

void add_sparse(const PositionCoding& coding, std::span<const std::byte> code, uint64_t kept,
                float factor, std::span<float> into) {
  each_batch(coding, code, {kept, into.size()},
             [&](std::span<const uint32_t> positions, const std::byte* values) {
               for (uint64_t i = 0; i < positions.size(); ++i) {
                 into[positions[i]] += factor * value_at(values + i * sizeof(float));
               }
               return true;
             });
}

}  // namespace gossamer
