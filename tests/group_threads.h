// Ranks as threads of one test, each with a communicator of its own.
//
// Threads    run_group() starts one per rank and joins them all.

#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/process_ranks.h"

namespace gossamer {

using RankBody = std::function<void(Communicator& comm)>;

// Joins `size` ranks, with options that `adjust` may change, and runs `body` on each.
inline void run_group(Rank size, const std::string& transport, const RankBody& body,
                      milliseconds timeout = milliseconds(15'000),
                      const std::function<void(Communicator::Options&)>& adjust = nullptr) {
  const TemporaryFolder folder;
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Communicator::Options options =
          options_of(rank, size, folder.place("id"), transport, timeout);
      if (adjust) adjust(options);
      auto comm = Communicator::create(options);
      ASSERT_TRUE(comm) << "rank " << rank << ": " << comm.status().message();
      body(**comm);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Waits for all ranks of a group, so that none leaves before the others have seen what they should.
class Gate {
 public:
  explicit Gate(Rank size) : missing_(size) {}
  void arrive_and_wait() {
    --missing_;
    while (missing_.load() > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

 private:
  std::atomic<int> missing_;
};

}  // namespace gossamer
