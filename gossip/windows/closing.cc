// How a window ends: together, by free(), or alone.

#include <fmt/format.h>

#include <algorithm>

#include "gossip/windows/window_impl.h"

namespace gossamer {

void Window::Impl::notify(Rank r, WindowPacketKind kind) {
  WindowPeer& other = peer(r);
  other.sends_notice = Work();
  other.notice = {kind, 0, 0, 0};
  other.sends_notice = start_packet(r, other.notice);
}

Status Window::Impl::free() {
  Status flushed = flush();
  if (!flushed && flushed.code() != Code::kPeerLost) return flushed;
  std::unique_lock lock(mutex_);
  if (!std::exchange(done_, true)) {
    for (Rank r = 0; r < size; ++r) {
      if (r != rank && peer(r).gone) notify(r, WindowPacketKind::kDone);
    }
  }
  const auto awaited = [this] {
    for (Rank r = 0; r < size; ++r) {
      if (r != rank && peer(r).gone && !peer(r).done) return r;
    }
    return -1;
  };
  (void)sleep(&lock, shape.timeout, [&] { return !failure_ || awaited() < 0; });
  if (awaited() < 0) return flushed;
  if (!failure_) return failure_;
  return timed_out(awaited(), "has not called free()", shape.timeout);
}

void Window::Impl::close() {
  const auto end = Clock::now() + std::min<Clock::duration>(shape.timeout, kForever);
  const auto left = [end] { return std::max(end - Clock::now(), Clock::duration::zero()); };
  bool told = flush().code() != Code::kTimeout;
  {
    const std::lock_guard lock(mutex_);
    for (Rank r = 0; r < size; ++r) {
      if (r != rank && peer(r).gone && !peer(r).done) notify(r, WindowPacketKind::kLeave);
    }
    stop_.kind = WindowPacketKind::kStop;
    stopping_.store(true);
    sends_stop_ = start_packet(rank, stop_);
  }
  thread_.join();
  const std::lock_guard lock(mutex_);
  // What a stopped process does not take would be waited for as long as the communicator lives:
  // this ends it, and the others go on without this rank as after a death.
  for (WindowPeer& other : peers_) {
    other.each_work([&](Work& work) {
      if (told && &work != &other.receive && work.wait(left()).code() == Code::kTimeout)
        told = false;
    });
    if (other.arriving.kind != WindowPacketKind::kNone) told = false;
  }
  if (!told) comm_->abort();
  for (WindowPeer& other : peers_) {
    other.each_work([](Work& work) { work = Work(); });
  }
  sends_stop_ = Work();
  comm_.reset();
  first_.reset();
}

}  // namespace gossamer
