// How a driver waits: spin briefly, then yield, then sleep.
//
// Waking a sleeping thread costs tens of microseconds, so nothing sleeps that may be needed within
// that time. With more ranks than cores the one waited for may need this core: yield at once.
//
// Threads    The driving thread.

#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <span>

#include "gossamer/transport.h"

namespace gossamer {

// Another look that a driver takes just before it sleeps, for what transports do not tell it: while
// `asleep` is set, whoever brings something makes the sleep_fd readable.
struct LastLook {
  std::atomic<bool>* asleep;
  bool (*found)(void* context);  // true: do not sleep
  void* context;
};

class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  // `sleep_fd` polls readable when a transport (armed) or someone else wants attention.
  // `limits` says how long to spin and to stay awake.
  Patience(const Limits& limits, int sleep_fd,
           std::span<const std::unique_ptr<Transport>> transports, std::chrono::nanoseconds timeout,
           const LastLook* last_look = nullptr)
      : spins_(limits.spins),
        awake_(limits.awake),
        sleep_fd_(sleep_fd),
        transports_(transports),
        timeout_(timeout),
        last_look_(last_look) {}

  void progressed() { idle_ = 0; }

  // Called after a fruitless look. False: the deadline has passed.
  bool idle() {
    if (++idle_ < spins_) {
      pause();
      return true;
    }
    return yield_or_sleep();
  }
  // Whether it has slept since the last time this was asked.
  bool napped() { return napped_ && !(napped_ = false); }
  // The time, if the clock was read since the last time this was asked.
  bool timed(Clock::time_point* now) {
    *now = now_;
    return timed_ && !(timed_ = false);
  }
  // How often it has slept and woken.
  uint64_t sleeps() const { return sleeps_; }

 private:
  static constexpr uint32_t kYieldsPerClock = 16;
  static constexpr auto kNapMax = std::chrono::milliseconds(100);

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  bool yield_or_sleep();
  void sleep(std::chrono::nanoseconds longest);
  void wait(std::chrono::nanoseconds longest);

  uint32_t spins_;
  std::chrono::microseconds awake_;
  int sleep_fd_;
  std::span<const std::unique_ptr<Transport>> transports_;
  std::chrono::nanoseconds timeout_;
  const LastLook* last_look_;
  uint32_t idle_ = 0;
  uint32_t yields_ = 0;
  bool napped_ = false;
  bool timed_ = false;
  Clock::time_point now_{};
  uint64_t sleeps_ = 0;
  Clock::time_point deadline_{};    // set at the first look at the clock
  Clock::time_point idle_since_{};  // {}: progress since the last look at the clock
};

}  // namespace gossamer
