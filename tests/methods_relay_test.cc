// RelaySum on trees: exact after as many steps as a tree is long, and without bias; and the trees.

#include <gtest/gtest.h>

#include <algorithm>

#include "gossamer/gossip_groups.h"
#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

// Rank r's parent is (r - 1) / 2.
std::unique_ptr<Graph> binary_tree(Rank n) {
  std::vector<Edge> edges;
  for (Rank r = 1; r < n; ++r) edges.push_back({r, (r - 1) / 2});
  return make_graph(n, edges).value();
}

std::unique_ptr<RelaySum> relay(size_t width) {
  return RelaySum::create({.count = width, .type = DataType::kFloat64}).value();
}

TEST(RelaySum, E21ConstantsAreExactAfterAsManyStepsAsTheTreeIsLong) {
  const auto chain = graph_of("chain", 16);
  const auto star = graph_of("star", 16);
  const auto binary = binary_tree(15);
  const std::pair<const Graph*, int> trees[] = {
      {chain.get(), 15}, {star.get(), 2}, {binary.get(), 6}};
  for (const auto& [tree, length] : trees) {
    const Rank n = tree->size();
    for (const char* transport : {"loopback", "shm"}) {
      RankGroup group(n, transport);
      // exact[t]: ranks that hold the mean after t + 1 steps. The values are whole numbers.
      std::vector<std::vector<int>> exact(20, std::vector<int>(static_cast<size_t>(n)));
      const double mean = (static_cast<double>(n) - 1) * static_cast<double>(n) / 2 / n;
      // clang 14 does not let a lambda refer to a structured binding.
      group.each([&, &graph = *tree](Communicator& comm) {
        const auto method = relay(3);
        for (auto& ranks : exact) {
          const double value = comm.rank();
          double x[] = {value, -2 * value, 1};
          const Status done = method->step(comm, graph, x, nullptr, 0);
          ASSERT_TRUE(done.is_ok()) << done.to_string();
          ranks[static_cast<size_t>(comm.rank())] =
              x[0] == mean && x[1] == -2 * mean && x[2] == 1 && method->heard() == n ? 1 : 0;
        }
      });
      for (size_t t = 0; t < exact.size(); ++t) {
        const auto ranks = std::count(exact[t].begin(), exact[t].end(), 1);
        EXPECT_EQ(ranks == n, static_cast<int>(t) + 1 >= length) << tree->name() << " step " << t;
      }
    }
  }
}

// m(i -> j) and the values by the rule, for all ranks.
TEST(RelaySum, StepsAreThoseOfTheRule) {
  const Quadratics task{7, 5};
  const auto tree = binary_tree(7);
  const auto mixing = tree->mixing(0);
  std::vector<double> expected = gaussian_rows(task.n, task.width, 4);
  std::vector<double> x = expected;
  using Sum = std::vector<double>;                                      // elements, then how many
  std::vector<std::vector<Sum>> in(7, std::vector<Sum>(7, Sum(6, 0)));  // in[i][j] is m(j -> i)
  RankGroup group(task.n);
  std::vector<std::unique_ptr<RelaySum>> methods;
  for (Rank r = 0; r < task.n; ++r) methods.push_back(relay(task.width));
  for (int t = 0; t < 30; ++t) {
    auto next = in;
    for (size_t i = 0; i < 7; ++i) {
      double g[5];
      task.gradient(static_cast<Rank>(i), expected.data() + i * 5, g);
      for (size_t k = 0; k < 5; ++k) expected[i * 5 + k] -= 0.3 * g[k];
    }
    for (size_t i = 0; i < 7; ++i) {
      for (const Rank j : mixing->targets(static_cast<Rank>(i))) {
        Sum sum(expected.begin() + static_cast<ptrdiff_t>(i * 5),
                expected.begin() + static_cast<ptrdiff_t>(i * 5 + 5));
        sum.push_back(1);
        for (const Rank from : mixing->targets(static_cast<Rank>(i))) {
          if (from == j) continue;
          for (size_t k = 0; k < 6; ++k) sum[k] += in[i][static_cast<size_t>(from)][k];
        }
        next[static_cast<size_t>(j)][i] = sum;
      }
    }
    in = next;
    for (size_t i = 0; i < 7; ++i) {
      double heard = 1;
      for (const Sum& sum : in[i]) heard += sum[5];
      for (size_t k = 0; k < 5; ++k) {
        double sum = expected[i * 5 + k];
        for (const Sum& message : in[i]) sum += message[k];
        expected[i * 5 + k] = sum / heard;
      }
    }
    group.each([&](Communicator& comm) {
      double* const mine = x.data() + static_cast<size_t>(comm.rank()) * 5;
      double g[5];
      task.gradient(comm.rank(), mine, g);
      ASSERT_TRUE(methods[static_cast<size_t>(comm.rank())]->step(comm, *tree, mine, g, 0.3));
    });
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-12) << t;
  }
}

// Distance from the optimum per rank and element.
double error_of(RankGroup* group, const Quadratics& task, const Graph& tree, double rate,
                int steps) {
  std::vector<double> x = gaussian_rows(task.n, task.width, 2);
  group->each([&](Communicator& comm) {
    const auto method = relay(task.width);
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
    std::vector<double> g(task.width);
    for (int t = 0; t < steps; ++t) {
      task.gradient(comm.rank(), mine, g.data());
      ASSERT_TRUE(method->step(comm, tree, mine, g.data(), rate));
    }
  });
  return distance(x, task.optimum()) / std::sqrt(static_cast<double>(x.size()));
}

TEST(RelaySum, E21TheOptimumIsReachedWhateverTheRanksHave) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  const auto binary = binary_tree(task.n);
  EXPECT_LE(error_of(&group, task, *binary, 0.05, 4000), 4e-6);
  EXPECT_LE(error_of(&group, task, *binary, 0.2, 4000), 1e-12);
  const auto made = spanning_tree(*graph_of("torus", task.n));
  ASSERT_TRUE(made.is_ok()) << made.status().to_string();
  EXPECT_LE(error_of(&group, task, **made, 0.2, 4000), 1e-12);
}

TEST(RelaySum, AfterALossTheOthersBeginAnewOnATreeOfTheirOwn) {
  const Quadratics task{4, 5};
  RankGroup five(5);
  RankGroup four(4);
  const auto before = graph_of("star", 5);
  const auto after = graph_of("chain", 4);
  std::vector<std::unique_ptr<RelaySum>> methods;
  for (Rank r = 0; r < 5; ++r) methods.push_back(relay(task.width));
  std::vector<double> x = gaussian_rows(5, task.width, 2);
  const auto step = [&](Communicator& comm, const Graph& tree) {
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
    std::vector<double> g(task.width);
    task.gradient(std::min(comm.rank(), 3), mine, g.data());
    return methods[static_cast<size_t>(comm.rank())]->step(comm, tree, mine, g.data(), 0.2);
  };
  five.each([&](Communicator& comm) {
    for (int t = 0; t < 20; ++t) ASSERT_TRUE(step(comm, *before));
  });
  four.each([&](Communicator& comm) {
    expect_refused(step(comm, *after), "reset()");
    methods[static_cast<size_t>(comm.rank())]->reset();
    EXPECT_EQ(methods[static_cast<size_t>(comm.rank())]->heard(), 1);
  });
  four.each([&](Communicator& comm) {
    for (int t = 0; t < 1500; ++t) ASSERT_TRUE(step(comm, *after));
  });
  x.resize(4 * task.width);
  EXPECT_LE(distance(x, task.optimum()), 1e-12);
}

TEST(RelaySum, OneMessagePerNeighborAndNoMemory) {
  RankGroup group(4);
  const auto star = graph_of("star", 4);
  group.each([&](Communicator& comm) {
    auto method = RelaySum::create({.count = 100}).value();
    std::vector<float> x(100, 1.0F);
    const auto steps = [&](int n) {
      for (int t = 0; t < n; ++t) {
        ASSERT_TRUE(method->step(comm, *star, x.data(), nullptr, 0));
      }
    };
    steps(5);
    const auto before = comm.counters();
    // The communicator's lists grow to the most messages that ever were under way.
    int windows = 0;
    for (int w = 0; w < 30; ++w) {
      const uint64_t allocated = allocations;
      steps(10);
      if (allocations != allocated) ++windows;
    }
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_LE(windows, 6);
    }
    const uint64_t neighbors = comm.rank() == 0 ? 3 : 1;
    EXPECT_EQ(comm.counters().messages_sent - before.messages_sent, 300 * neighbors);
    EXPECT_EQ(comm.counters().bytes_sent - before.bytes_sent, 300 * neighbors * 404);
    for (const float value : x) EXPECT_EQ(value, 1.0F);
  });
}

TEST(RelaySum, SavedMessagesGoOn) {
  RankGroup group(5);
  const auto chain = graph_of("chain", 5);
  std::vector<std::vector<std::byte>> all(5);
  group.each([&](Communicator& comm) {
    auto one = relay(7);
    std::vector<double> x(7, comm.rank());
    for (int t = 0; t < 3; ++t) ASSERT_TRUE(one->step(comm, *chain, x.data(), nullptr, 0));
    auto other = relay(7);
    expect_damage_noticed(*other, one->save());
    all[static_cast<size_t>(comm.rank())] = one->save();
    EXPECT_EQ(other->heard(), one->heard());
    std::vector<double> again = x;
    for (int t = 0; t < 5; ++t) {
      ASSERT_TRUE(one->step(comm, *chain, x.data(), nullptr, 0));
      ASSERT_TRUE(other->step(comm, *chain, again.data(), nullptr, 0));
    }
    EXPECT_EQ(x, again);
  });
  group.each([&](Communicator& comm) {
    auto wrong = relay(7);
    ASSERT_TRUE(wrong->load(all[static_cast<size_t>((comm.rank() + 1) % 5)]));
    std::vector<double> x(7, 1);
    const uint64_t sent = comm.counters().messages_sent;
    expect_refused(wrong->step(comm, *chain, x.data(), nullptr, 0), "this is rank");
    EXPECT_EQ(comm.counters().messages_sent, sent);
  });
}

TEST(RelaySum, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(RelaySum::create({.count = 4, .type = DataType::kBfloat16}).status(),
                 "float32 or float64");
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto method = relay(4);
    std::vector<double> x(4, 1.0);
    const uint64_t sent = comm.counters().messages_sent;
    const auto step = [&](const Graph& graph, double* values) {
      return method->step(comm, graph, values, nullptr, 0);
    };
    expect_refused(step(*graph_of("ring", 4), x.data()), "4 edges between 4 ranks");
    expect_refused(step(*graph_of("ring", 4), x.data()), "spanning_tree()");
    expect_refused(step(*graph_of("one_peer_exponential", 4), x.data()), "gives");
    expect_refused(step(*graph_of("random_matching", 4), x.data()), "rounds that differ");
    expect_refused(step(*graph_of("chain", 5), x.data()), "5 ranks");
    expect_refused(step(*graph_of("chain", 4), nullptr), "null");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_TRUE(step(*graph_of("chain", 4), x.data()));
    expect_refused(step(*graph_of("star", 4), x.data()), "reset()");
  });
}

// Edges from end to end of a tree: the most of any two ranks.
int length_of(const Graph& tree) {
  const auto mixing = tree.mixing(0);
  int longest = 0;
  for (Rank from = 0; from < tree.size(); ++from) {
    std::vector<int> away(static_cast<size_t>(tree.size()), -1);
    std::vector<Rank> order = {from};
    away[static_cast<size_t>(from)] = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      for (const Rank next : mixing->targets(order[i])) {
        if (away[static_cast<size_t>(next)] >= 0) continue;
        away[static_cast<size_t>(next)] = away[static_cast<size_t>(order[i])] + 1;
        longest = std::max(longest, away[static_cast<size_t>(next)]);
        order.push_back(next);
      }
    }
    EXPECT_EQ(order.size(), static_cast<size_t>(tree.size())) << "not connected";
  }
  return longest;
}

TEST(SpanningTree, IsATreeOfTheGraphsEdgesAndNotMuchDeeper) {
  for (const char* name : {"ring", "torus", "hypercube", "static_exponential", "star", "complete",
                           "chain", "one_peer_exponential", "base:k=1", "random_regular"}) {
    for (const Rank n : {1, 2, 4, 16, 64}) {
      const auto graph = graph_of(name, n);
      const auto tree = spanning_tree(*graph);
      ASSERT_TRUE(tree.is_ok()) << name << ": " << tree.status().to_string();
      size_t edges = 0;
      for (Rank r = 0; r < n; ++r) {
        for (const Rank to : (*tree)->mixing(0)->targets(r)) {
          ++edges;
          bool known = false;
          for (uint64_t t = 0; t < graph->period(); ++t) {
            known =
                known || graph->mixing(t)->weight(r, to) > 0 || graph->mixing(t)->weight(to, r) > 0;
          }
          EXPECT_TRUE(known) << name << ": " << r << " " << to;
        }
      }
      EXPECT_EQ(edges, 2 * static_cast<size_t>(n - 1)) << name;
      if (std::string(name) == "star" && n > 2) {
        EXPECT_EQ(length_of(**tree), 2);
      }
      if (std::string(name) == "chain" || std::string(name) == "ring") {
        EXPECT_EQ(length_of(**tree), n - 1);
      }
      if (std::string(name) == "torus" && n == 64) {
        EXPECT_LE(length_of(**tree), 16);  // twice the torus's own
      }
      if (std::string(name) == "complete" && n > 2) {
        EXPECT_EQ(length_of(**tree), 2);
      }
    }
  }
  // A chain whose numbers are out of order: a tree stays what it is.
  const Edge edges[] = {{3, 0}, {0, 4}, {4, 1}, {1, 2}};
  const auto chain = make_graph(5, edges).value();
  EXPECT_EQ(*spanning_tree(*chain).value()->mixing(0), *chain->mixing(0));
  expect_refused(spanning_tree(*graph_of("random_matching", 4)).status(), "anew");
}

}  // namespace
}  // namespace gossamer
