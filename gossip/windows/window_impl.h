// A window's inside: the state of every peer, and a thread that answers for this rank.
//
// Threads    Callers change state and start messages with mutex_ held, and never wait for a
//            message; they sleep on changed_. The serving thread alone receives, and alone replaces
//            comm_.
// Blocking   The serving thread sleeps in recv_any(), which has a deadline of its own (kForever).

#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/gossip_window.h"
#include "gossip/windows/peer.h"

namespace gossamer {

class Window::Impl {
 public:
  using Clock = std::chrono::steady_clock;
  struct Shape {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;
    std::string name;
    std::chrono::milliseconds timeout{0};
  };

  Impl(Shape shape, Rank rank, Rank size, const void* data);
  ~Impl();  // close() comes first

  // Takes a communicator that nothing else uses, and begins to serve.
  void begin(std::unique_ptr<Communicator> comm);
  void close();  // closing.cc

  // putting.cc
  Status put(const void* value, std::span<const Weight> targets, WindowPacketKind kind);
  Result<std::vector<Weight>> targets_of(const Graph& graph, uint64_t round, double weight,
                                         bool weighed) const;
  Status flush();
  // mixing.cc
  Status set(const void* value);
  Status value(void* out) const;
  Status mix(void* out, double self_weight, std::span<const Weight> sources, bool collects);
  Status mix(void* out, const Graph& graph, uint64_t round);
  // waiting.cc
  Status get(void* out, Rank from, uint64_t* version);
  Status wait_versions(std::span<const Rank> sources, uint64_t at_least,
                       std::chrono::nanoseconds timeout);
  Status wait_versions(const Graph& graph, uint64_t round, uint64_t at_least);
  uint64_t clock() const;
  uint64_t version(Rank source) const;
  std::vector<Rank> lost() const;
  Status status() const;
  // closing.cc
  Status free();

  // constant
  const Shape shape;
  const uint64_t bytes;
  const Rank rank;
  const Rank size;
  // A forked child has no serving thread, and a mutex that may be held for ever.
  const pid_t process = getpid();

 private:
  // How long the serving thread may hear nothing. Less than 2^31 ms, whatever reads it.
  static constexpr std::chrono::hours kForever{20 * 24};
  friend class Window;

  Status invalid(const std::string& what) const;
  Status check_other(Rank other, const char* what) const;
  Status check_graph_size(const Graph& graph) const;
  WindowPeer& peer(Rank r) { return peers_[static_cast<size_t>(r)]; }
  const WindowPeer& peer(Rank r) const { return peers_[static_cast<size_t>(r)]; }

  // With mutex_ held:
  // Until `ready`, or this window or its deadline ends: then why, with `what` nobody did.
  template <class Ready>
  bool sleep(std::unique_lock<std::mutex>* lock, std::chrono::nanoseconds timeout,
             const Ready& ready);
  Status timed_out(Rank awaited, const std::string& what, std::chrono::nanoseconds timeout) const;
  Status gone(Rank r) const;
  void add_to_waiting(WindowPeer* to, const std::byte* value, double weight, WindowPacketKind kind);
  void pump(Rank r);
  void transmit(Rank r, WindowParcel* parcel);
  void ask(Rank r);
  void greet(Rank r);
  void notify(Rank r, WindowPacketKind kind);
  Work start_packet(Rank r, const WindowPacket& packet);

  // serving.cc: the serving thread
  void serve();
  Status take(Rank from, const WindowPacket& packet);
  Status expect_value(Rank from, const WindowPacket& packet);
  Status take_value(Rank from);
  void apply(Rank from);
  void reply(Rank from, uint64_t number);
  void lose(Rank r, const std::string& why);
  void fail(const Status& why);

  // healing.cc: the serving thread
  struct Healed;
  bool heal(const Status& why);
  Result<Healed> close_up(const Status& why);
  void go_on(Healed healed);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  // guarded by mutex_; comm_, ranks_ and places_ are changed by the serving thread alone
  std::unique_ptr<Communicator> comm_;
  std::unique_ptr<Communicator> first_;  // once comm_ is another: where the living find each other
  std::vector<Rank> ranks_;              // by rank in comm_: the rank here
  std::vector<Rank> places_;             // by rank here: that in comm_, or -1
  bool whole_ = true;                    // comm_ is not known to have failed
  bool done_ = false;                    // this rank has called free()
  Status failure_;
  std::vector<std::byte> own_;
  uint64_t own_version_ = 0;
  uint64_t clock_ = 0;
  std::vector<WindowPeer> peers_;  // by rank here
  std::vector<std::byte> wide_;    // of narrow floats: where they are mixed
  WindowPacket stop_;
  Work sends_stop_;
};

template <class Ready>
bool Window::Impl::sleep(std::unique_lock<std::mutex>* lock, std::chrono::nanoseconds timeout,
                         const Ready& ready) {
  // More than the clock can add to now would count as past.
  const auto longest = std::min<std::chrono::nanoseconds>(timeout, kForever);
  const auto end = Clock::now() + longest;
  return changed_.wait_until(*lock, end, ready);
}

}  // namespace gossamer
