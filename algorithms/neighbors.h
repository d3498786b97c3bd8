// What the neighbor algorithms share.
//
// Threads    Pure.

#pragma once

#include <algorithm>
#include <vector>

#include "gossamer/mixing.h"
#include "gossamer/schedule.h"

namespace gossamer {

inline bool has_mixing(const Shape& shape) {
  return shape.mixing != nullptr && shape.mixing->size() == shape.size;
}

// From the next rank upwards, so that ranks begin with different peers.
inline std::vector<Rank> targets_in_turn(const Shape& shape) {
  const std::span<const Rank> targets = shape.mixing->targets(shape.rank);
  std::vector<Rank> in_turn(targets.begin(), targets.end());
  const auto ahead = std::find_if(in_turn.begin(), in_turn.end(),
                                  [&](Rank target) { return target >= shape.rank; });
  std::rotate(in_turn.begin(), ahead, in_turn.end());
  return in_turn;
}

// The input to every target.
inline void send_to_targets(const Shape& shape, Builder& b) {
  for (const Rank target : targets_in_turn(shape)) b.send(target, input_of(shape.whole()));
}

}  // namespace gossamer
