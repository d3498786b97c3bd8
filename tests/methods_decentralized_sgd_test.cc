// D-PSGD against the dense matrix, and its bias.

#include <gtest/gtest.h>

#include <limits>

#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Order = DecentralizedSgd::Order;

// One iteration of all ranks at once, by the definition.
void dense_step(const Quadratics& task, Order order, const Mixing& mixing, double rate,
                std::vector<double>* x) {
  std::vector<double> g(x->size());
  for (Rank r = 0; r < task.n; ++r) {
    const size_t at = static_cast<size_t>(r) * task.width;
    task.gradient(r, x->data() + at, g.data() + at);
  }
  std::vector<double> adapted = *x;
  for (size_t i = 0; i < g.size(); ++i) adapted[i] -= rate * g[i];
  const std::vector<double> combined = order == Order::kAdaptThenCombine ? adapted : *x;
  mixing.apply(combined, *x, task.width);
  if (order == Order::kAdaptThenCombine) return;
  for (size_t i = 0; i < g.size(); ++i) (*x)[i] -= rate * g[i];
}

// Runs it with the method; all ranks' values.
std::vector<double> trained(RankGroup* group, const Quadratics& task, Order order,
                            const Graph& graph, double rate, int steps, bool begins,
                            std::vector<double> x) {
  group->each([&](Communicator& comm) {
    auto method =
        DecentralizedSgd::create({.count = task.width, .type = DataType::kFloat64, .order = order});
    ASSERT_TRUE(method.is_ok()) << method.status().to_string();
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
    std::vector<double> g(task.width);
    for (int t = 0; t < steps; ++t) {
      if (begins) {
        ASSERT_TRUE((*method)->begin(comm, graph, mine));
      }
      task.gradient(comm.rank(), mine, g.data());
      const Status done = (*method)->step(comm, graph, mine, g.data(), rate);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    }
  });
  return x;
}

TEST(DecentralizedSgd, StepsAreThoseOfTheDenseMatrix) {
  const Quadratics task{6, 33};
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(task.n, transport);
    for (const char* name : {"ring", "one_peer_exponential", "star", "random_matching"}) {
      const auto graph = graph_of(name, task.n);
      for (const Order order : {Order::kAdaptThenCombine, Order::kAdaptWhileCombine}) {
        const std::vector<double> start = gaussian_rows(task.n, task.width, 9);
        std::vector<double> expected = start;
        for (uint64_t t = 0; t < 20; ++t) {
          dense_step(task, order, *graph->mixing(t), 0.3, &expected);
        }
        for (const bool begins : {false, true}) {
          if (begins && order == Order::kAdaptThenCombine) continue;
          const auto x = trained(&group, task, order, *graph, 0.3, 20, begins, start);
          for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-13) << name;
        }
      }
    }
  }
}

// Distance from the optimum per rank, where it does not change any more.
double bias(RankGroup* group, const Quadratics& task, const Graph& graph, double rate) {
  std::vector<double> x;
  const std::vector<double> optimum = task.optimum();
  for (Rank r = 0; r < task.n; ++r) x.insert(x.end(), optimum.begin(), optimum.end());
  x = trained(group, task, Order::kAdaptWhileCombine, graph, rate, static_cast<int>(20 / rate),
              false, std::move(x));
  return distance(x, optimum) / std::sqrt(static_cast<double>(task.n * task.width));
}

TEST(DecentralizedSgd, E20BiasGrowsWithTheRateAndFallsWithTheGap) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  const auto ring = graph_of("ring", task.n);
  const double at[] = {bias(&group, task, *ring, 0.01), bias(&group, task, *ring, 0.02),
                       bias(&group, task, *ring, 0.04)};
  for (int k = 0; k < 2; ++k) {
    EXPECT_GT(at[k + 1] / at[k], 1.6) << at[k] << " then " << at[k + 1];
    EXPECT_LT(at[k + 1] / at[k], 2.1) << at[k] << " then " << at[k + 1];
  }
  const double cube = bias(&group, task, *graph_of("hypercube", task.n), 0.04);
  EXPECT_LT(cube, at[2] / 2);
  EXPECT_GT(cube, 1e-4);
}

TEST(DecentralizedSgd, FloatsOfEveryWidthAreAveraged) {
  RankGroup group(4);
  const auto graph = graph_of("complete", 4);
  group.each([&](Communicator& comm) {
    auto method = DecentralizedSgd::create({.count = 100});
    std::vector<float> x(100, static_cast<float>(comm.rank()));
    const std::vector<float> g(100, 2.0F);
    ASSERT_TRUE((*method)->step(comm, *graph, x.data(), g.data(), 0.25));
    for (const float value : x) ASSERT_FLOAT_EQ(value, 1.0F);
    auto narrow = DecentralizedSgd::create({.count = 2, .type = DataType::kBfloat16});
    uint16_t halves[] = {0x3f80, 0x4000};  // 1 and 2
    ASSERT_TRUE((*narrow)->step(comm, *graph, halves, nullptr, 0));
    EXPECT_EQ(halves[0], 0x3f80);
    EXPECT_EQ(halves[1], 0x4000);
  });
}

TEST(DecentralizedSgd, NothingIsAllocatedOnceEveryRoundWasSeen) {
  RankGroup group(4);
  const auto graph = graph_of("one_peer_exponential", 4);  // two rounds
  group.each([&](Communicator& comm) {
    auto method = DecentralizedSgd::create({.count = 5000});
    std::vector<float> x(5000, 1.0F);
    const std::vector<float> g(5000, 0.5F);
    const auto steps = [&](int n) {
      for (int t = 0; t < n; ++t) {
        ASSERT_TRUE((*method)->step(comm, *graph, x.data(), g.data(), 0.1));
      }
    };
    steps(2);
    const uint64_t before = allocations;
    steps(10);
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_EQ(allocations - before, 0U);
    }
  });
}

TEST(DecentralizedSgd, ASavedRoundGoesOn) {
  RankGroup group(4);
  const auto graph = graph_of("one_peer_exponential", 4);
  group.each([&](Communicator& comm) {
    const DecentralizedSgd::Options options{.count = 3};
    auto one = DecentralizedSgd::create(options);
    std::vector<float> x(3, static_cast<float>(comm.rank()));
    ASSERT_TRUE((*one)->step(comm, *graph, x.data(), nullptr, 0));
    auto other = DecentralizedSgd::create(options);
    expect_damage_noticed(**other, (*one)->save());
    EXPECT_EQ((*other)->round(), 1U);
    ASSERT_TRUE((*other)->step(comm, *graph, x.data(), nullptr, 0));
    EXPECT_EQ(x[0], 1.5F);  // exact after both rounds, in any order but not from one twice
  });
}

TEST(DecentralizedSgd, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(DecentralizedSgd::create({.count = 0}).status(), "no elements");
  expect_refused(DecentralizedSgd::create({.count = 1, .type = DataType::kInt32}).status(),
                 "float");
  expect_refused(DecentralizedSgd::create({.count = UINT64_MAX / 2}).status(), "memory");
  RankGroup group(3);
  const auto graph = graph_of("ring", 3);
  const auto larger = graph_of("ring", 4);
  const double lopsided[] = {0.5, 0.5, 0, 0, 0.5, 0.5, 0.25, 0.25, 0.5};
  const auto rows = make_graph(3, lopsided, Stochastic::kRow);
  ASSERT_TRUE(rows.is_ok()) << rows.status().to_string();
  group.each([&](Communicator& comm) {
    auto method = DecentralizedSgd::create({.count = 10});
    std::vector<float> x(10, static_cast<float>(comm.rank()));
    const std::vector<float> before = x;
    const uint64_t sent = comm.counters().messages_sent;
    const auto step = [&](const Graph& g, float* values, const float* gradient, double rate) {
      return (*method)->step(comm, g, values, gradient, rate);
    };
    const std::vector<float> g(10, 1.0F);
    expect_refused(step(*graph, nullptr, nullptr, 0), "null");
    expect_refused(step(*graph, x.data(), x.data() + 4, 0.1), "overlap");
    expect_refused(step(*graph, x.data(), g.data(), std::nan("")), "finite");
    expect_refused(step(*graph, x.data(), g.data(), std::numeric_limits<double>::infinity()),
                   "finite");
    expect_refused(step(*larger, x.data(), g.data(), 0.1), "4 ranks and this communicator of 3");
    expect_refused(step(**rows, x.data(), g.data(), 0.1), "column");
    expect_refused((*method)->begin(comm, *graph, x.data()), "adapt-while-combine");
    EXPECT_EQ(x, before);
    EXPECT_EQ(comm.counters().messages_sent, sent);
    auto other = DecentralizedSgd::create({.count = 11});
    expect_refused((*other)->load((*method)->save()), "count 10, this method has 11");
    auto push = PushSum::create({.count = 10});
    expect_refused((*push)->load((*method)->save()), "another method's");
    EXPECT_TRUE(step(*graph, x.data(), g.data(), 0.1));
    const std::vector<std::byte> kept = (*method)->save();
    expect_refused((*method)->load((*other)->save()), "count 11, this method has 10");
    EXPECT_EQ((*method)->save(), kept);
  });
}

}  // namespace
}  // namespace gossamer
