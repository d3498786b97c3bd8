// Edges from overlaps: which steps of one rank must wait for which.
//
// A step waits for the last writer of what it reads, and for the readers since (or else the last
// writer) of what it writes. Buffer::kInput is never written and causes no edge.
//
// Threads    Pure.

#pragma once

#include "gossamer/schedule.h"

namespace gossamer {

// Fills waits, dependents_begin and dependents of `schedule` from its steps.
void derive_edges(Schedule* schedule);

}  // namespace gossamer
