// Graphs that lose ranks and links. E23 is an acceptance experiment: its numbers are a simulation's
// of the same rules.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

#include "gossip/analysis.h"
#include "tests/methods.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

std::unique_ptr<Graph> healed_of(const Graph& graph, const std::vector<Rank>& lost) {
  Result<std::unique_ptr<Graph>> made = heal_graph(graph, lost);
  EXPECT_TRUE(made.is_ok()) << graph.name() << ": " << made.status().to_string();
  return made ? std::move(*made) : repeat_rounds({Mixing::identity(graph.size())});
}

void expect_healed_alike(const std::string& name, Rank size, const std::vector<Rank>& lost) {
  const auto graph = graph_of(name, size, 3);
  const auto healed = healed_of(*graph, lost);
  ASSERT_EQ(healed->size(), size - static_cast<Rank>(lost.size())) << name;
  const bool symmetric = check_graph(*graph, Stochastic::kDouble, true).is_ok();
  const Status sound = check_graph(*healed, Stochastic::kDouble, symmetric);
  EXPECT_TRUE(sound.is_ok()) << name << ": " << sound.to_string();
  EXPECT_EQ(healed->period(), graph->period());
  for (uint64_t t = 0; t < 8; ++t) {
    const Mixing round = *healed->mixing(t);
    for (Rank i = 0; i < round.size(); ++i) {
      double row = 0;
      for (const Weight& w : round.row(i)) row += w.value;
      EXPECT_NEAR(row, 1, 1e-14);
    }
    if (!symmetric) continue;
    // What is between survivors is as it was.
    std::vector<Rank> old;
    for (Rank r = 0; r < size; ++r) {
      if (std::find(lost.begin(), lost.end(), r) == lost.end()) old.push_back(r);
    }
    for (size_t i = 0; i < old.size(); ++i) {
      for (size_t j = 0; j < old.size(); ++j) {
        if (i == j) continue;
        EXPECT_EQ(round.weight(static_cast<Rank>(i), static_cast<Rank>(j)),
                  graph->mixing(t)->weight(old[i], old[j]));
      }
    }
  }
}

TEST(Heal, EveryGraphStaysWhatItWas) {
  for (const char* name : {"ring", "torus", "complete", "static_exponential", "base:k=2",
                           "one_peer_exponential", "random_matching", "equi_dyn"}) {
    expect_healed_alike(name, 12, {5});
  }
  for (const char* name : {"torus", "complete", "static_exponential", "one_peer_exponential",
                           "equi_dyn", "hypercube", "random_matching"}) {
    expect_healed_alike(name, 16, {9, 0, 4});
  }
}

TEST(Heal, BothEndsOfASymmetricEdgeKeepItsWeight) {
  const auto healed = healed_of(*graph_of("ring", 5), {2});
  EXPECT_EQ(healed->name(), "ring without 2");
  const Mixing mixing = *healed->mixing(0);
  EXPECT_NEAR(mixing.weight(1, 1), 2. / 3, 1e-15);  // was 1
  EXPECT_NEAR(mixing.weight(2, 2), 2. / 3, 1e-15);  // was 3
  EXPECT_EQ(mixing.weight(1, 2), 0);
  EXPECT_NEAR(mixing.weight(0, 3), 1. / 3, 1e-15);  // 0 and 4
}

TEST(Heal, DirectedRoundsSendOnToTheNext) {
  // Round 0 of eight: r sends to r + 1, half and half.
  const Mixing mixing = *healed_of(*graph_of("one_peer_exponential", 8), {3})->mixing(0);
  EXPECT_NEAR(mixing.weight(3, 2), .5, 1e-15);  // 4 takes from 2
  EXPECT_NEAR(mixing.weight(3, 3), .5, 1e-15);
  // Two in a row, and two that were alone with each other.
  expect_healed_alike("one_peer_exponential", 8, {3, 4});
  expect_healed_alike("one_peer_exponential", 8, {0, 4});
}

TEST(Heal, ColumnsAreKeptBySendersAndRowsByReceivers) {
  const std::vector<double> columns = {.2, .5, .6,   // what rank 0 takes of each
                                       .3, .3, .2,   // rank 1
                                       .5, .2, .2};  // rank 2
  const auto pushing = make_graph(3, columns, Stochastic::kColumn);
  ASSERT_TRUE(pushing.is_ok());
  const auto healed = healed_of(**pushing, {2});
  EXPECT_TRUE(check_graph(*healed, Stochastic::kColumn, false).is_ok());
  EXPECT_NEAR(healed->mixing(0)->weight(0, 0), .2 + .5, 1e-15);
  EXPECT_NEAR(healed->mixing(0)->weight(1, 1), .3 + .2, 1e-15);
  EXPECT_EQ(healed->mixing(0)->weight(0, 1), .5);
  std::vector<double> rows(9);
  for (size_t i = 0; i < 9; ++i) rows[i] = columns[i % 3 * 3 + i / 3];
  const auto pulling = make_graph(3, rows, Stochastic::kRow);
  ASSERT_TRUE(pulling.is_ok());
  const auto pulled = healed_of(**pulling, {2});
  EXPECT_TRUE(check_graph(*pulled, Stochastic::kRow, false).is_ok());
  EXPECT_NEAR(pulled->mixing(0)->weight(0, 0), .7, 1e-15);
}

TEST(Heal, OneAfterTheOtherIsAsAllAtOnce) {
  for (const char* name : {"torus", "one_peer_exponential", "equi_dyn", "random_matching"}) {
    const auto graph = graph_of(name, 12, 5);
    const auto at_once = healed_of(*graph, {7, 2});
    std::unique_ptr<Graph> once = healed_of(*graph, {2});
    const auto twice = healed_of(*once, {6});  // who was 7
    once.reset();
    for (uint64_t t = 0; t < 5; ++t) {
      const Mixing a = *at_once->mixing(t);
      const Mixing b = *twice->mixing(t);
      for (Rank i = 0; i < 10; ++i) {
        for (Rank j = 0; j < 10; ++j) EXPECT_NEAR(a.weight(i, j), b.weight(i, j), 1e-15) << name;
      }
    }
  }
}

TEST(Heal, IdentitiesTellWhoWasLostAndFromWhat) {
  for (const char* name : {"torus", "random_matching"}) {
    const auto graph = graph_of(name, 12, 5);
    EXPECT_EQ(healed_of(*graph, {2, 7})->identity(), healed_of(*graph, {7, 2})->identity());
    EXPECT_NE(healed_of(*graph, {2})->identity(), healed_of(*graph, {3})->identity());
    EXPECT_NE(healed_of(*graph, {2})->identity(), graph->identity());
  }
  EXPECT_NE(healed_of(*graph_of("random_matching", 12, 5), {2})->identity(),
            healed_of(*graph_of("random_matching", 12, 6), {2})->identity());
}

TEST(Heal, RefusesWhatCannotBe) {
  const auto refusal = [](const Graph& graph, const std::vector<Rank>& lost) {
    const Result<std::unique_ptr<Graph>> made = heal_graph(graph, lost);
    EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
    return std::string(made.status().message());
  };
  const auto ring = graph_of("ring", 6);
  EXPECT_NE(refusal(*ring, {}).find("no rank is lost"), std::string::npos);
  EXPECT_NE(refusal(*ring, {6}).find("ranks 0 to 5"), std::string::npos);
  EXPECT_NE(refusal(*ring, {1, 1}).find("twice"), std::string::npos);
  EXPECT_NE(refusal(*ring, {0, 1, 2, 3, 4, 5}).find("all ranks"), std::string::npos);
  // By their numbers in the whole ring: 0 | 2 3 4, 5 and 1 gone.
  EXPECT_EQ(refusal(*ring, {5, 1}),
            "graph ring without 1, 5 is not connected any more: what rank 0 has never reaches rank "
            "2; make_graph() one for 4 ranks");
  EXPECT_NE(refusal(*graph_of("star", 6), {0}).find("not connected"), std::string::npos);
  EXPECT_EQ(healed_of(*ring, {0, 1, 2, 3, 4})->size(), 1);
}

TEST(DropEdges, RefusesEdgesThatCannotBe) {
  const Mixing ring = *graph_of("ring", 4)->mixing(0);
  EXPECT_EQ(drop_edges(ring, std::vector<Edge>{{0, 4}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(drop_edges(ring, std::vector<Edge>{{1, 1}}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(drop_edges(ring, std::vector<Edge>{{0, 2}}).value(), ring);
  const Mixing cut = drop_edges(ring, std::vector<Edge>{{1, 0}, {0, 1}}).value();
  EXPECT_TRUE(check_sums(cut, Stochastic::kDouble).is_ok());
  EXPECT_TRUE(check_symmetry(cut).is_ok());
  EXPECT_TRUE(cut.targets(0).size() == 1 && cut.targets(0)[0] == 3);
}

// One run of ring-16 from Gaussian values, with links that are down in a round by chance.
struct LossyRun {
  double rounds = 0;  // until the distance from the mean is 1e-6 of the first
  double drift = 0;   // of the mean, in standard errors of a mean of 16
};
enum class Notice { kBothEnds, kReceiverOnly };

LossyRun run_lossy(double loss, Notice notice, uint64_t seed) {
  constexpr Rank kRanks = 16;
  const Mixing ring = *graph_of("ring", kRanks)->mixing(0);
  std::mt19937_64 generator(seed);
  std::bernoulli_distribution down(loss);
  std::vector<double> x = gaussian_rows(kRanks, 1, seed + 1000);
  std::vector<double> next(x.size());
  const double mean = mean_of(x, 1)[0];
  const double first = distance(x, mean_of(x, 1));
  LossyRun run;
  for (; distance(x, mean_of(x, 1)) > 1e-6 * first; ++run.rounds) {
    Mixing round = ring;
    if (notice == Notice::kBothEnds) {
      std::vector<Edge> edges;
      for (Rank i = 0; i < kRanks; ++i) {
        if (down(generator)) edges.push_back({i, (i + 1) % kRanks});
      }
      round = drop_edges(ring, edges).value();
    } else {
      for (Rank i = 0; i < kRanks; ++i) {
        for (const Rank j : ring.sources(i)) {
          if (!down(generator)) continue;
          round.add(i, j, -ring.weight(i, j));
          round.add(i, i, ring.weight(i, j));
        }
      }
    }
    round.apply(x, next, 1);
    std::swap(x, next);
  }
  run.drift = std::abs(mean_of(x, 1)[0] - mean) * std::sqrt(kRanks);
  return run;
}

// The drift is a chance's: its root mean square over runs is compared.
TEST(Heal, E23LinksThatFailForBothEndsKeepTheMeanAndSlowItDown) {
  constexpr int kRuns = 200;
  for (const auto& [loss, rounds, drift] :
       {std::tuple(0., 246., 0.), std::tuple(.05, 259., .18), std::tuple(.2, 310., .28)}) {
    double took = 0;
    double worst = 0;
    double squares = 0;
    for (uint64_t seed = 1; seed <= kRuns; ++seed) {
      const LossyRun both = run_lossy(loss, Notice::kBothEnds, seed);
      took += both.rounds / kRuns;
      worst = std::max(worst, both.drift);
      const double one_sided = run_lossy(loss, Notice::kReceiverOnly, seed).drift;
      squares += one_sided * one_sided / kRuns;
    }
    EXPECT_NEAR(took / rounds, 1, .1) << "loss " << loss;
    EXPECT_LE(worst, 1e-12) << "loss " << loss;
    EXPECT_NEAR(std::sqrt(squares), drift, .25 * drift + 1e-12) << "loss " << loss;
    std::printf("loss %.2f: %.0f rounds, drift %.1g of both ends, %.2f of one\n", loss, took, worst,
                std::sqrt(squares));
  }
}

// Five processes average with neighbors; one is killed; the others shrink, heal, and go on to the
// mean of what they have.
void expect_survivors_average(const std::string& name, const char* transport) {
  constexpr Rank kRanks = 5;
  constexpr size_t kWidth = 100;
  const TemporaryFolder folder;
  ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(options_of(rank, kRanks, folder.place("id"), transport));
    if (!comm) return report.keep(comm.status());
    const auto graph = graph_of(name, kRanks);
    std::vector<double> x = row_of(gaussian_rows(kRanks, kWidth, 7), rank, kWidth);
    std::vector<double> next(kWidth);
    uint64_t round = 0;
    Status status;
    for (;; ++round) {
      // Nobody gets near the mean before one dies.
      x[0] += rank;
      status = neighbor_average(**comm, x.data(), next.data(), kWidth, DataType::kFloat64, *graph,
                                round);
      if (!status) break;
      std::swap(x, next);
      report.stage = 1;
    }
    report.values[0] = status.rank();
    const std::vector<Rank> lost = {status.rank()};
    Result<std::unique_ptr<Communicator>> made = (*comm)->shrink(lost, {.abort = true});
    Result<std::unique_ptr<Graph>> healed = heal_graph(*graph, lost);
    report.keep(made ? healed.status() : made.status());
    if (!made || !healed) return;
    std::vector<double> mean = x;
    status = (*made)->all_reduce(std::span(mean));
    for (double& m : mean) m /= kRanks - 1;
    for (round = 0; round < 200 && status; ++round) {
      status =
          neighbor_average(**made, x.data(), x.data(), kWidth, DataType::kFloat64, **healed, round);
    }
    report.keep(status);
    const double first = std::abs(mean[0]) + 1;
    report.values[1] = distance(x, mean) / first < 1e-9 ? 1 : 0;
    report.stage = 2;
    while (report.stage.load() < 3) std::this_thread::sleep_for(milliseconds(1));
  });
  constexpr Rank kVictim = 2;
  ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
  ranks.kill(kVictim);
  ASSERT_TRUE(ranks.wait_stage(2, milliseconds(30'000), kVictim)) << name << " " << transport;
  for (Rank r = 0; r < kRanks; ++r) {
    if (r == kVictim) continue;
    EXPECT_EQ(ranks.report(r).values[0], kVictim);
    EXPECT_EQ(ranks.report(r).code, Code::kOk) << ranks.report(r).sentence();
    EXPECT_EQ(ranks.report(r).values[1], 1) << name << " " << transport << " rank " << r;
    ranks.report(r).stage = 3;
  }
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000), kVictim));
}

TEST(Heal, SurvivorsGoOnToTheirMean) {
  for (const char* transport : {"shm", "tcp"}) {
    expect_survivors_average("ring", transport);
    expect_survivors_average("one_peer_exponential", transport);
    expect_survivors_average("random_matching", transport);
  }
}

}  // namespace
}  // namespace gossamer
