#include "src/compress/draws.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/draws.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/draws-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

void fill_uniform(uint64_t key, uint64_t first, float* into, uint64_t count) {
  Uniform uniform(key);
  for (uint64_t i = 0; i < count; i += Uniform::kPiece) {
    const uint64_t piece = std::min(Uniform::kPiece, count - i);
    std::memcpy(into + i, uniform.of(first + i, piece), piece * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(fill_uniform);

void uniform_numbers(uint64_t key, uint64_t first, std::span<float> numbers) {
  HWY_DYNAMIC_DISPATCH(fill_uniform)(key, first, numbers.data(), numbers.size());
}

}  // namespace gossamer
#endif
