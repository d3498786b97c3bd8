// Push-sum over directed graphs against the dense matrix.

#include <gtest/gtest.h>

#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

TEST(PushSum, StepsAreThoseOfTheDenseMatrix) {
  const Rank n = 5;
  const size_t width = 21;
  const auto graph = directed_graph(n);
  EXPECT_FALSE(check_graph(*graph, Stochastic::kDouble, false).is_ok());
  const std::vector<double> targets = gaussian_rows(n, width, 3);
  for (const char* transport : {"loopback", "shm"}) {
    // Rows of x, then w.
    std::vector<double> all(static_cast<size_t>(n) * (width + 1), 1);
    std::vector<double> z = gaussian_rows(n, width, 4);
    for (size_t i = 0; i < z.size(); ++i) all[i / width * (width + 1) + i % width] = z[i];
    RankGroup group(n, transport);
    std::vector<std::unique_ptr<PushSum>> methods;
    for (Rank r = 0; r < n; ++r) {
      methods.push_back(PushSum::create({.count = width, .type = DataType::kFloat64}).value());
    }
    std::vector<double> expected = z;
    for (uint64_t t = 0; t < 30; ++t) {
      for (size_t i = 0; i < z.size(); ++i) {
        all[i / width * (width + 1) + i % width] -= 0.2 * (expected[i] - targets[i]);
      }
      const std::vector<double> before = all;
      graph->mixing(t)->apply(before, all, width + 1);
      for (size_t i = 0; i < z.size(); ++i) {
        const size_t row = i / width * (width + 1);
        expected[i] = all[row + i % width] / all[row + width];
      }
      group.each([&](Communicator& comm) {
        double* const mine = z.data() + static_cast<size_t>(comm.rank()) * width;
        std::vector<double> g(width);
        for (size_t k = 0; k < width; ++k) {
          g[k] = mine[k] - targets[static_cast<size_t>(comm.rank()) * width + k];
        }
        const Status done =
            methods[static_cast<size_t>(comm.rank())]->step(comm, *graph, mine, g.data(), 0.2);
        ASSERT_TRUE(done.is_ok()) << done.to_string();
      });
      double mass = 0;
      for (const auto& method : methods) mass += method->weight();
      ASSERT_NEAR(mass, n, 1e-12);
      for (size_t i = 0; i < z.size(); ++i) ASSERT_NEAR(z[i], expected[i], 1e-12) << t;
    }
  }
}

TEST(PushSum, ReachesTheMeanOfADirectedGraphInFloatAndDouble) {
  const Rank n = 6;
  const size_t width = 50;
  const auto graph = directed_graph(n);
  const std::vector<double> start = gaussian_rows(n, width, 8);
  const std::vector<double> mean = mean_of(start, width);
  RankGroup group(n);
  group.each([&](Communicator& comm) {
    std::vector<double> wide = row_of(start, comm.rank(), width);
    std::vector<float> narrow(wide.begin(), wide.end());
    auto doubles = PushSum::create({.count = width, .type = DataType::kFloat64});
    auto floats = PushSum::create({.count = width});
    for (int t = 0; t < 150; ++t) {
      ASSERT_TRUE((*doubles)->step(comm, *graph, wide.data(), nullptr, 0));
      ASSERT_TRUE((*floats)->step(comm, *graph, narrow.data(), nullptr, 0));
    }
    for (size_t k = 0; k < width; ++k) {
      EXPECT_NEAR(wide[k], mean[k], 1e-13);
      EXPECT_NEAR(static_cast<double>(narrow[k]), mean[k], 1e-5);
    }
  });
}

TEST(PushSum, OneMessageCarriesValuesAndWeight) {
  RankGroup group(4);
  const auto graph = graph_of("one_peer_exponential", 4);
  group.each([&](Communicator& comm) {
    auto method = PushSum::create({.count = 100});
    std::vector<float> z(100, 1.0F);
    const auto steps = [&](int n) {
      for (int t = 0; t < n; ++t) {
        ASSERT_TRUE((*method)->step(comm, *graph, z.data(), nullptr, 0));
      }
    };
    steps(2);
    const auto before = comm.counters();
    const uint64_t allocated = allocations;
    steps(1);
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_EQ(allocations - allocated, 0U);
    }
    EXPECT_EQ(comm.counters().messages_sent - before.messages_sent, 1U);
    EXPECT_EQ(comm.counters().bytes_sent - before.bytes_sent, 404U);
  });
}

TEST(PushSum, SavedMassGoesOn) {
  const auto graph = directed_graph(4);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const PushSum::Options options{.count = 7, .type = DataType::kFloat64};
    auto one = PushSum::create(options);
    std::vector<double> z(7, comm.rank());
    for (int t = 0; t < 3; ++t) ASSERT_TRUE((*one)->step(comm, *graph, z.data(), nullptr, 0));
    auto other = PushSum::create(options);
    expect_damage_noticed(**other, (*one)->save());
    EXPECT_EQ((*other)->weight(), (*one)->weight());
    std::vector<double> again = z;
    for (int t = 0; t < 3; ++t) {
      ASSERT_TRUE((*one)->step(comm, *graph, z.data(), nullptr, 0));
      ASSERT_TRUE((*other)->step(comm, *graph, again.data(), nullptr, 0));
    }
    EXPECT_EQ(z, again);
  });
}

TEST(PushSum, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(PushSum::create({.count = 4, .type = DataType::kFloat16}).status(),
                 "float32 or float64");
  const double rows[] = {0.5, 0.5, 0, 0, 0.5, 0.5, 0.25, 0.25, 0.5};
  const auto row_sums = make_graph(3, rows, Stochastic::kRow);
  ASSERT_TRUE(row_sums.is_ok());
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    auto method = PushSum::create({.count = 4});
    std::vector<float> z(4, 1.0F);
    const uint64_t sent = comm.counters().messages_sent;
    expect_refused((*method)->step(comm, **row_sums, z.data(), nullptr, 0), "column");
    expect_refused((*method)->step(comm, **row_sums, nullptr, nullptr, 0), "null");
    expect_refused((*method)->step(comm, *directed_graph(4), z.data(), nullptr, 0), "4 ranks");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_TRUE((*method)->step(comm, *directed_graph(3), z.data(), nullptr, 0));
  });
}

}  // namespace
}  // namespace gossamer
