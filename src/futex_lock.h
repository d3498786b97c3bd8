// A lock whose uncontended path is one exchange each way; waiters sleep.
//
// Threads    Any. Not recursive, not fair. Sequentially consistent (the same instructions on x86):
//            who fails to lock after a store, and who looks for it after unlocking, cannot both
//            miss the other.

#pragma once

#include <atomic>
#include <cstdint>

namespace gossamer {

class FutexLock {
 public:
  bool try_lock() {
    uint32_t expected = kFree;
    return state_.compare_exchange_strong(expected, kHeld);
  }
  void lock() {
    if (try_lock()) return;
    while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
      state_.wait(kContended, std::memory_order_relaxed);
    }
  }
  bool held() const { return state_.load() != kFree; }
  void unlock() {
    if (state_.exchange(kFree) == kContended) state_.notify_one();
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;
  std::atomic<uint32_t> state_{kFree};
};

}  // namespace gossamer
