// Local SGD and DiLoCo against the same rules for all ranks at once.

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr Rank kRanks = 4;
constexpr size_t kWidth = 17;
constexpr double kRate = 0.2;

// Rank r's gradient at x: its loss is half the squared distance from its target.
struct Targets {
  std::vector<double> rows = gaussian_rows(kRanks, kWidth, 6);
  void gradient(Rank r, const double* x, double* g) const {
    for (size_t k = 0; k < kWidth; ++k) {
      g[k] = x[k] - rows[static_cast<size_t>(r) * kWidth + k];
    }
  }
  void local_step(std::vector<double>* x) const {
    for (size_t i = 0; i < x->size(); ++i) (*x)[i] -= kRate * ((*x)[i] - rows[i]);
  }
};

// `step(comm, x, g)` is called so often on each rank; all ranks' values.
template <class Start, class Step>
std::vector<double> trained(RankGroup* group, int steps, const Start& start, const Step& step) {
  const Targets targets;
  std::vector<double> x = gaussian_rows(kRanks, kWidth, 7);
  group->each([&](Communicator& comm) {
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * kWidth;
    auto method = start(comm, mine);
    double g[kWidth];
    for (int t = 0; t < steps; ++t) {
      targets.gradient(comm.rank(), mine, g);
      const Status done = step(*method, comm, mine, g);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    }
  });
  return x;
}

TEST(LocalSgd, AveragesInEveryIntervalOnly) {
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(kRanks, transport);
    const auto graph = graph_of("ring", kRanks);
    for (const uint64_t interval : {1, 3, 8}) {
      const auto start = [&](Communicator&, double*) {
        return LocalSgd::create({.count = kWidth, .type = DataType::kFloat64, .interval = interval})
            .value();
      };
      const auto gossiping = trained(
          &group, 20, start, [&](LocalSgd& method, Communicator& comm, double* x, double* g) {
            return method.step(comm, *graph, x, g, kRate);
          });
      const auto reducing = trained(
          &group, 20, start, [&](LocalSgd& method, Communicator& comm, double* x, double* g) {
            return method.step(comm, x, g, kRate);
          });
      const Targets targets;
      std::vector<double> mixed = gaussian_rows(kRanks, kWidth, 7);
      std::vector<double> mean = mixed;
      for (uint64_t t = 1; t <= 20; ++t) {
        targets.local_step(&mixed);
        targets.local_step(&mean);
        if (t % interval != 0) continue;
        const std::vector<double> before = mixed;
        graph->mixing(t / interval - 1)->apply(before, mixed, kWidth);
        const std::vector<double> center = mean_of(mean, kWidth);
        for (size_t i = 0; i < mean.size(); ++i) mean[i] = center[i % kWidth];
      }
      for (size_t i = 0; i < mixed.size(); ++i) {
        ASSERT_NEAR(gossiping[i], mixed[i], 1e-13);
        ASSERT_NEAR(reducing[i], mean[i], 1e-13);
      }
    }
  }
}

TEST(LocalSgd, NothingIsSentBetweenAverages) {
  RankGroup group(kRanks);
  const auto graph = graph_of("ring", kRanks);
  group.each([&](Communicator& comm) {
    auto method = LocalSgd::create({.count = kWidth, .interval = 5});
    std::vector<float> x(kWidth, 1.0F);
    for (uint64_t t = 1; t <= 15; ++t) {
      const uint64_t sent = comm.counters().bytes_sent;
      const uint64_t before = allocations;
      ASSERT_TRUE((*method)->step(comm, *graph, x.data(), nullptr, 0));
      const uint64_t now = comm.counters().bytes_sent - sent;
      EXPECT_EQ(now, t % 5 == 0 ? 2 * kWidth * sizeof(float) : 0U) << t;
      if (GOSSAMER_TEST_COUNTS_ALLOCATIONS && t > 5) {
        EXPECT_EQ(allocations - before, 0U) << t;
      }
    }
  });
}

// The outer rule on one rank, with the mean of all ranks' ways.
std::vector<double> dense_diloco(int steps, uint64_t interval, double rate, double momentum) {
  const Targets targets;
  std::vector<double> x = gaussian_rows(kRanks, kWidth, 7);
  std::vector<double> point = mean_of(x, kWidth);
  std::vector<double> u(kWidth, 0);
  for (size_t i = 0; i < x.size(); ++i) x[i] = point[i % kWidth];
  for (int t = 1; t <= steps; ++t) {
    targets.local_step(&x);
    if (static_cast<uint64_t>(t) % interval != 0) continue;
    const std::vector<double> mean = mean_of(x, kWidth);
    for (size_t k = 0; k < kWidth; ++k) {
      const double way = point[k] - mean[k];
      u[k] = momentum * u[k] + way;
      point[k] -= rate * (way + momentum * u[k]);
    }
    for (size_t i = 0; i < x.size(); ++i) x[i] = point[i % kWidth];
  }
  return x;
}

std::vector<double> trained_by_diloco(RankGroup* group, int steps, const DiLoCo::Options& options) {
  return trained(
      group, steps,
      [&](Communicator& comm, double* mine) {
        auto method = DiLoCo::create(options).value();
        EXPECT_TRUE(method->begin(comm, mine));
        return method;
      },
      [](DiLoCo& method, Communicator& comm, double* mine, double* g) {
        return method.step(comm, mine, g, kRate);
      });
}

TEST(DiLoCo, OuterStepsAreNesterovs) {
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(kRanks, transport);
    for (const auto& [rate, momentum] : {std::pair{0.7, 0.9}, {1.0, 0.0}, {0.5, 0.5}}) {
      const DiLoCo::Options options{.count = kWidth,
                                    .type = DataType::kFloat64,
                                    .interval = 6,
                                    .outer_rate = rate,
                                    .outer_momentum = momentum};
      const auto x = trained_by_diloco(&group, 40, options);
      const auto expected = dense_diloco(40, 6, rate, momentum);
      for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-12);
    }
  }
}

TEST(DiLoCo, ReachesTheOptimumAndStaysTheSameOnAllRanks) {
  RankGroup group(kRanks);
  const DiLoCo::Options options{.count = kWidth, .type = DataType::kFloat64, .interval = 10};
  const auto x = trained_by_diloco(&group, 1500, options);
  const std::vector<double> optimum = mean_of(Targets().rows, kWidth);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(x[i], optimum[i % kWidth], 1e-3);
    EXPECT_EQ(x[i], x[i % kWidth]) << "other bits on rank " << i / kWidth;
  }
}

TEST(DiLoCo, SavedMomentumGoesOn) {
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    const DiLoCo::Options options{.count = 3, .interval = 2};
    auto one = DiLoCo::create(options);
    float x[] = {1, 2, static_cast<float>(comm.rank())};
    const float g[] = {1, 1, 1};
    ASSERT_TRUE((*one)->begin(comm, x));
    for (int t = 0; t < 5; ++t) ASSERT_TRUE((*one)->step(comm, x, g, 0.1));
    auto other = DiLoCo::create(options);
    expect_damage_noticed(**other, (*one)->save());
    float again[3];
    std::memcpy(again, x, sizeof x);
    const uint64_t before = allocations;
    for (int t = 0; t < 3; ++t) ASSERT_TRUE((*one)->step(comm, x, g, 0.1));
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_EQ(allocations - before, 0U);
    }
    for (int t = 0; t < 3; ++t) ASSERT_TRUE((*other)->step(comm, again, g, 0.1));
    EXPECT_EQ(std::memcmp(again, x, sizeof x), 0);
  });
}

TEST(LocalSgd, SavedStepsGoOn) {
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    const LocalSgd::Options options{.count = 1, .interval = 3};
    auto one = LocalSgd::create(options);
    auto x = static_cast<float>(comm.rank());
    for (int t = 0; t < 2; ++t) ASSERT_TRUE((*one)->step(comm, &x, nullptr, 0));
    auto other = LocalSgd::create(options);
    expect_damage_noticed(**other, (*one)->save());
    ASSERT_TRUE((*other)->step(comm, &x, nullptr, 0));
    EXPECT_EQ(x, 0.5F);
  });
}

TEST(Periodic, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(LocalSgd::create({.count = 1, .interval = 0}).status(), "interval");
  expect_refused(DiLoCo::create({.count = 1, .interval = 0}).status(), "interval");
  expect_refused(DiLoCo::create({.count = 1, .outer_rate = 0}).status(), "positive");
  expect_refused(DiLoCo::create({.count = 1, .outer_rate = std::nan("")}).status(), "finite");
  expect_refused(DiLoCo::create({.count = 1, .outer_momentum = 1}).status(), "[0, 1)");
  expect_refused(DiLoCo::create({.count = 1, .type = DataType::kBfloat16}).status(), "float64");
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto local = LocalSgd::create({.count = 3});
    auto outer = DiLoCo::create({.count = 3, .interval = 1});
    std::vector<float> x(3, 1.0F);
    const uint64_t sent = comm.counters().messages_sent;
    const std::vector<float> g(3, 1.0F);
    const double infinite = std::numeric_limits<double>::infinity();
    expect_refused((*local)->step(comm, *graph_of("ring", 3), x.data(), nullptr, 0), "3 ranks");
    expect_refused((*local)->step(comm, x.data(), g.data(), infinite), "finite");
    expect_refused((*local)->step(comm, nullptr, g.data(), 1), "null");
    expect_refused((*outer)->step(comm, x.data(), g.data(), 1), "begin()");
    expect_refused((*outer)->begin(comm, nullptr), "null");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    ASSERT_TRUE((*outer)->begin(comm, x.data()));
    expect_refused((*outer)->begin(comm, x.data()), "once");
    EXPECT_TRUE((*outer)->step(comm, x.data(), g.data(), 1));
  });
}

}  // namespace
}  // namespace gossamer
