// Runs that are worked on part by part, in the cache, where the codec says that codes of parts are
// the code of the whole.
//
// Threads    Pure.
// Units      Counts are elements.

#pragma once

#include <cstdint>

#include "gossamer/codec.h"

namespace gossamer {

// Of a run of `count`: so many are encoded or decoded at a time, all of them where there are no
// parts. Values, residuals and code of a part stay in the first-level cache.
inline uint64_t part_count_of(const Codec& codec, uint64_t count) {
  constexpr uint64_t kPartMax = 1 << 13;
  if (!codec.traits().joins || count <= kPartMax) return count;
  const uint64_t block = codec.block();
  return block > kPartMax ? block : kPartMax / block * block;
}

}  // namespace gossamer
