// fp64 by way of fp32, which codecs take: plain loops, as the codec beside them costs more.

#include "src/reduce_double.h"

#include "src/reduce.h"

namespace gossamer {
namespace {

template <class T>
T* as(std::byte* bytes) {
  return reinterpret_cast<T*>(bytes);
}
template <class T>
const T* as(const std::byte* bytes) {
  return reinterpret_cast<const T*>(bytes);
}

}  // namespace

void float_of_double(std::byte* target, const std::byte* from, uint64_t count, double) {
  for (uint64_t i = 0; i < count; ++i) {
    as<float>(target)[i] = static_cast<float>(as<double>(from)[i]);
  }
}

void double_of_float(std::byte* target, const std::byte* from, uint64_t count, double) {
  for (uint64_t i = 0; i < count; ++i) {
    as<double>(target)[i] = static_cast<double>(as<float>(from)[i]);
  }
}

void double_of_float_divided(std::byte* target, const std::byte* from, uint64_t count,
                             double divisor) {
  for (uint64_t i = 0; i < count; ++i) {
    as<double>(target)[i] = static_cast<double>(as<float>(from)[i]) / divisor;
  }
}

void sum_double_into_float(std::byte* target, const std::byte* operand, const std::byte* arrived,
                           uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    as<float>(target)[i] = as<float>(operand)[i] + static_cast<float>(as<double>(arrived)[i]);
  }
}

}  // namespace gossamer
