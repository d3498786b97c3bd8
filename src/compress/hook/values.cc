#include "src/compress/hook/values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/check.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

// A tile is read a second time while it is in the first-level cache.
constexpr uint64_t kTileBytes = 16 << 10;

// Whether no element has all bits of `special` set, which no finite one has.
template <class Word>
bool none_special(const std::byte* values, uint64_t count, Word special) {
  Word found = 0;
  for (uint64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, values + i * sizeof(Word), sizeof(Word));
    found |= static_cast<Word>((word & special) == special ? 1 : 0);
  }
  return found == 0;
}

}  // namespace

bool all_finite(DataType type, const std::byte* values, uint64_t count) {
  switch (type) {
    case DataType::kFloat64:
      return none_special<uint64_t>(values, count, 0x7FF0000000000000);
    case DataType::kFloat32:
      return none_special<uint32_t>(values, count, 0x7F800000);
    case DataType::kFloat16:
      return none_special<uint16_t>(values, count, 0x7C00);
    case DataType::kBfloat16:
      return none_special<uint16_t>(values, count, 0x7F80);
    case DataType::kFloat8E5M2:
      return none_special<uint8_t>(values, count, 0x7C);
    case DataType::kFloat8E4M3:
      return none_special<uint8_t>(values, count, 0x7F);
    default:
      break;
  }
  GOSSAMER_CHECK(false && "gradients are floats");
}

bool copy_finite(DataType type, std::byte* into, const std::byte* from, uint64_t count) {
  const uint64_t tile = kTileBytes / size_of(type);
  bool finite = true;
  for (uint64_t at = 0; at < count; at += tile) {
    const uint64_t n = std::min(tile, count - at);
    std::byte* const target = into + at * size_of(type);
    std::memcpy(target, from + at * size_of(type), n * size_of(type));
    finite &= all_finite(type, target, n);
  }
  return finite;
}

bool divide_finite(DataType type, std::byte* into, const std::byte* from, uint64_t count,
                   const Divisor& divisor) {
  GOSSAMER_CHECK(divisor.divide == 1 || divisor.times == 1);
  // By a power of two: a product has the same bits, and takes a tenth of the time.
  int exponent = 0;
  const bool divides = std::frexp(divisor.divide, &exponent) != 0.5;
  const double times = divides ? divisor.times : divisor.times / divisor.divide;
  if (!divides && times == 1) {
    return into == from ? all_finite(type, into, count) : copy_finite(type, into, from, count);
  }
  const ConvertKernel kernel = divides ? divide_kernel(type) : scale_kernel(type);
  const double factor = divides ? divisor.divide : times;
  const uint64_t tile = kTileBytes / size_of(type);
  bool finite = true;
  for (uint64_t at = 0; at < count; at += tile) {
    const uint64_t n = std::min(tile, count - at);
    std::byte* const target = into + at * size_of(type);
    kernel(target, from + at * size_of(type), n, factor);
    finite &= all_finite(type, target, n);
  }
  return finite;
}

void widen(DataType type, const std::byte* from, std::span<float> into) {
  auto* const target = reinterpret_cast<std::byte*>(into.data());
  if (type == DataType::kFloat32) {
    std::memcpy(target, from, into.size_bytes());
  } else if (type != DataType::kFloat64) {
    widen_kernel(type)(target, from, into.size(), 1);
  } else {
    for (size_t i = 0; i < into.size(); ++i) {
      double value = 0;
      std::memcpy(&value, from + i * sizeof value, sizeof value);
      into[i] = static_cast<float>(value);
    }
  }
}

void narrow(DataType type, std::span<const float> from, std::byte* into) {
  const auto* const source = reinterpret_cast<const std::byte*>(from.data());
  if (type == DataType::kFloat32) {
    std::memcpy(into, source, from.size_bytes());
  } else if (type != DataType::kFloat64) {
    narrow_kernel(type)(into, source, from.size(), 1);
  } else {
    for (size_t i = 0; i < from.size(); ++i) {
      const double value = from[i];
      std::memcpy(into + i * sizeof value, &value, sizeof value);
    }
  }
}

}  // namespace gossamer
