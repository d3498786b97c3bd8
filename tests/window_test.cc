// Windows among threads, over several transports: values, versions, whole values under a storm of
// puts, the bound on staleness, mass, and idleness.

#include <sys/resource.h>

#include <atomic>
#include <cmath>
#include <latch>
#include <random>

#include "tests/group_threads.h"
#include "tests/methods.h"
#include "tests/rank_group.h"
#include "tests/window_ranks.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

class WindowOver : public testing::TestWithParam<const char*> {};

TEST_P(WindowOver, UpdateMixesTheOwnValueWithWhatNeighborsPut) {
  RankGroup group(4, GetParam());
  const auto graph = graph_of("ring", 4);
  group.each([&](Communicator& comm) {
    std::vector<double> x(1000, comm.rank() + 1.0);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    std::vector<double> out(x.size());
    // Nothing has come: everybody counts as this rank.
    ASSERT_DONE(window->update(out.data(), *graph, 0));
    EXPECT_NEAR(out.back(), comm.rank() + 1, 1e-15);
    ASSERT_DONE(comm.barrier());
    ASSERT_DONE(window->put(x.data(), *graph, 0, 2));
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    ASSERT_DONE(window->set(x.data()));
    ASSERT_DONE(window->update(out.data(), *graph, 0));
    const auto mixing = graph->mixing(0);
    double expected = 0;
    for (Rank j = 0; j < 4; ++j) {
      expected += mixing->weight(comm.rank(), j) * (j + 1) * (j == comm.rank() ? 1 : 2);
    }
    EXPECT_TRUE(same_throughout(out));
    EXPECT_NEAR(out[0], expected, 1e-14);
    std::vector<double> own(x.size());
    ASSERT_DONE(window->value(own.data()));
    EXPECT_EQ(own, out);
    ASSERT_DONE(window->free());
  });
}

TEST_P(WindowOver, AccumulateAddsAndCollectTakesOnce) {
  RankGroup group(3, GetParam());
  group.each([&](Communicator& comm) {
    std::vector<double> x(10, 1);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto others = others_of(comm.rank(), comm.size());
    for (int i = 0; i < 5; ++i) {
      for (const Rank to : others) ASSERT_DONE(window->accumulate(x.data(), to, comm.rank() + 1));
    }
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    const auto sources = weighed(others, 0.5);
    std::vector<double> out(x.size());
    ASSERT_DONE(window->collect(out.data(), 1, sources));
    double expected = 1;
    for (const Rank r : others) expected += 0.5 * 5 * (r + 1);
    EXPECT_TRUE(same_throughout(out));
    EXPECT_EQ(out[0], expected);
    ASSERT_DONE(window->collect(out.data(), 2, sources));
    EXPECT_EQ(out[0], 2 * expected);
    for (const Rank r : others) {
      // Its last call but one, or its last, by the order of its targets.
      EXPECT_EQ(window->version(r), comm.rank() == others_of(r, 3).back() ? 10U : 9U);
    }
    EXPECT_EQ(window->clock(), 10U);
    ASSERT_DONE(window->free());
  });
}

// An accumulate on a put that waits, or that has arrived, changes it; a put replaces both.
TEST_P(WindowOver, PutsReplaceAndAccumulatesAddInTheOrderOfTheCalls) {
  RankGroup group(2, GetParam());
  group.each([&](Communicator& comm) {
    const std::vector<double> one(50'000, 1);
    const auto window = window_of(comm, one);
    ASSERT_NE(window, nullptr);
    const Rank other = 1 - comm.rank();
    for (int i = 0; i < 200; ++i) {
      ASSERT_DONE(window->accumulate(one.data(), other));
      ASSERT_DONE(window->put(one.data(), other, i));
      ASSERT_DONE(window->accumulate(one.data(), other, 3));
    }
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    const Weight source{other, 1};
    std::vector<double> out(one.size());
    ASSERT_DONE(window->update(out.data(), 0, std::span(&source, 1)));
    EXPECT_TRUE(same_throughout(out));
    EXPECT_EQ(out[0], 199 + 3);
    EXPECT_EQ(window->version(other), 600U);
    ASSERT_DONE(window->free());
  });
}

TEST_P(WindowOver, GetNeedsNothingOfTheOtherRank) {
  RankGroup group(3, GetParam());
  std::atomic<bool> read{false};
  group.each([&](Communicator& comm) {
    std::vector<double> x(70'000, comm.rank() + 10.0);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    if (comm.rank() == 1) {
      while (!read.load()) std::this_thread::yield();  // computes, and calls nothing
    } else if (comm.rank() == 2) {
      std::vector<double> out(x.size());
      uint64_t version = 99;
      for (int i = 0; i < 10; ++i) ASSERT_DONE(window->get(out.data(), 1, &version));
      EXPECT_EQ(version, 0U);
      EXPECT_EQ(out[0], 11);
      EXPECT_TRUE(same_throughout(out));
      read.store(true);
    }
    ASSERT_DONE(comm.barrier());
    if (comm.rank() == 1) ASSERT_DONE(window->set(std::vector<double>(x.size(), 5).data()));
    ASSERT_DONE(comm.barrier());
    if (comm.rank() == 0) {
      std::vector<double> out(x.size());
      uint64_t version = 0;
      ASSERT_DONE(window->get(out.data(), 1, &version));
      EXPECT_EQ(version, 1U);
      EXPECT_EQ(out.back(), 5);
    }
    ASSERT_DONE(window->free());
  });
}

// Values that are the same throughout, from several threads of one rank, read and fetched while
// they come.
TEST_P(WindowOver, ReadersSeeWholeValuesUnderAStormOfPuts) {
  constexpr size_t kCount = 40'000;
  RankGroup group(3, GetParam());
  std::atomic<int> writing{3};
  group.each([&](Communicator& comm) {
    const auto window = window_of(comm, std::vector<double>(kCount, 0));
    ASSERT_NE(window, nullptr);
    const auto others = others_of(comm.rank(), comm.size());
    std::thread reader([&] {
      std::vector<double> out(kCount);
      std::vector<uint64_t> seen(3, 0);
      int reads = 0;
      do {
        for (const Rank from : others) {
          const uint64_t before = window->version(from);
          ASSERT_GE(before, seen[static_cast<size_t>(from)]);
          seen[static_cast<size_t>(from)] = before;
          const Weight source{from, 1};
          ASSERT_DONE(window->update(out.data(), 0, std::span(&source, 1)));
          ASSERT_TRUE(same_throughout(out));
          ASSERT_DONE(window->get(out.data(), from));
          ASSERT_TRUE(same_throughout(out));
          ++reads;
        }
      } while (writing.load() > 0);
      EXPECT_GT(reads, 1);
    });
    std::vector<double> x(kCount);
    for (int i = 1; i <= 60; ++i) {
      std::fill(x.begin(), x.end(), i);
      ASSERT_DONE(window->set(x.data()));
      for (const Rank to : others) ASSERT_DONE(window->put(x.data(), to));
      if (i % 8 == 0) ASSERT_DONE(window->flush());
    }
    ASSERT_DONE(window->flush());
    --writing;
    reader.join();
    ASSERT_DONE(comm.barrier());
    std::vector<double> out(kCount);
    for (const Rank from : others) {
      // Its last put to this rank was its last but one, or its last, by the order of targets.
      EXPECT_EQ(window->version(from), comm.rank() == others_of(from, 3).back() ? 120U : 119U);
      const Weight source{from, 1};
      ASSERT_DONE(window->update(out.data(), 0, std::span(&source, 1)));
      EXPECT_EQ(out[0], 60);
    }
    ASSERT_DONE(window->free());
  });
}

// Accumulates are merged while a target is busy, and each counts once however they come together.
TEST_P(WindowOver, NothingThatIsAccumulatedIsLostOrTakenTwice) {
  RankGroup group(3, GetParam());
  group.each([&](Communicator& comm) {
    constexpr size_t kCount = 3'000;
    const std::vector<double> one(kCount, 1);
    const auto window = window_of(comm, std::vector<double>(kCount, 0));
    ASSERT_NE(window, nullptr);
    const auto others = others_of(comm.rank(), comm.size());
    const auto sources = weighed(others, 1);
    std::vector<double> out(kCount);
    for (int i = 0; i < 400; ++i) {
      for (const Rank to : others) ASSERT_DONE(window->accumulate(one.data(), to));
      if (i % 3 == 0) {
        ASSERT_DONE(window->collect(out.data(), 1, sources));
        ASSERT_TRUE(same_throughout(out));
      }
    }
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    ASSERT_DONE(window->collect(out.data(), 1, sources));
    EXPECT_TRUE(same_throughout(out));
    EXPECT_EQ(out[0], 800);
    ASSERT_DONE(window->free());
  });
}

// The stale synchronous parallel model: no rank is more than s + 1 calls ahead of a neighbor.
TEST_P(WindowOver, AFastRankIsHeldBackToTheSlowOnesClock) {
  constexpr Rank kRanks = 3;
  constexpr int kSteps = 60;
  for (const uint64_t s : {0, 4}) {
    RankGroup group(kRanks, GetParam());
    std::vector<std::atomic<uint64_t>> clocks(kRanks);
    const auto graph = graph_of("complete", kRanks);
    std::atomic<uint64_t> widest{0};
    group.each([&](Communicator& comm) {
      std::vector<double> x(100, 0);
      const auto window = window_of(comm, x);
      ASSERT_NE(window, nullptr);
      for (uint64_t c = 1; c <= kSteps; ++c) {
        if (comm.rank() == 0) std::this_thread::sleep_for(milliseconds(1));
        clocks[static_cast<size_t>(comm.rank())].store(c);
        x[0] = static_cast<double>(c);
        ASSERT_DONE(window->put(x.data(), *graph, 0));
        EXPECT_EQ(window->clock(), c);
        ASSERT_DONE(window->wait_versions(*graph, 0, c > s ? c - s : 0));
        for (const Rank j : others_of(comm.rank(), kRanks)) {
          const uint64_t theirs = clocks[static_cast<size_t>(j)].load();
          ASSERT_GE(theirs + s, c);
          ASSERT_GE(window->version(j) + s, c);
          if (c > theirs) {
            uint64_t now = widest.load();
            while (c - theirs > now && !widest.compare_exchange_weak(now, c - theirs)) {
            }
          }
        }
      }
      ASSERT_DONE(window->free());
    });
    EXPECT_LE(widest.load(), s);
    if (s > 0) {
      EXPECT_GT(widest.load(), 0U) << "nobody was ever ahead";
    }
  }
}

// Push-sum without rounds: x and w travel together, mass is kept, all come to the mean.
TEST_P(WindowOver, AsynchronousPushSumKeepsItsMassAndFindsTheMean) {
  constexpr Rank kRanks = 5;
  constexpr size_t kWidth = 20;
  const auto start = gaussian_rows(kRanks, kWidth, 7);
  const auto mean = mean_of(start, kWidth);
  std::vector<std::vector<double>> end(kRanks);
  RankGroup group(kRanks, GetParam());
  const auto graph = graph_of("one_peer_exponential", kRanks);
  group.each([&](Communicator& comm) {
    std::vector<double> own = row_of(start, comm.rank(), kWidth);
    own.push_back(1);
    const auto window = window_of(comm, own);
    ASSERT_NE(window, nullptr);
    const auto sources = weighed(others_of(comm.rank(), kRanks), 1);
    std::mt19937_64 random(static_cast<uint64_t>(comm.rank()));
    for (uint64_t round = 0; round < 400; ++round) {
      const double kept = graph->mixing(round)->weight(comm.rank(), comm.rank());
      ASSERT_DONE(window->accumulate(own.data(), *graph, round));
      for (double& value : own) value *= kept;
      ASSERT_DONE(window->set(own.data()));
      if (random() % 4 == 0) std::this_thread::yield();
      ASSERT_DONE(window->collect(own.data(), 1, sources));
      // Nobody runs out of weight: the clocks may differ by ten.
      ASSERT_DONE(window->wait_versions(*graph, round, round > 10 ? round - 10 : 0));
    }
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    ASSERT_DONE(window->collect(own.data(), 1, sources));
    end[static_cast<size_t>(comm.rank())] = own;
    ASSERT_DONE(window->free());
  });
  double weight = 0;
  for (const auto& own : end) weight += own.at(kWidth);
  EXPECT_NEAR(weight, kRanks, 1e-12);
  for (size_t i = 0; i < kWidth; ++i) {
    double sum = 0;
    for (const auto& own : end) {
      sum += own[i];
      EXPECT_NEAR(own[i] / own[kWidth], mean[i], 1e-9);
    }
    EXPECT_NEAR(sum, kRanks * mean[i], 1e-12);
  }
}

// Asynchronous averaging by put and update: no mean is promised while ranks differ in speed, but
// all come to one value between the smallest and the largest.
TEST_P(WindowOver, PutAndUpdateComeToOneValue) {
  constexpr Rank kRanks = 4;
  std::vector<double> end(kRanks);
  RankGroup group(kRanks, GetParam());
  const auto graph = graph_of("ring", kRanks);
  group.each([&](Communicator& comm) {
    std::vector<double> x(100, comm.rank());
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    // With values up to s + 1 calls old, a ring's slowest mode loses a few percent per call.
    for (uint64_t c = 1; c <= 1'500; ++c) {
      ASSERT_DONE(window->put(x.data(), *graph, 0));
      ASSERT_DONE(window->wait_versions(*graph, 0, c > 3 ? c - 3 : 0));
      ASSERT_DONE(window->update(x.data(), *graph, 0));
    }
    end[static_cast<size_t>(comm.rank())] = x[0];
    ASSERT_DONE(window->free());
  });
  for (const double value : end) {
    EXPECT_NEAR(value, end[0], 1e-6);
    EXPECT_GT(value, 0);
    EXPECT_LT(value, kRanks - 1);
  }
}

TEST_P(WindowOver, ARankThatDestroysItsWindowIsLostToTheOthers) {
  RankGroup group(3, GetParam());
  Gate gone(3);
  group.each([&](Communicator& comm) {
    const std::vector<double> x(1000, comm.rank());
    auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto others = others_of(comm.rank(), 3);
    for (const Rank to : others) ASSERT_DONE(window->put(x.data(), to));
    ASSERT_DONE(window->flush());
    ASSERT_DONE(comm.barrier());
    if (comm.rank() == 1) {
      window.reset();
      gone.arrive_and_wait();
      return;
    }
    gone.arrive_and_wait();
    std::vector<double> out(x.size());
    const std::vector<Rank> behind{1};
    const Status waited = window->wait_versions(behind, 1'000'000);
    EXPECT_EQ(waited.code(), Code::kPeerLost) << waited.to_string();
    EXPECT_EQ(waited.rank(), 1);
    EXPECT_NE(waited.message().find("window test"), std::string::npos) << waited.message();
    EXPECT_EQ(window->put(x.data(), 1).code(), Code::kPeerLost);
    EXPECT_EQ(window->get(out.data(), 1).rank(), 1);
    EXPECT_EQ(window->lost(), behind);
    // What it has put is there; the two others go on.
    const Weight source{1, 1};
    ASSERT_DONE(window->update(out.data(), 0, std::span(&source, 1)));
    EXPECT_EQ(out[0], 1);
    const Rank other = 2 - comm.rank();
    ASSERT_DONE(window->put(x.data(), other));
    ASSERT_DONE(window->flush());
    ASSERT_DONE(window->get(out.data(), other));
    ASSERT_DONE(window->free());
  });
}

TEST_P(WindowOver, ARankAloneHasAWindowToo) {
  RankGroup group(1, GetParam());
  group.each([&](Communicator& comm) {
    const std::vector<double> x(3, 2);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto graph = graph_of("ring", 1);
    ASSERT_DONE(window->put(x.data(), *graph, 0));
    std::vector<double> out(3);
    ASSERT_DONE(window->update(out.data(), *graph, 0));
    EXPECT_EQ(out, x);
    ASSERT_DONE(window->wait_versions(*graph, 0, 10));
    ASSERT_DONE(window->flush());
    ASSERT_DONE(window->free());
  });
}

// With nothing to do nobody runs: less than a hundredth of a core per rank, and that for its naps.
TEST_P(WindowOver, AnIdleWindowNeedsNoProcessor) {
  RankGroup group(3, GetParam());
  std::latch begun(3);
  std::latch ended(3);  // who waits here sleeps
  group.each([&](Communicator& comm) {
    const std::vector<double> x(1000, 1);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto graph = graph_of("complete", 3);
    ASSERT_DONE(window->put(x.data(), *graph, 0));
    ASSERT_DONE(window->flush());
    begun.arrive_and_wait();
    const auto used = [] {
      rusage usage{};
      ::getrusage(RUSAGE_SELF, &usage);
      return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
             1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    };
    if (comm.rank() == 0) {
      // One that is not idle never is; the first time may see the end of spinning.
      double seconds = 1;
      for (int i = 0; i < 5 && seconds >= 0.02 * 3; ++i) {
        std::this_thread::sleep_for(milliseconds(500));
        const double before = used();
        std::this_thread::sleep_for(milliseconds(2'000));
        seconds = used() - before;
      }
      EXPECT_LT(seconds, 0.02 * 3);
      RecordProperty("seconds", std::to_string(seconds));
    }
    ended.arrive_and_wait();
    ASSERT_DONE(window->free());
  });
}

INSTANTIATE_TEST_SUITE_P(All, WindowOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& at) { return std::string(at.param); });

}  // namespace
}  // namespace gossamer
