// Machines on which the cost model has closed forms.

#pragma once

#include "src/price.h"

namespace gossamer {

inline constexpr double kAlpha = 20;    // us
inline constexpr double kBeta = 8e-3;   // us per byte
inline constexpr double kGamma = 1e-4;  // us per byte

// One rank per host; nothing costs but latency, the wire and folding.
inline Machine one_rank_per_host(Rank size) {
  Machine m;
  for (Rank r = 0; r < size; ++r) m.host_of.push_back(r);
  m.fold_us_per_byte = kGamma;
  m.step_us = 0;
  m.other_host = {.latency_us = kAlpha, .overhead_us = 0, .wire_us_per_byte = kBeta};
  return m;
}

}  // namespace gossamer
