#include "src/patience.h"

#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>

namespace gossamer {

bool Patience::yield_or_sleep() {
  if (idle_ <= spins_ + 1) idle_since_ = {};  // first time since progress
  idle_ = std::max(idle_, spins_ + 1) + 1;
  sched_yield();
  if (++yields_ % kYieldsPerClock != 0) return true;
  const auto now = Clock::now();
  now_ = now;
  timed_ = true;
  if (deadline_ == Clock::time_point{}) deadline_ = now + timeout_;
  if (now >= deadline_) return false;
  if (idle_since_ == Clock::time_point{}) idle_since_ = now;
  if (now - idle_since_ >= awake_)
    sleep(std::min<std::chrono::nanoseconds>(kNapMax, deadline_ - now));
  return true;
}

void Patience::sleep(std::chrono::nanoseconds longest) {
  yields_ = kYieldsPerClock - 1;  // look at the clock on waking
  napped_ = true;
  if (last_look_ != nullptr) {
    last_look_->asleep->store(true);
    if (last_look_->found(last_look_->context)) {
      last_look_->asleep->store(false);
      return;
    }
  }
  bool armed = true;
  for (const auto& transport : transports_) armed = armed && transport->arm();
  if (armed) wait(longest);
  if (last_look_ != nullptr) last_look_->asleep->store(false);
}

void Patience::wait(std::chrono::nanoseconds longest) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(longest).count();
  epoll_event event{};
  epoll_wait(sleep_fd_, &event, 1, static_cast<int>(ms));
  ++sleeps_;
}

}  // namespace gossamer
