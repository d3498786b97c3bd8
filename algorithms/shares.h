// Runs of an all-gather's shares as slices: one where they touch, else one per share.

#pragma once

#include <algorithm>

#include "gossamer/schedule.h"

namespace gossamer {

// Calls use(slice) for the slices that shares [first, first + shares), wrapping, lie in: the same
// slices on every rank that names the same shares.
template <class Use>
void for_each_share_run(const Shape& shape, Rank first, Rank shares, Use use) {
  if (!shape.shares_touch()) {
    for (Rank i = 0; i < shares; ++i) use(shape.share(first + i));
    return;
  }
  const Rank begin = shape.wrap(first);
  const Rank head = std::min(shares, shape.size - begin);
  const Slice one = shape.share(begin);
  use({one.buffer, one.first, shape.count * static_cast<uint64_t>(head)});
  if (shares > head) {
    use({one.buffer, 0, shape.count * static_cast<uint64_t>(shares - head)});
  }
}

}  // namespace gossamer
