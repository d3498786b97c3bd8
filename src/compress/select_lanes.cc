// One pass over a run that keeps the positions of what is large.

#include "src/compress/select.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/select_lanes.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Keys = hn::CappedTag<uint32_t, 16>;

// One in a hundred is large: whether a vector has any cannot be predicted, so each is compressed
// and stored, and the end moves by how many it had.
uint64_t find_lanes(const float* from, uint64_t count, uint32_t least, Picks picks, uint64_t room) {
  const Keys d;
  const hn::RebindToSigned<Keys> di;
  const hn::RebindToFloat<Keys> df;
  const size_t n = hn::Lanes(d);
  const auto magnitude = hn::Set(di, 0x7fffffff);
  const auto below = hn::Set(di, static_cast<int32_t>(least) - 1);
  const auto step = hn::Set(d, static_cast<uint32_t>(n));
  auto position = hn::Iota(d, 0);
  uint64_t found = 0;
  uint64_t i = 0;
  for (; i + n <= count; i += n) {
    const auto value = hn::LoadU(df, from + i);
    const auto bits = hn::And(hn::BitCast(di, value), magnitude);
    const auto large = hn::RebindMask(d, hn::Gt(bits, below));
    hn::StoreU(hn::Compress(position, large), d, picks.positions + found);
    hn::StoreU(hn::Compress(value, hn::RebindMask(df, large)), df, picks.values + found);
    found += hn::CountTrue(d, large);
    if (found > room) return found;
    position = hn::Add(position, step);
  }
  for (; i < count; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, from[i]) & 0x7fffffffU;
    if (bits < least) continue;
    picks.values[found] = from[i];
    picks.positions[found++] = static_cast<uint32_t>(i);
    if (found > room) return found;
  }
  return found;
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(find_lanes);

uint64_t find_at_least(std::span<const float> values, uint32_t least, Picks picks, uint64_t room) {
  return HWY_DYNAMIC_DISPATCH(find_lanes)(values.data(), values.size(), least, picks, room);
}

}  // namespace gossamer
#endif
