// Scaling and division of integers.
//
// A whole factor that the type can hold multiplies as the type does, wrapping, and a whole divisor
// divides as the type does: 64-bit values keep all their bits. Any other factor goes through
// double, is truncated toward zero and clamped to the type's range; what is no number becomes 0.

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>

#include "src/reduce_scalar.h"
#include "src/reduce_tables.h"

namespace gossamer {
namespace {

// `value` truncated to T, if T can hold it.
template <class T>
std::optional<T> truncated(double value) {
  // 2^digits is exact as a double, unlike T's largest value.
  const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);
  const double whole = std::trunc(value);
  if (!(whole < end) || whole < (std::is_signed_v<T> ? -end : 0.0)) return std::nullopt;
  return static_cast<T>(whole);
}

template <class T>
T clamped(double value) {
  if (std::isnan(value)) return 0;
  const std::optional<T> inside = truncated<T>(value);
  if (inside.has_value()) return *inside;
  return value < 0 ? std::numeric_limits<T>::min() : std::numeric_limits<T>::max();
}

template <class T>
std::optional<T> whole(double value) {
  return value == std::trunc(value) ? truncated<T>(value) : std::nullopt;
}

template <class T>
void multiply(std::byte* target, const std::byte* from, uint64_t count, double scale) {
  const std::optional<T> factor = whole<T>(scale);
  for (uint64_t i = 0; i < count; ++i) {
    const T value = load_one<T>(from, i);
    store_one(factor.has_value() ? combine_one<ReduceOp::kProd>(value, *factor)
                                 : clamped<T>(static_cast<double>(value) * scale),
              target, i);
  }
}

template <class T>
void divide(std::byte* target, const std::byte* from, uint64_t count, double scale) {
  const std::optional<T> divisor = whole<T>(scale);
  const bool exact = divisor.has_value() && *divisor > 0;
  for (uint64_t i = 0; i < count; ++i) {
    const T value = load_one<T>(from, i);
    store_one(
        exact ? static_cast<T>(value / *divisor) : clamped<T>(static_cast<double>(value) / scale),
        target, i);
  }
}

}  // namespace

ConvertKernel integer_scale_kernel(DataType type, bool by_division) {
  switch (type) {
    case DataType::kInt8:
      return by_division ? divide<int8_t> : multiply<int8_t>;
    case DataType::kUint8:
      return by_division ? divide<uint8_t> : multiply<uint8_t>;
    case DataType::kInt32:
      return by_division ? divide<int32_t> : multiply<int32_t>;
    case DataType::kUint32:
      return by_division ? divide<uint32_t> : multiply<uint32_t>;
    case DataType::kInt64:
      return by_division ? divide<int64_t> : multiply<int64_t>;
    case DataType::kUint64:
      return by_division ? divide<uint64_t> : multiply<uint64_t>;
    default:
      return nullptr;
  }
}

}  // namespace gossamer
