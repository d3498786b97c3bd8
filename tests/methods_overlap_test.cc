// Overlap push-sum: mass under way, how far a fast rank gets, and push-sum as its special case.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "gossamer/gossip_overlap.h"
#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

std::unique_ptr<OverlapPushSum> overlapping(size_t width, uint64_t staleness) {
  return OverlapPushSum::create(
             {.count = width, .type = DataType::kFloat64, .staleness = staleness})
      .value();
}

// Both methods from the same start and with the same gradients; `tolerance` 0: the same bits.
void expect_push_sum(RankGroup* group, const Graph& graph, double tolerance) {
  constexpr size_t kWidth = 33;
  const std::vector<double> start = gaussian_rows(group->size(), kWidth, 3);
  group->each([&](Communicator& comm) {
    auto late = overlapping(kWidth, 0);
    auto plain = PushSum::create({.count = kWidth, .type = DataType::kFloat64}).value();
    std::vector<double> z = row_of(start, comm.rank(), kWidth);
    std::vector<double> expected = z;
    std::vector<double> g(kWidth);
    for (int t = 0; t < 40; ++t) {
      for (size_t k = 0; k < kWidth; ++k) g[k] = expected[k] - static_cast<double>(k);
      ASSERT_TRUE(plain->step(comm, graph, expected.data(), g.data(), 0.1));
      const Status done = late->step(comm, graph, z.data(), g.data(), 0.1);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
      ASSERT_EQ(late->lag(), 0U);
      if (tolerance == 0) {
        ASSERT_EQ(std::memcmp(z.data(), expected.data(), kWidth * sizeof(double)), 0) << t;
        ASSERT_EQ(late->weight(), plain->weight());
      }
      for (size_t k = 0; k < kWidth; ++k) ASSERT_NEAR(z[k], expected[k], tolerance) << t;
      ASSERT_NEAR(late->weight(), plain->weight(), tolerance);
    }
  });
}

TEST(OverlapPushSum, WithoutStalenessItIsPushSum) {
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(5, transport);
    expect_push_sum(&group, *graph_of("one_peer_exponential", 5), 0);
    expect_push_sum(&group, *directed_graph(5), 1e-12);
  }
}

// Ranks pause now and then, each by its own seed: messages are up to `staleness` steps late.
TEST(OverlapPushSum, E9ReachesTheExactMeanUnderDelaysAndKeepsTheMass) {
  constexpr size_t kWidth = 12;
  for (const uint64_t staleness : {1, 4}) {
    for (const Rank n : {6, 8}) {
      const auto graph = n == 6 ? directed_graph(n) : graph_of("one_peer_exponential", n);
      const std::vector<double> start = gaussian_rows(n, kWidth, 8);
      const std::vector<double> mean = mean_of(start, kWidth);
      std::vector<double> weights(static_cast<size_t>(n));
      std::vector<double> under_way(static_cast<size_t>(n));
      std::vector<double> drained(static_cast<size_t>(n));
      std::vector<double> sums(static_cast<size_t>(n) * kWidth);
      std::atomic<uint64_t> late_steps{0};
      RankGroup group(n, n == 6 ? "loopback" : "shm");
      group.each([&](Communicator& comm) {
        const auto r = static_cast<size_t>(comm.rank());
        std::mt19937_64 pause(r + 1);
        auto method = overlapping(kWidth, staleness);
        std::vector<double> z = row_of(start, comm.rank(), kWidth);
        for (int t = 0; t < 400; ++t) {
          if (pause() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
          const Status done = method->step(comm, *graph, z.data(), nullptr, 0);
          ASSERT_TRUE(done.is_ok()) << done.to_string();
          ASSERT_LE(method->lag(), staleness);
          if (method->lag() > 0) ++late_steps;
        }
        for (size_t k = 0; k < kWidth; ++k) EXPECT_NEAR(z[k], mean[k], 1e-9);
        weights[r] = method->weight();
        under_way[r] = method->pushed() - method->taken();
        ASSERT_TRUE(method->finish(z.data()));
        EXPECT_EQ(method->lag(), 0U);
        drained[r] = method->weight();
        for (size_t k = 0; k < kWidth; ++k) {
          EXPECT_NEAR(z[k], mean[k], 1e-9);
          sums[r * kWidth + k] = z[k] * method->weight();
        }
      });
      double before = 0;
      double after = 0;
      for (size_t r = 0; r < weights.size(); ++r) {
        before += weights[r] + under_way[r];
        after += drained[r];
      }
      EXPECT_NEAR(before, n, 1e-12);
      EXPECT_NEAR(after, n, 1e-12);
      const std::vector<double> kept = mean_of(sums, kWidth);
      for (size_t k = 0; k < kWidth; ++k) EXPECT_NEAR(kept[k], mean[k], 1e-12);
      EXPECT_GT(late_steps, 0U) << "nothing was ever late: the test shows nothing";
    }
  }
}

void expect_ahead_by_the_staleness(const char* transport) {
  constexpr uint64_t kStaleness = 3;
  constexpr uint64_t kSteps = 20;
  RankGroup group(2, transport);
  const auto graph = graph_of("one_peer_exponential", 2);
  std::atomic<uint64_t> fast{0};  // steps that rank 1 has finished
  std::atomic<bool> failed{false};
  group.each([&](Communicator& comm) {
    auto method = overlapping(100, kStaleness);
    std::vector<double> z(100, comm.rank());
    for (uint64_t t = 0; t < kSteps; ++t) {
      if (comm.rank() == 0) {
        // It gets so far without this step: else its deadline ends the wait.
        while (fast < std::min(t + kStaleness, kSteps) && !failed) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(2));  // and could get further now
        ASSERT_LE(fast, t + kStaleness);
      }
      const Status done = method->step(comm, *graph, z.data(), nullptr, 0);
      if (!done) failed = true;
      ASSERT_TRUE(done.is_ok()) << done.to_string();
      if (comm.rank() == 1) ++fast;
    }
    ASSERT_TRUE(method->finish(z.data()));
  });
}

TEST(OverlapPushSum, ARankGetsAheadOfASlowOneByTheStalenessAndNoFurther) {
  for (const char* transport : {"loopback", "shm"}) expect_ahead_by_the_staleness(transport);
}

// A rank that makes no step holds the other up until its deadline, then neither step() nor the end
// of the method waits for it.
TEST(OverlapPushSum, ARankThatStaysAwayIsAnErrorAndNoHang) {
  RankGroup group(2, "loopback", "", std::chrono::seconds(2));
  const auto graph = graph_of("one_peer_exponential", 2);
  group.each([&](Communicator& comm) {
    if (comm.rank() == 0) return;
    auto method = overlapping(10, 2);
    std::vector<double> z(10, 1.0);
    Status done;
    int steps = 0;
    while (done && steps < 10) {
      done = method->step(comm, *graph, z.data(), nullptr, 0);
      if (done) ++steps;
    }
    EXPECT_EQ(steps, 2);
    EXPECT_EQ(done.code(), Code::kTimeout) << done.to_string();
    EXPECT_FALSE(method->finish(z.data()));
  });
}

TEST(OverlapPushSum, FloatsKeepTheirMassToo) {
  RankGroup group(6);
  const auto graph = directed_graph(6);
  std::vector<double> weights(6);
  group.each([&](Communicator& comm) {
    auto method = OverlapPushSum::create({.count = 10, .staleness = 2}).value();
    std::vector<float> z(10, static_cast<float>(comm.rank()));
    for (int t = 0; t < 300; ++t) {
      ASSERT_TRUE(method->step(comm, *graph, z.data(), nullptr, 0));
    }
    ASSERT_TRUE(method->finish(z.data()));
    weights[static_cast<size_t>(comm.rank())] = method->weight();
    for (const float value : z) EXPECT_NEAR(value, 2.5F, 1e-5F);
  });
  EXPECT_NEAR(mean_of(weights, 1)[0], 1, 1e-5);
}

TEST(OverlapPushSum, OneMessagePerTargetAndNoMemoryOnceAllRoundsAreKnown) {
  RankGroup group(4);
  const auto graph = graph_of("one_peer_exponential", 4);
  group.each([&](Communicator& comm) {
    auto method = OverlapPushSum::create({.count = 100, .staleness = 1}).value();
    std::vector<float> z(100, 1.0F);
    const auto steps = [&](int number) {
      for (int t = 0; t < number; ++t) {
        ASSERT_TRUE(method->step(comm, *graph, z.data(), nullptr, 0));
      }
    };
    const auto before = comm.counters();
    // More than ever before may be under way in any of them, but not in one after another.
    int windows = 0;
    for (int w = 0; w < 50; ++w) {
      const uint64_t allocated = allocations;
      steps(10);
      if (allocations != allocated) ++windows;
    }
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_LT(windows, 10);
    }
    ASSERT_TRUE(method->finish(z.data()));
    const auto after = comm.counters();
    EXPECT_EQ(after.messages_sent - before.messages_sent, 500U);
    EXPECT_EQ(after.bytes_sent - before.bytes_sent, 500U * 404U);
    for (const float value : z) EXPECT_EQ(value, 1.0F);
  });
}

TEST(OverlapPushSum, SavedMassGoesOnAfterFinish) {
  const auto graph = directed_graph(4);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto one = overlapping(7, 2);
    std::vector<double> z(7, comm.rank());
    for (int t = 0; t < 5; ++t) ASSERT_TRUE(one->step(comm, *graph, z.data(), nullptr, 0));
    if (one->lag() > 0) {
      expect_refused(one->save().status(), "finish");
    }
    ASSERT_TRUE(one->finish(z.data()));
    auto other = overlapping(7, 2);
    const Result<std::vector<std::byte>> saved = one->save();
    ASSERT_TRUE(saved.is_ok());
    for (size_t at = 0; at < saved->size(); at += 7) {
      std::vector<std::byte> damaged = *saved;
      damaged[at] ^= std::byte{4};
      EXPECT_EQ(other->load(damaged).code(), Code::kInvalidArgument) << "byte " << at;
    }
    expect_refused(overlapping(7, 3)->load(*saved), "staleness 2, this method has 3");
    ASSERT_TRUE(other->load(*saved));
    EXPECT_EQ(other->save().value(), *saved);
    EXPECT_EQ(other->round(), 5U);
    EXPECT_EQ(other->weight(), one->weight());
    for (int t = 0; t < 600; ++t) ASSERT_TRUE(other->step(comm, *graph, z.data(), nullptr, 0));
    ASSERT_TRUE(other->finish(z.data()));
    for (const double value : z) EXPECT_NEAR(value, 1.5, 1e-9);
  });
}

TEST(OverlapPushSum, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(OverlapPushSum::create({.count = 4, .type = DataType::kFloat16}).status(),
                 "float32 or float64");
  expect_refused(OverlapPushSum::create({.count = 4, .staleness = 1025}).status(), "1024");
  const double rows[] = {0.5, 0.5, 0, 0, 0.5, 0.5, 0.25, 0.25, 0.5};
  const auto row_sums = make_graph(3, rows, Stochastic::kRow);
  ASSERT_TRUE(row_sums.is_ok());
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    auto method = overlapping(4, 1);
    std::vector<double> z(4, 1.0);
    EXPECT_TRUE(method->finish(z.data())) << "nothing is under way";
    const uint64_t sent = comm.counters().messages_sent;
    expect_refused(method->step(comm, **row_sums, z.data(), nullptr, 0), "column");
    expect_refused(method->step(comm, **row_sums, nullptr, nullptr, 0), "null");
    expect_refused(method->step(comm, *directed_graph(4), z.data(), nullptr, 0), "4 ranks");
    expect_refused(method->step(comm, *directed_graph(3), z.data(), z.data() + 1, 0.1), "overlap");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_EQ(method->round(), 0U);
    EXPECT_TRUE(method->step(comm, *directed_graph(3), z.data(), nullptr, 0));
    expect_refused(method->finish(nullptr), "null");
    EXPECT_TRUE(method->finish(z.data()));
  });
}

}  // namespace
}  // namespace gossamer
