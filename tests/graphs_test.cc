// Peer graphs against closed forms and tables: spectral gaps, rounds to the mean, exactness. E4, E5
// and E6 are acceptance experiments; their numbers come from the papers that the graphs name and
// from a simulation of our own.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <numbers>

#include "gossip/analysis.h"
#include "gossip/graph.h"

namespace gossamer {
namespace {

std::unique_ptr<Graph> graph_of(const std::string& text, Rank size, uint64_t seed = 1) {
  Result<std::unique_ptr<Graph>> made = make_graph(text, size, seed);
  EXPECT_TRUE(made.is_ok()) << text << " of " << size << ": " << made.status().to_string();
  return made ? std::move(*made) : repeat_rounds({Mixing::identity(size)});
}

std::string refusal(const std::string& text, Rank size) {
  const Result<std::unique_ptr<Graph>> made = make_graph(text, size, 1);
  EXPECT_FALSE(made.is_ok()) << text;
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  return std::string(made.status().message());
}

// Slope of ln e over the second half of a decay, by least squares.
double slope_of(const std::vector<double>& decay) {
  const size_t begin = decay.size() / 2;
  const auto n = static_cast<double>(decay.size() - begin);
  double sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t t = begin; t < decay.size(); ++t) {
    const auto x = static_cast<double>(t);
    const double y = std::log(decay[t]);
    sx += x;
    sy += y;
    sxx += x * x;
    sxy += x * y;
  }
  return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

TEST(Graphs, EveryOneIsStochasticAndConnected) {
  for (const GraphFactory* factory : graphs()) {
    const std::string name = factory->name;
    if (name == "edges") continue;
    for (const Rank n : {2, 3, 4, 5, 7, 8, 12, 16, 25, 64}) {
      if (name == "hypercube" && (n & (n - 1)) != 0) continue;
      const auto graph = graph_of(name, n);
      std::vector<Mixing> rounds;
      const uint64_t looked = graph->period() > 0 ? graph->period() : 64;
      for (uint64_t t = 0; t < looked; ++t) {
        rounds.push_back(*graph->mixing(t));
        const Stochastic what = name == "epidemic" ? Stochastic::kRow : Stochastic::kDouble;
        const Status sums = check_sums(rounds.back(), what);
        EXPECT_TRUE(sums.is_ok()) << name << " of " << n << ": " << sums.message();
      }
      const Status connected = check_connected(rounds);
      EXPECT_TRUE(connected.is_ok()) << name << " of " << n << ": " << connected.message();
    }
  }
}

TEST(Graphs, E4SpectralGapsAreThoseOfTheTable) {
  const auto gap = [](const std::string& name, Rank n) {
    return 1 - analyse(*graph_of(name, n)).contraction;
  };
  EXPECT_NEAR(gap("ring", 8), .195262, 1e-6);
  EXPECT_NEAR(gap("ring", 64), .003210, 1e-6);
  EXPECT_NEAR(gap("torus", 8), .5, 1e-9);
  EXPECT_NEAR(gap("torus", 25), .276393, 1e-6);
  EXPECT_NEAR(gap("torus", 64), .117157, 1e-6);
  EXPECT_NEAR(gap("hypercube", 16), .4, 1e-9);
  EXPECT_NEAR(gap("static_exponential", 25), .489139, 1e-6);
  EXPECT_NEAR(gap("static_exponential", 64), .285714, 1e-6);
  EXPECT_NEAR(gap("star", 25), .04, 1e-9);
  EXPECT_NEAR(gap("chain", 16), .012810, 1e-6);
  EXPECT_NEAR(gap("complete", 16), 1, 1e-9);
}

TEST(Graphs, E4MeasuredDecayIsTheSpectrums) {
  for (const char* name : {"ring", "torus", "hypercube", "static_exponential"}) {
    for (const Rank n : {8, 16, 25, 64}) {
      if (std::string(name) == "hypercube" && n == 25) continue;
      const auto graph = graph_of(name, n);
      const double expected = std::log(analyse(*graph).contraction);
      const double measured = slope_of(simulate_decay(*graph, 1e-9, 20'000, 7));
      EXPECT_NEAR(measured / expected, 1, .05) << name << " of " << n;
    }
  }
  const double ring = 1.0 / 3 + 2.0 / 3 * std::cos(2 * std::numbers::pi / 16);
  EXPECT_NEAR(analyse(*graph_of("ring", 16)).contraction, ring, 1e-9);
}

TEST(Graphs, E5OnePeerExponentialIsExactForPowersOfTwo) {
  for (const auto& [n, rounds] : {std::pair(8, 3), std::pair(16, 4), std::pair(64, 6)}) {
    const auto graph = graph_of("one_peer_exponential", n);
    EXPECT_EQ(analyse(*graph).rounds_exact, static_cast<uint64_t>(rounds)) << n;
    const std::vector<double> decay = simulate_decay(*graph, 0, static_cast<uint64_t>(rounds), 3);
    EXPECT_LE(decay[static_cast<size_t>(rounds)], 1e-15) << n;
    EXPECT_GT(decay[static_cast<size_t>(rounds) - 1], .01) << n;
  }
}

TEST(Graphs, E5OnePeerExponentialOnlyApproachesTheMeanOtherwise) {
  const auto worst_after = [](Rank n, uint64_t rounds) {
    const auto graph = graph_of("one_peer_exponential", n);
    double sum = 0;
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      sum += simulate_decay(*graph, 0, rounds, seed).back();
    }
    return sum / 5;
  };
  EXPECT_NEAR(worst_after(12, 4), .109, .109 * .15);
  EXPECT_NEAR(worst_after(100, 7), .035, .035 * .15);
  EXPECT_NEAR(static_cast<double>(analyse(*graph_of("one_peer_exponential", 12)).rounds_simulated),
              35, 3.5);
  EXPECT_NEAR(static_cast<double>(analyse(*graph_of("one_peer_exponential", 100)).rounds_simulated),
              55, 5.5);
}

TEST(Graphs, E6BaseIsExactSymmetricAndSparseForEveryNumber) {
  uint64_t longest = 0;
  for (int k = 1; k <= 4; ++k) {
    for (Rank n = 2; n <= 100; ++n) {
      const auto graph = graph_of("base:k=" + std::to_string(k), n);
      const GraphFacts facts = analyse(*graph);
      EXPECT_EQ(facts.rounds_exact, graph->period()) << "n " << n << " k " << k;
      EXPECT_TRUE(facts.symmetric && facts.doubly_stochastic) << "n " << n << " k " << k;
      EXPECT_LE(facts.degree_max, k) << "n " << n;
      EXPECT_LE(static_cast<double>(graph->period()), 2 * std::log(n) / std::log(k + 1) + 2 + 1e-9)
          << "n " << n << " k " << k;
      if (k == 1) longest = std::max(longest, graph->period());
    }
  }
  EXPECT_EQ(longest, 13U);
}

TEST(Graphs, E6BaseHasThePublishedLengths) {
  const struct {
    Rank n;
    int k;
    uint64_t length;
  } kKnown[] = {{25, 1, 9},    {6, 1, 4},  {25, 2, 6}, {25, 4, 2}, {100, 1, 11}, {1000, 1, 16},
                {5, 1, 5},     {7, 1, 5},  {10, 1, 6}, {12, 1, 5}, {22, 1, 8},   {24, 1, 6},
                {48, 1, 7},    {5, 2, 3},  {6, 2, 2},  {7, 2, 4},  {22, 2, 6},   {100, 2, 8},
                {1000, 2, 12}, {16, 3, 2}, {25, 3, 5}, {64, 4, 3}};
  for (const auto& known : kKnown) {
    EXPECT_EQ(graph_of("base:k=" + std::to_string(known.k), known.n)->period(), known.length)
        << "n " << known.n << " k " << known.k;
  }
}

TEST(Graphs, RandomRoundsContractAsTheirExpectationSays) {
  for (const Rank n : {8, 16, 64}) {
    const double found =
        static_cast<double>(analyse(*graph_of("random_matching", n)).rounds_simulated);
    const double factor = .5 - 1.0 / (2.0 * (n - 1));
    const double expected = 2 * std::log(1e-6) / std::log(factor);
    EXPECT_NEAR(found / expected, 1, .3) << n;
  }
  EXPECT_NEAR(static_cast<double>(analyse(*graph_of("equi_dyn", 64)).rounds_simulated), 31, 9);
}

TEST(Graphs, DependOnTheSeedAloneAndNotOnWhoAsks) {
  const auto one = graph_of("random_matching", 9, 5);
  const auto same = graph_of("random_matching", 9, 5);
  const auto other = graph_of("random_matching", 9, 6);
  int differing = 0;
  for (uint64_t t = 0; t < 10; ++t) {
    for (Rank r = 0; r < 9; ++r) {
      EXPECT_EQ(one->mixing(t)->sources(r), same->mixing(t)->sources(r));
      differing += one->mixing(t)->sources(r) != other->mixing(t)->sources(r) ? 1 : 0;
    }
  }
  EXPECT_GT(differing, 10);
}

TEST(Graphs, UnequalHostsCountEveryRankAlike) {
  const auto graph = graph_of("hierarchical:hosts=1+4+2+5", 12);
  const GraphFacts facts = analyse(*graph);
  EXPECT_TRUE(facts.symmetric && facts.doubly_stochastic);
  EXPECT_LT(facts.contraction, 1);
  // Ranks of a host hold the same after one round.
  std::vector<double> in(12, 0.0);
  std::vector<double> out(12);
  in[2] = 1;
  graph->mixing(0)->apply(in, out, 1);
  EXPECT_NEAR(out[1], out[4], 1e-15);
  EXPECT_NEAR(out[7], out[11], 1e-15);
}

TEST(Graphs, RefuseWhatDoesNotFit) {
  EXPECT_NE(refusal("rink", 4).find("there are ring, torus"), std::string::npos);
  EXPECT_NE(refusal("hypercube", 12).find("power of two"), std::string::npos);
  EXPECT_NE(refusal("base:k=0", 8).find("k"), std::string::npos);
  EXPECT_NE(refusal("base:q=2", 8).find("it has k=1"), std::string::npos);
  EXPECT_NE(refusal("ring:k=2", 8).find("it has none"), std::string::npos);
  EXPECT_NE(refusal("random_regular:degree=3", 8).find("even"), std::string::npos);
  EXPECT_NE(refusal("hierarchical:hosts=3+3", 8).find("6 ranks"), std::string::npos);
  EXPECT_NE(refusal("ring", 0).find("1 to"), std::string::npos);
  EXPECT_NE(refusal("edges:file=/no/such/file", 4).find("cannot read"), std::string::npos);
}

class EdgesFile : public testing::Test {
 protected:
  EdgesFile() : path_(testing::TempDir() + "gossamer-edges-" + std::to_string(getpid())) {}
  ~EdgesFile() override { unlink(path_.c_str()); }
  std::string write(const std::string& text) {
    std::ofstream(path_) << text;
    return "edges:file=" + path_;
  }
  std::string path_;
};

TEST_F(EdgesFile, AUsersGraphGetsMetropolisWeights) {
  const auto graph = graph_of(write("# a path and a triangle\n0 1\n1 2\n2 3\n3 1\n"), 4);
  const Mixing& mixing = *graph->mixing(0);
  EXPECT_DOUBLE_EQ(mixing.weight(0, 1), 1.0 / 4);
  EXPECT_DOUBLE_EQ(mixing.weight(2, 3), 1.0 / 3);
  EXPECT_TRUE(check_symmetry(mixing).is_ok());
}

TEST_F(EdgesFile, IsCheckedBeforeItIsUsed) {
  EXPECT_NE(refusal(write("0 1\n2 3\n"), 4).find("not connected"), std::string::npos);
  EXPECT_NE(refusal(write("0 1\n1 9\n"), 4).find(":2: a rank"), std::string::npos);
  EXPECT_NE(refusal(write("0 1 0.5\n0 0 0.4\n1 0 0.5\n1 1 0.5\n"), 2).find("row 0"),
            std::string::npos);
  EXPECT_NE(refusal(write("0 1\n1 0 0.5\n"), 2).find("every edge"), std::string::npos);
  EXPECT_NE(refusal(write("\n"), 2).find("no edge"), std::string::npos);
  EXPECT_NE(refusal(write("1 1\n"), 2).find("itself"), std::string::npos);
}

TEST_F(EdgesFile, WeightsAreDoublyStochasticUnlessLessIsAskedFor) {
  const std::string text = "0 0 0.5\n0 1 0.5\n1 0 0.25\n1 1 0.75\n";
  EXPECT_NE(refusal(write(text), 2).find("column 0"), std::string::npos);
  EXPECT_NE(refusal(write(text) + ",sums=column", 2).find("column 0"), std::string::npos);
  EXPECT_NE(refusal(write(text) + ",sums=some", 2).find("none of double, row and column"),
            std::string::npos);
  EXPECT_DOUBLE_EQ(graph_of(write(text) + ",sums=row", 2)->mixing(0)->weight(1, 0), 0.25);
}

std::string refused(const Result<std::unique_ptr<Graph>>& made) {
  EXPECT_FALSE(made.is_ok());
  return std::string(made.status().message());
}

TEST(UserGraph, FromEdgesHasMetropolisWeights) {
  const std::vector<Edge> path = {{0, 1}, {1, 2}, {2, 1}};
  const auto made = make_graph(3, path);
  ASSERT_TRUE(made.is_ok()) << made.status().to_string();
  EXPECT_DOUBLE_EQ((*made)->mixing(7)->weight(0, 1), 1.0 / 3);
  EXPECT_TRUE(check_graph(**made, Stochastic::kDouble, /*symmetric=*/true).is_ok());
  EXPECT_NE(refused(make_graph(4, path)).find("not connected"), std::string::npos);
  EXPECT_NE(refused(make_graph(2, path)).find("leads to no rank"), std::string::npos);
  EXPECT_NE(refused(make_graph(2, std::vector<Edge>{{1, 1}})).find("itself"), std::string::npos);
}

TEST(UserGraph, FromWeightsIsCheckedAsAsked) {
  const std::vector<double> rows = {.5, .5, .25, .75};
  EXPECT_NE(refused(make_graph(2, rows)).find("column 0"), std::string::npos);
  EXPECT_TRUE(make_graph(2, rows, Stochastic::kRow).is_ok());
  EXPECT_NE(refused(make_graph(3, rows)).find("give 9"), std::string::npos);
  EXPECT_NE(refused(make_graph(2, std::vector<double>{1.5, -.5, -.5, 1.5})).find("[0, 1]"),
            std::string::npos);
  const double nan = std::nan("");
  EXPECT_NE(refused(make_graph(2, std::vector<double>{nan, 1, 1, 0})).find("[0, 1]"),
            std::string::npos);
  EXPECT_NE(refused(make_graph(2, std::vector<double>{1, 0, 0, 1})).find("not connected"),
            std::string::npos);
}

TEST(CheckGraph, NamesTheGraphAndTheRoundThatDoesNotFit) {
  const auto directed = graph_of("one_peer_exponential", 8);
  EXPECT_TRUE(check_graph(*directed, Stochastic::kDouble, /*symmetric=*/false).is_ok());
  const Status status = check_graph(*directed, Stochastic::kDouble, /*symmetric=*/true);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("graph one_peer_exponential, round 0: rank 0"), std::string::npos)
      << status.message();
  EXPECT_TRUE(check_graph(*graph_of("random_matching", 9), Stochastic::kDouble, true).is_ok());
}

TEST(Graphs, HaveOneIdentityPerContent) {
  EXPECT_EQ(graph_of("ring", 8)->identity(), graph_of("ring", 8, 2)->identity());
  EXPECT_NE(graph_of("ring", 8)->identity(), graph_of("ring", 9)->identity());
  EXPECT_NE(graph_of("ring", 8)->identity(), graph_of("chain", 8)->identity());
  EXPECT_EQ(graph_of("equi_dyn", 8, 3)->identity(), graph_of("equi_dyn", 8, 3)->identity());
  EXPECT_NE(graph_of("equi_dyn", 8, 3)->identity(), graph_of("equi_dyn", 8, 4)->identity());
  EXPECT_NE(graph_of("equi_dyn", 8)->identity(), graph_of("random_matching", 8)->identity());
}

TEST(Mixing, InFloatKeepsItsSums) {
  for (const char* name : {"ring", "torus", "star", "base:k=2", "static_exponential"}) {
    const Mixing exact = *graph_of(name, 25)->mixing(0);
    const Mixing rounded = exact.in_float();
    for (Rank i = 0; i < 25; ++i) {
      double sum = 0;
      for (const Weight& w : rounded.row(i)) {
        EXPECT_EQ(w.value, static_cast<double>(static_cast<float>(w.value)));
        EXPECT_NEAR(w.value, exact.weight(i, w.rank), 1e-6);
        sum += w.value;
      }
      EXPECT_NEAR(sum, 1, 3.1e-8) << name << " row " << i;
    }
  }
}

TEST(Mixing, NamesTheRowTheColumnAndThePairThatAreWrong) {
  Mixing lopsided(2);
  lopsided.add(0, 0, 1);
  lopsided.add(1, 0, 1);
  EXPECT_TRUE(check_sums(lopsided, Stochastic::kRow).is_ok());
  const Status columns = check_sums(lopsided, Stochastic::kDouble);
  EXPECT_NE(std::string(columns.message()).find("column 0"), std::string::npos);
  const Status pair = check_symmetry(lopsided);
  EXPECT_NE(std::string(pair.message()).find("symmetric"), std::string::npos);
  EXPECT_FALSE(check_connected(std::span(&lopsided, 1)).is_ok());
}

}  // namespace
}  // namespace gossamer
