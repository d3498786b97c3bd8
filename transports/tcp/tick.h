// Ticks of the kernel's coarse clock (1 to 10 ms), which costs less to read than a system call.
#pragma once

#include <cstdint>
#include <ctime>
#include <utility>

namespace gossamer::tcp {

class Tick {
 public:
  // Whether the clock has moved since the last call.
  bool passed() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    const int64_t tick = int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
    return std::exchange(last_, tick) != tick;
  }

 private:
  int64_t last_ = 0;
};

}  // namespace gossamer::tcp
