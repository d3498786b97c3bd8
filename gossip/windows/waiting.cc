// Calls that wait for what the serving thread brings, counters, and why a wait has ended.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "gossip/windows/window_impl.h"

namespace gossamer {

Status Window::Impl::timed_out(Rank awaited, const std::string& what,
                               std::chrono::nanoseconds timeout) const {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  return Status::error(
      Code::kTimeout,
      fmt::format("window {}: rank {} {} within {} ms; it is stopped, slow, or the window's ranks "
                  "are closing up without one that died; Options::timeout sets the limit",
                  shape.name, awaited, what, ms),
      awaited);
}

Status Window::Impl::gone(Rank r) const {
  return Status::error(
      Code::kPeerLost,
      fmt::format("window {}: rank {} is lost: {}", shape.name, r, peer(r).gone.message()), r);
}

Status Window::Impl::get(void* out, Rank from, uint64_t* version) {
  if (out == nullptr) return invalid("the output buffer is null");
  if (Status sound = check_other(from, "source"); !sound) return sound;
  std::unique_lock lock(mutex_);
  const auto start = Clock::now();
  WindowPeer& other = peer(from);
  const auto over = [&] { return !failure_ || !other.gone; };
  const auto why = [&] {
    if (!other.gone) return gone(from);
    return !failure_ ? failure_ : timed_out(from, "has not answered a get()", shape.timeout);
  };
  // What an earlier call has asked for may be older than this one.
  if (!sleep(&lock, shape.timeout, [&] { return over() || !other.asked; }) || over()) return why();
  other.asked = true;
  other.unclaimed = false;
  const uint64_t number = ++other.asks;
  ask(from);
  const bool came = sleep(&lock, shape.timeout - (Clock::now() - start),
                          [&] { return over() || other.answered >= number; });
  if (other.answered < number) {
    other.unclaimed = true;
    return came ? why() : timed_out(from, "has not answered a get()", shape.timeout);
  }
  std::memcpy(out, other.got.data(), bytes);
  if (version != nullptr) *version = other.got_version;
  other.asked = false;
  changed_.notify_all();
  return Status::ok();
}

void Window::Impl::ask(Rank r) {
  WindowPeer& other = peer(r);
  other.question = {WindowPacketKind::kGet, 0, other.asks, 0};
  other.sends_question = start_packet(r, other.question);
}

Status Window::Impl::wait_versions(const Graph& graph, uint64_t round, uint64_t at_least) {
  if (Status sound = check_graph_size(graph); !sound) return sound;
  return wait_versions(graph.mixing(round)->sources(rank), at_least, shape.timeout);
}

Status Window::Impl::wait_versions(std::span<const Rank> sources, uint64_t at_least,
                                   std::chrono::nanoseconds timeout) {
  for (const Rank source : sources) {
    if (Status sound = check_other(source, "source"); !sound) return sound;
  }
  std::unique_lock lock(mutex_);
  // The one furthest behind; a lost one that is behind comes first. -1: none is.
  const auto laggard = [&] {
    Rank worst = -1;
    for (const Rank source : sources) {
      const WindowPeer& from = peer(source);
      if (from.version >= at_least) continue;
      if (!from.gone) return source;
      if (worst < 0 || from.version < peer(worst).version) worst = source;
    }
    return worst;
  };
  const auto over = [&] {
    const Rank behind = laggard();
    return behind < 0 || !failure_ || !peer(behind).gone;
  };
  (void)sleep(&lock, timeout, over);
  const Rank behind = laggard();
  if (behind < 0) return Status::ok();
  if (!peer(behind).gone) return gone(behind);
  if (!failure_) return failure_;
  return timed_out(behind,
                   fmt::format("has put version {} and not {}", peer(behind).version, at_least),
                   timeout);
}

uint64_t Window::Impl::clock() const {
  const std::lock_guard lock(mutex_);
  return clock_;
}

uint64_t Window::Impl::version(Rank source) const {
  if (source < 0 || source >= size) return 0;
  const std::lock_guard lock(mutex_);
  return peer(source).version;
}

std::vector<Rank> Window::Impl::lost() const {
  const std::lock_guard lock(mutex_);
  std::vector<Rank> all;
  for (Rank r = 0; r < size; ++r) {
    if (!peer(r).gone) all.push_back(r);
  }
  return all;
}

Status Window::Impl::status() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

}  // namespace gossamer
