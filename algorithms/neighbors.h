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

inline bool has_codec_and_mixing(const Shape& shape) {
  return has_codec(shape) && has_mixing(shape);
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

// The input's code, number 0, to every target; where there is none, nothing is encoded.
inline void send_code_to_targets(const Shape& shape, Builder& b) {
  const std::vector<Rank> targets = targets_in_turn(shape);
  if (targets.empty()) return;
  const Slice whole = shape.whole();
  const Slice code = b.code(shape.count, 0);
  b.encode(input_of(whole), code, whole, Builder::Residual::kOfElements);
  for (const Rank target : targets) b.send(target, code);
}

}  // namespace gossamer
