// What tells a communicator of ranks that are gone or hang although their connections say nothing:
// a process that is stopped, a host that vanished, a rank that waits for something else. This file
// is all that a communicator knows of it; gossip/membership implements it.
//
// Threads    on_event is called on a thread of the watch's own, and must not destroy it. The rest
//            may be called from any thread.
// Ownership  Destroyed, it takes leave of the others: they do not take this rank for dead.
// Blocking   meet(); the destructor, for kFarewell at most.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/status.h"
#include "gossamer/types.h"
#include "src/exchange.h"
#include "src/net.h"

namespace gossamer {

enum class WatchEvent : uint8_t {
  kDead,    // it does not answer; of this rank: the others have taken it for dead
  kStuck,   // it answers, but finishes nothing while others do
  kMoving,  // no longer stuck
};

struct WatchConfig {
  Rank rank = 0;
  Rank size = 1;
  std::array<std::byte, 32> key{};  // the group's
  uint64_t session = 0;
  SocketAddress address;  // of this rank; the port does not matter
  std::string port_range;
  std::chrono::milliseconds interval{1'000};        // one rank is probed in each
  std::chrono::milliseconds stuck_after{30'000};    // without an operation finished
  const std::atomic<uint64_t>* finished = nullptr;  // operations of this rank; outlives the watch
  std::function<void(Rank, WatchEvent)> on_event;
};

class Watch {
 public:
  static constexpr std::chrono::milliseconds kFarewell{100};

  virtual ~Watch() = default;
  // What the other ranks need to know of this one, one line.
  virtual std::string card() const = 0;
  // Finds the others, whose cards in rank order these are. All ranks call it; when it returns, each
  // is watched by all. Ends with an exchange.
  //   kTimeout, kMismatch  naming a rank that cannot be reached, or sent no card
  virtual Status meet(std::span<const std::string> cards, Exchange* exchange,
                      std::chrono::milliseconds timeout) = 0;
  // Ascending.
  virtual std::vector<Rank> stuck() const = 0;
};

// Defined in gossip/membership.
//   kSystem  no free port, descriptor or thread
Result<std::unique_ptr<Watch>> start_watch(const WatchConfig& config);

}  // namespace gossamer
