// A plan is a schedule bound to a shape: cut into pieces, edges derived, scratch sized.
//
// Threads    Built by the driving thread; immutable afterwards.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gossamer/schedule.h"
#include "src/price.h"

namespace gossamer {

// Runs `algorithm` on `pieces` disjoint ranges of the call, skewed by round so that piece i runs
// round t - i at time t; piece i uses lane i % lanes. Identical decisions on every rank.
Schedule build_schedule(const Algorithm& algorithm, const Call& call, Rank rank, Rank size,
                        std::span<const Rank> hosts, uint32_t pieces, uint8_t lanes);

// Whether the call accumulates in fp32 (narrow float, an operation that rounds, an algorithm that
// can).
bool accumulates_wide(const Algorithm& algorithm, const Call& call);

}  // namespace gossamer
