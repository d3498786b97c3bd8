// Copies past the cache.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "src/reduce.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/stream_copy.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void copy_past_cache(std::byte* target, const std::byte* from, uint64_t bytes) {
  const hn::ScalableTag<uint8_t> d;
  const size_t n = hn::Lanes(d);
  constexpr size_t kLine = 64;  // whole lines, or memory reads what they replace
  const uint64_t head = -reinterpret_cast<uintptr_t>(target) % kLine;
  std::memcpy(target, from, head);
  auto* const into = reinterpret_cast<uint8_t*>(target + head);
  const auto* const x = reinterpret_cast<const uint8_t*>(from + head);
  const uint64_t end = (bytes - head) / (4 * kLine) * (4 * kLine);
  for (uint64_t i = 0; i < end; i += n) hn::Stream(hn::LoadU(d, x + i), d, into + i);
  hwy::FlushStream();
  std::memcpy(into + end, x + end, bytes - head - end);
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

// On Zen 5 with 32 MiB of last-level cache, warm pieces of 64 KiB to 1 MiB into a buffer of 16 MiB
// and 48 MiB: 37-42 GB/s, memcpy 25-38 and 17-26 GB/s at malloc's 16 bytes past a line. Below
// 12 MiB memcpy is ahead, as the buffer stays in the cache. Pieces below 16 KiB gain nothing.
constexpr uint64_t kWholeBytesMin = uint64_t{16} << 20;
constexpr uint64_t kPieceBytesMin = uint64_t{32} << 10;

}  // namespace

HWY_EXPORT(copy_past_cache);

void stream_copy(std::byte* target, const std::byte* from, uint64_t bytes, uint64_t whole_bytes) {
  if (bytes >= kWholeBytesMin || (whole_bytes >= kWholeBytesMin && bytes >= kPieceBytesMin)) {
    HWY_DYNAMIC_DISPATCH(copy_past_cache)(target, from, bytes);
  } else if (bytes != 0) {
    std::memcpy(target, from, bytes);
  }
}

}  // namespace gossamer
#endif
