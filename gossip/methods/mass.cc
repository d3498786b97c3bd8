#include "gossip/methods/mass.h"

#include <cstring>
#include <limits>

#include "src/reduce.h"

namespace gossamer {

void start_mass(DataType type, std::byte* mass, const void* z, uint64_t count) {
  const uint64_t element = size_of(type);
  std::memcpy(mass, z, count * element);
  const double wide = 1;
  const float narrow = 1;
  const void* const one = type == DataType::kFloat64 ? static_cast<const void*>(&wide)
                                                     : static_cast<const void*>(&narrow);
  std::memcpy(mass + count * element, one, element);
}

double weight_of(DataType type, const std::byte* mass, uint64_t count) {
  const std::byte* const last = mass + count * size_of(type);
  double wide = 0;
  float narrow = 0;
  if (type == DataType::kFloat64) {
    std::memcpy(&wide, last, sizeof wide);
    return wide;
  }
  std::memcpy(&narrow, last, sizeof narrow);
  return static_cast<double>(narrow);
}

void value_of(DataType type, const std::byte* mass, void* z, uint64_t count) {
  // Less than that and the quotient is noise.
  const double least = type == DataType::kFloat64
                           ? std::numeric_limits<double>::min()
                           : static_cast<double>(std::numeric_limits<float>::min());
  const double w = weight_of(type, mass, count);
  if (w >= least) divide_kernel(type)(static_cast<std::byte*>(z), mass, count, w);
}

}  // namespace gossamer
