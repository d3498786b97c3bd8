#include "src/nccl/scalar.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "src/reduce.h"

namespace gossamer::nccl {
namespace {

template <class T>
T load(const void* memory) {
  T value{};
  std::memcpy(&value, memory, sizeof(value));
  return value;
}

template <class T>
Result<double> exactly(T value) {
  const auto number = static_cast<double>(value);
  // 2^63 and 2^64 round out of the type's range; converting them back is not defined.
  const bool fits = std::abs(number) < 9.2e18;
  if (fits && static_cast<T>(number) == value) return number;
  return Status::error(Code::kInvalidArgument,
                       fmt::format("the factor {} of a pre-multiplied sum has more than 53 "
                                   "significant bits; scale the input before the call instead",
                                   value));
}

}  // namespace

Result<double> read_factor(const void* memory, DataType type) {
  switch (type) {
    case DataType::kInt8:
      return load<int8_t>(memory);
    case DataType::kUint8:
      return load<uint8_t>(memory);
    case DataType::kInt32:
      return load<int32_t>(memory);
    case DataType::kUint32:
      return load<uint32_t>(memory);
    case DataType::kInt64:
      return exactly(load<int64_t>(memory));
    case DataType::kUint64:
      return exactly(load<uint64_t>(memory));
    case DataType::kFloat32:
      return load<float>(memory);
    case DataType::kFloat64:
      return load<double>(memory);
    case DataType::kFloat16:
    case DataType::kBfloat16:
    case DataType::kFloat8E4M3:
    case DataType::kFloat8E5M2:
      return widen_one(type, static_cast<const std::byte*>(memory));
  }
  return Status::error(Code::kInvalidArgument, "the factor's type is none of ncclDataType_t");
}

}  // namespace gossamer::nccl
