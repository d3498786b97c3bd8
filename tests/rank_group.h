// A group of communicators, one per rank, each called by a thread of its own.
//
// Threads    each() runs one thread per rank and joins them; nothing else runs in between.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

// One thread per rank; returns when all have returned.
inline void on_threads(Rank size, const std::function<void(Rank)>& body) {
  std::vector<std::thread> threads;
  for (Rank r = 0; r < size; ++r) threads.emplace_back([&body, r] { body(r); });
  for (std::thread& thread : threads) thread.join();
}

class RankGroup {
 public:
  explicit RankGroup(Rank size, const std::string& transport = "loopback",
                     const std::string& algorithm = "",
                     std::chrono::milliseconds timeout = std::chrono::seconds(60))
      : seats_(static_cast<size_t>(size)) {
    setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
    Result<UniqueId> id = UniqueId::create();
    EXPECT_TRUE(id.is_ok()) << id.status().to_string();
    if (!id) return;
    on_threads(size, [&](Rank r) {
      Communicator::Options options;
      options.rank = r;
      options.size = size;
      options.id = &*id;
      options.transport = transport;
      options.algorithm = algorithm;
      options.timeout = timeout;
      Result<std::unique_ptr<Communicator>> made = Communicator::create(options);
      EXPECT_TRUE(made.is_ok()) << "rank " << r << ": " << made.status().to_string();
      if (made) seats_[static_cast<size_t>(r)] = std::move(made).value();
    });
  }

  bool complete() const {
    for (const auto& seat : seats_) {
      if (!seat) return false;
    }
    return true;
  }
  Rank size() const { return static_cast<Rank>(seats_.size()); }
  Communicator& operator[](Rank r) { return *seats_[static_cast<size_t>(r)]; }
  void leave(Rank r) { seats_[static_cast<size_t>(r)].reset(); }

  void each(const std::function<void(Communicator&)>& body) {
    if (!complete()) return;
    on_threads(size(), [&](Rank r) { body((*this)[r]); });
  }

 private:
  std::vector<std::unique_ptr<Communicator>> seats_;
};

}  // namespace gossamer
