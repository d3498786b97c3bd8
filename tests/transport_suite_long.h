// The cases of transport_suite.h that use threads, time, much memory or many transports.

#pragma once

#include <sys/resource.h>

#include <atomic>
#include <fstream>

#include "tests/transport_suite.h"

namespace gossamer::suite {

// Resident memory of this process.
inline uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST_P(TransportSuite, CarriesAHugeMessage) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const uint64_t bytes = GetParam().huge_bytes;
  ASSERT_GE(ranks[0].limits().message_bytes_max, bytes);
  const auto sent = pattern(bytes, 1);
  std::vector<std::byte> got(bytes);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  (void)ranks.send(0, 1, 0, message_of(sent), 1);
  ranks.drive([&] { return ranks.has(1, 1) && ranks.has(0, 1); });
  EXPECT_TRUE(got == sent);

  Fold fold(bytes, 2);
  (void)ranks.send(1, 0, 0, message_of(sent), 2);
  (void)ranks.recv(0, 1, 0, fold.sink(8), 2);
  ranks.drive([&] { return ranks.has(0, 2) && ranks.has(1, 2); });
  EXPECT_TRUE(fold.in_order && fold.whole_granules && fold.holds(sent));
}

// One rank of a thread that exchanges messages with its neighbours in both directions.
inline void exchange(Transport* self, Rank rank, Rank size, uint32_t rounds, bool sleeps,
                     std::atomic<int>* failures) {
  Fault fault;
  const Rank next = (rank + 1) % size;
  const Rank prev = (rank + size - 1) % size;
  std::vector<Token> done;
  const auto fail = [&] {
    if (fault.code == Code::kOk) fault.set(Code::kTimeout, -1, "did not finish in time");
    std::fprintf(stderr, "rank %d: %s\n", rank, fault.text.data());
    failures->fetch_add(1);
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto poll_once = [&] {
    if (self->poll(&done, &fault) != Code::kOk) return false;
    if (done.empty() && !sleeps) std::this_thread::yield();  // there may be fewer cores than ranks
    if (done.empty() && sleeps && self->arm()) {
      pollfd waiting{self->wait_fd(), POLLIN, 0};
      (void)::poll(&waiting, 1, 100);
    }
    return std::chrono::steady_clock::now() < end;
  };
  for (const Rank peer : {next, prev}) {
    Code code = Code::kAgain;
    while ((code = self->open(peer, &fault)) == Code::kAgain) {
      if (!poll_once()) return fail();
    }
    if (code != Code::kOk) return fail();
  }
  for (uint32_t round = 0; round < rounds; ++round) {
    const uint64_t bytes = round % 50 == 49 ? 300000 : 8 + round % 100 * 8;
    const auto right = pattern(bytes, static_cast<uint64_t>(rank) * 2 + round * 100);
    const auto left = pattern(bytes, static_cast<uint64_t>(rank) * 2 + 1 + round * 100);
    std::vector<std::byte> from_prev(bytes);
    Fold from_next(bytes, round);
    int open = 4;
    done.clear();
    const auto count = [&](Code code) {
      if (code == Code::kOk) --open;
      return code == Code::kOk || code == Code::kPending;
    };
    // With two ranks both neighbours are one peer: right-going messages are first on both sides.
    bool fine = count(self->send(next, 0, message_of(right, round * 2), 1, &fault));
    fine = fine && count(self->send(prev, 0, message_of(left, round * 2 + 1), 2, &fault));
    fine = fine && count(self->recv(prev, 0, sink_of(from_prev, round * 2), 3, &fault));
    fine = fine && count(self->recv(next, 0, from_next.sink(8, round * 2 + 1), 4, &fault));
    if (!fine) return fail();
    while (open > 0) {
      done.clear();
      if (!poll_once()) return fail();
      open -= static_cast<int>(done.size());
    }
    if (from_prev != pattern(bytes, static_cast<uint64_t>(prev) * 2 + round * 100) ||
        !from_next.holds(pattern(bytes, static_cast<uint64_t>(next) * 2 + 1 + round * 100))) {
      fault.set(Code::kMismatch, -1, "wrong bytes in round %u", round);
      return fail();
    }
  }
}

inline void run_threads(Ranks& ranks, uint32_t rounds, bool sleeps) {
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (Rank r = 0; r < ranks.size(); ++r) {
    threads.emplace_back(exchange, &ranks[r], r, ranks.size(), rounds, sleeps, &failures);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
}

TEST_P(TransportSuite, ThreadsExchangeManySmallMessagesBothWays) {
  if (!GetParam().threads) GTEST_SKIP() << "single-threaded by design";
  for (const Rank size : {2, 4}) {
    Ranks ranks = make(size);
    run_threads(ranks, 300, false);
  }
}

TEST_P(TransportSuite, ThreadsSleepWhileTheyWait) {
  if (!GetParam().threads || !GetParam().sleeps) GTEST_SKIP() << "has nothing to sleep on";
  for (const Rank size : {2, 3}) {
    Ranks ranks = make(size);
    run_threads(ranks, 300, true);
  }
}

TEST_P(TransportSuite, ASleepingReceiverIsWoken) {
  if (!GetParam().threads || !GetParam().sleeps) GTEST_SKIP() << "has nothing to sleep on";
  Ranks ranks = make(2);
  ranks.open(0, 1);
  std::vector<std::byte> got(64);
  const auto sent = pattern(64, 1);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  ranks.step();
  pollfd waiting{ranks[1].wait_fd(), POLLIN, 0};
  bool slept = false;
  // What opened the link may still arrive, and be answered by the other end.
  const auto quiet_by = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!slept && std::chrono::steady_clock::now() < quiet_by) {
    slept = ranks[1].arm() && ::poll(&waiting, 1, 50) == 0;
    if (!slept) ranks.step();
  }
  ASSERT_TRUE(slept) << "an idle transport must be willing to sleep, and nothing may wake it";
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (void)ranks.send(0, 1, 0, message_of(sent), 1);
    for (int i = 0; i < 100; ++i) {
      ranks.step(0);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const auto before = std::chrono::steady_clock::now();
  while (!ranks.has(1, 1) && std::chrono::steady_clock::now() < before + std::chrono::seconds(60)) {
    ranks.step(1);
    if (ranks.has(1, 1) || !ranks[1].arm()) continue;
    waiting.revents = 0;
    EXPECT_EQ(::poll(&waiting, 1, 20'000), 1) << "not woken";
  }
  sender.join();
  EXPECT_TRUE(ranks.has(1, 1));
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, ASleeperIsWokenByANoticeAndByLeaving) {
  if (!GetParam().threads || !GetParam().sleeps) GTEST_SKIP() << "has nothing to sleep on";
  for (const bool notice : {true, false}) {
    Ranks ranks = make(2);
    ranks.open(0, 1);
    std::vector<std::byte> got(64);
    (void)ranks.recv(1, 0, 0, sink_of(got), 1);
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      Fault fault;
      fault.set(Code::kAborted, 0, "over");
      if (notice) ranks[0].notify(fault);
      std::this_thread::sleep_for(std::chrono::milliseconds(notice ? 300 : 0));
      ranks.destroy(0);
    });
    const auto before = std::chrono::steady_clock::now();
    while (ranks.fault(1).code == Code::kOk &&
           std::chrono::steady_clock::now() < before + std::chrono::seconds(60)) {
      ranks.step(1);
      if (ranks.fault(1).code != Code::kOk || !ranks[1].arm()) continue;
      pollfd waiting{ranks[1].wait_fd(), POLLIN, 0};
      EXPECT_EQ(::poll(&waiting, 1, 20'000), 1) << "not woken";
    }
    other.join();
    EXPECT_EQ(ranks.fault(1).code, notice ? Code::kAborted : Code::kPeerLost);
  }
}

TEST_P(TransportSuite, ASlowReaderHoldsItsSenderBack) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(1 << 20, 1);
  const uint64_t before = resident_bytes();
  uint32_t accepted = 0;
  for (int round = 0; round < 2000; ++round) {  // nobody receives
    if (ranks.send(0, 1, 0, message_of(sent, accepted), accepted) != Code::kAgain) ++accepted;
    ranks.step();
  }
  EXPECT_LE(accepted, ranks[0].limits().window + 64u) << "accepts without end";
  EXPECT_LT(resident_bytes(), before + (128u << 20)) << "buffers without end";
  std::vector<std::byte> got(1 << 20);
  for (uint32_t i = 0; i < accepted; ++i) {
    std::fill(got.begin(), got.end(), std::byte{0});
    (void)ranks.recv(1, 0, 0, sink_of(got, i), i);
    if (!ranks.drive([&] { return ranks.has(1, i); })) return;
    ASSERT_TRUE(got == sent) << i;
  }
  ranks.drive([&] { return ranks.tokens(0).size() == accepted; });
}

TEST_P(TransportSuite, RefusesARankWithAnotherKey) {
  if (!GetParam().authenticates) GTEST_SKIP() << "no connection to authenticate";
  Ranks ranks(GetParam().create, 3, [](TransportConfig& config) {
    if (config.rank == 0) config.key[5] ^= std::byte{1};
  });
  Code code = Code::kAgain;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (code == Code::kAgain && std::chrono::steady_clock::now() < end) {
    code = ranks[0].open(1, &ranks.fault(0));
    ranks.step();
  }
  EXPECT_NE(code, Code::kOk);
  ranks.open(1, 2);  // the stranger has not disturbed the others
  std::vector<std::byte> got(8);
  const auto sent = pattern(8, 1);
  (void)ranks.recv(2, 1, 0, sink_of(got), 1);
  (void)ranks.send(1, 2, 0, message_of(sent), 1);
  ranks.drive([&] { return ranks.has(2, 1); });
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, TwoHundredLivesLeakNoFiles) {
  const auto live = [&] {
    Ranks ranks = make(2);
    ranks.open(0, 1);
    const auto sent = pattern(100, 1);
    std::vector<std::byte> got(100);
    (void)ranks.recv(1, 0, 0, sink_of(got), 1);
    (void)ranks.send(0, 1, 0, message_of(sent), 1);
    ranks.drive([&] { return ranks.has(1, 1) && ranks.has(0, 1); });
    EXPECT_EQ(got, sent);
  };
  live();
  const int before = open_files();
  for (int i = 0; i < 200; ++i) live();
  EXPECT_EQ(open_files(), before);
}

}  // namespace gossamer::suite
