// The rounds of coded_two_shot.cc, which coded_hierarchical.cc runs between hosts.
//
// Threads    Pure.

#pragma once

#include "gossamer/schedule.h"

namespace gossamer {

inline constexpr int kCodedTwoShotRounds = 2;
void emit_coded_two_shot(const Shape& shape, int round, Builder& b);

}  // namespace gossamer
