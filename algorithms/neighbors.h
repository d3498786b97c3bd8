// What the neighbor algorithms share.
//
// Threads    Pure.

#pragma once

#include "gossamer/mixing.h"
#include "gossamer/schedule.h"

namespace gossamer {

inline bool has_mixing(const Shape& shape) {
  return shape.mixing != nullptr && shape.mixing->size() == shape.size;
}

// The input to every target, from the next rank upwards, so that ranks begin with different peers.
inline void send_to_targets(const Shape& shape, Builder& b) {
  const std::span<const Rank> targets = shape.mixing->targets(shape.rank);
  size_t ahead = 0;
  while (ahead < targets.size() && targets[ahead] < shape.rank) ++ahead;
  for (size_t k = 0; k < targets.size(); ++k) {
    b.send(targets[(ahead + k) % targets.size()], input_of(shape.whole()));
  }
}

}  // namespace gossamer
