// How long a member stays under suspicion: the longer, the fewer agree.
//
//   Source     A. Dadgar, J. Phillips, J. Currey, "Lifeguard: local health awareness for more
//              accurate failure detection", DSN workshops 2018
//   Rule       with C of K wanted confirmations: max - (max - min) log(C + 1) / log(K + 1), where
//              min = max(4, a log10 n) probe intervals and max = b min. A lone accuser may itself
//              be the slow one; K + 1 accusers hardly are.
//   Threads    pure functions.

#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>

namespace gossamer::swim {

using Duration = std::chrono::microseconds;
using Instant = std::chrono::microseconds;  // since any fixed moment

// A product, rounded; factors here are far from where that could overflow.
inline Duration scaled(Duration d, double factor) {
  return Duration(std::llround(static_cast<double>(d.count()) * factor));
}

inline Duration least_suspicion(Duration probe_interval, double factor, size_t members) {
  const double n = static_cast<double>(std::max<size_t>(members, 1));
  return scaled(probe_interval, std::max(4.0, factor * std::log10(n)));
}

inline Duration suspicion_timeout(int confirmations, int wanted, Duration least, Duration most) {
  if (wanted < 1 || confirmations >= wanted) return least;
  return most - scaled(most - least, std::log(confirmations + 1.0) / std::log(wanted + 1.0));
}

// Sendings of one rumour by each member; log10 as in least_suspicion().
inline int retransmissions(double factor, size_t members) {
  return static_cast<int>(std::ceil(factor * std::log10(static_cast<double>(members) + 1.0)));
}

}  // namespace gossamer::swim
