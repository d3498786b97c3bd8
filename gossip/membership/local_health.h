// How well this member keeps up itself: 0 is well; every level makes it probe more slowly and wait
// longer for answers, so that a slow member does not take the healthy ones for dead.
//
//   Source     Dadgar, Phillips, Currey 2018 (see suspicion.h), "local health multiplier"
//   Threads    one thread per object.

#pragma once

#include <algorithm>

namespace gossamer::swim {

class LocalHealth {
 public:
  explicit LocalHealth(int highest) : highest_(highest) {}

  // -1 for an answered probe; +1 for one that neither the target nor all helpers answered, for a
  // suspicion against ourselves, and for waking up late.
  void change(int by) { level_ = std::clamp(level_ + by, 0, highest_); }
  int level() const { return level_; }
  int multiplier() const { return level_ + 1; }

 private:
  const int highest_;
  int level_ = 0;
};

}  // namespace gossamer::swim
