// A file descriptor with an owner, and waiting on several with a deadline.
//
// Threads    one thread per object.

#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <span>
#include <utility>

namespace gossamer {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }

 private:
  int fd_ = -1;
};

class Deadline {
 public:
  explicit Deadline(std::chrono::milliseconds from_now)
      : at_(std::chrono::steady_clock::now() + from_now) {}

  bool expired() const { return std::chrono::steady_clock::now() >= at_; }
  // Rounded up, so that a wait of this length does not end just before the deadline; 0 once over.
  std::chrono::milliseconds remaining() const {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now());
    return std::max(left, std::chrono::milliseconds(0));
  }
  // NOLINTNEXTLINE(modernize-use-nullptr): a false alarm about the comparison it generates
  friend auto operator<=>(const Deadline&, const Deadline&) = default;

 private:
  std::chrono::steady_clock::time_point at_;
};

enum class Waited { kReady, kTimeout, kAborted };

// Waits until one of `fds` is ready (see its revents), the deadline is over, or *aborted is true,
// which is noticed within 20 ms. `aborted` may be null. A negative fd is ignored.
inline Waited wait_for(std::span<pollfd> fds, const Deadline& deadline,
                       const std::atomic<bool>* aborted) {
  constexpr std::chrono::milliseconds kAbortSlice{20};
  constexpr std::chrono::milliseconds kSlice{60'000};
  for (;;) {
    if (aborted != nullptr && aborted->load(std::memory_order_acquire)) {
      return Waited::kAborted;
    }
    const auto slice = std::min(deadline.remaining(), aborted != nullptr ? kAbortSlice : kSlice);
    const int ready =
        ::poll(fds.data(), static_cast<nfds_t>(fds.size()), static_cast<int>(slice.count()));
    if (ready > 0) {
      return Waited::kReady;
    }
    if (ready == 0 && deadline.expired()) {
      return Waited::kTimeout;
    }
  }
}

}  // namespace gossamer
