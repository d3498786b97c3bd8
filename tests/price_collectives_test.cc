// The cost model against the closed forms of rooted collectives and exchanges.

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/price_machines.h"

namespace gossamer {
namespace {

// Microseconds of the algorithm on `count` floats with the root in the middle.
double price_of(Collective collective, const char* name, Rank size, uint64_t count,
                uint32_t pieces = 1) {
  const Algorithm* algorithm = find_algorithm(collective, name);
  EXPECT_NE(algorithm, nullptr) << name;
  const Call call{.collective = collective, .count = count, .root = size / 2};
  return price(*algorithm, call, pieces, one_rank_per_host(size));
}

TEST(PriceOfBroadcast, TakesItsClosedForms) {
  constexpr auto kBroadcast = Collective::kBroadcast;
  const double n = 4 * 10'000;
  for (Rank size : {2, 4, 16, 64}) {
    const double p = size;
    const double hop = kAlpha + n * kBeta;
    EXPECT_NEAR(price_of(kBroadcast, "direct_broadcast", size, 10'000),
                kAlpha + (p - 1) * n * kBeta, 1e-6);
    EXPECT_NEAR(price_of(kBroadcast, "binomial_broadcast", size, 10'000), std::log2(p) * hop, 1e-6);
    EXPECT_NEAR(price_of(kBroadcast, "chain_broadcast", size, 10'000), (p - 1) * hop, 1e-6);
  }
}

// k - 1 messages leave one port one after another in each of log_k N rounds; those of a reduce
// arrive so, and the last one is folded.
TEST(PriceOfTrees, ARoundOfAKnomialTreeCostsOneLatency) {
  const double n = 4 * 10'000;
  for (const auto& [radix, size] : {std::pair(4, 4), {4, 16}, {4, 64}, {8, 8}, {8, 64}}) {
    const std::string name = "knomial" + std::to_string(radix);
    const double levels = std::round(std::log(size) / std::log(radix));
    const double down = levels * (kAlpha + (radix - 1) * n * kBeta);
    EXPECT_NEAR(price_of(Collective::kBroadcast, (name + "_broadcast").c_str(), size, 10'000), down,
                1e-6);
    EXPECT_NEAR(price_of(Collective::kReduce, (name + "_reduce").c_str(), size, 10'000),
                down + levels * n * kGamma, 1e-6);
  }
}

TEST(PriceOfBroadcast, PiecesFillTheChainAndTheTrees) {
  constexpr auto kBroadcast = Collective::kBroadcast;
  const double wire = 4 * 8e6 * kBeta;
  for (const char* name : {"chain_broadcast", "double_tree_broadcast"}) {
    const double us = price_of(kBroadcast, name, 8, 8'000'000, 128);
    EXPECT_GE(us, wire) << name;
    EXPECT_LT(us, 1.15 * wire) << name;
  }
  // Every byte leaves the root twice: dealt out, and as the root's own block.
  EXPECT_NEAR(price_of(kBroadcast, "scatter_broadcast", 8, 8'000'000), 2 * 7.0 / 8 * wire,
              0.01 * wire);
}

TEST(PriceOfReduce, TakesItsClosedForms) {
  constexpr auto kReduce = Collective::kReduce;
  const double n = 4 * 10'000;
  for (Rank size : {2, 4, 16, 64}) {
    const double p = size;
    const double hop = kAlpha + n * (kBeta + kGamma);
    EXPECT_NEAR(price_of(kReduce, "direct_reduce", size, 10'000),
                kAlpha + (p - 1) * n * kBeta + n * kGamma, 1e-6);
    EXPECT_NEAR(price_of(kReduce, "binomial_reduce", size, 10'000), std::log2(p) * hop, 1e-6);
    EXPECT_NEAR(price_of(kReduce, "chain_reduce", size, 10'000), (p - 1) * hop, 1e-6);
  }
}

TEST(PriceOfReduceScatter, MovesEveryShareOnce) {
  constexpr auto kReduceScatter = Collective::kReduceScatter;
  const double share = 4 * 1000;
  for (Rank size : {2, 4, 16, 64}) {
    const double p = size;
    const double moved = (p - 1) * share;
    EXPECT_NEAR(price_of(kReduceScatter, "ring_reduce_scatter", size, 1000),
                (p - 1) * kAlpha + moved * (kBeta + kGamma), 1e-6);
    EXPECT_NEAR(price_of(kReduceScatter, "direct_reduce_scatter", size, 1000),
                kAlpha + moved * kBeta + share * kGamma, 1e-6);
    // A message cut by the wrap is folded while its second half arrives.
    const double bruck = price_of(kReduceScatter, "bruck_reduce_scatter", size, 1000);
    EXPECT_LE(bruck, std::log2(p) * kAlpha + moved * (kBeta + kGamma) + 1e-6);
    EXPECT_GE(bruck, std::log2(p) * kAlpha + moved * kBeta);
  }
}

TEST(PriceOfAllToAll, BruckTradesBytesForLatencies) {
  constexpr auto kAllToAll = Collective::kAllToAll;
  for (Rank size : {4, 16, 64}) {
    const double p = size;
    EXPECT_NEAR(price_of(kAllToAll, "bruck_all_to_all", size, 100),
                std::log2(p) * (kAlpha + p / 2 * 400 * kBeta), 1e-6);
    EXPECT_NEAR(price_of(kAllToAll, "direct_all_to_all", size, 100), kAlpha + (p - 1) * 400 * kBeta,
                1e-6);
  }
}

TEST(PriceOfGather, IsBoundByTheRootsPort) {
  for (Rank size : {2, 8, 64}) {
    const double wire = (size - 1) * 4000 * kBeta;
    EXPECT_NEAR(price_of(Collective::kGather, "direct_gather", size, 1000), kAlpha + wire, 1e-6);
    EXPECT_NEAR(price_of(Collective::kScatter, "direct_scatter", size, 1000), kAlpha + wire, 1e-6);
    for (const auto& [collective, name] : {std::pair(Collective::kGather, "binomial_gather"),
                                           std::pair(Collective::kScatter, "binomial_scatter")}) {
      const double us = price_of(collective, name, size, 1000);
      EXPECT_GE(us, kAlpha + wire - 1e-6) << name;
      EXPECT_LE(us, std::log2(size) * kAlpha + wire + 1e-6) << name;
    }
  }
}

// Small messages to many ranks: trees beat what one rank would have to do for all.
TEST(Candidates, GoFromTreesToPipelinesAsBytesGrow) {
  Machine m = one_rank_per_host(64);
  m.other_host.overhead_us = 2;
  const auto best = [&](Collective collective, uint64_t count) {
    return std::string(
        candidates({.collective = collective, .count = count}, m, "").front().algorithm->name);
  };
  EXPECT_EQ(best(Collective::kBroadcast, 2), "knomial8_broadcast");
  EXPECT_EQ(best(Collective::kReduce, 2), "knomial8_reduce");
  // What a message costs a rank counts for more here, and latency for less.
  m.other_host.overhead_us = 20;
  EXPECT_EQ(best(Collective::kBroadcast, 2), "knomial4_broadcast");
  m.other_host.overhead_us = 2;
  EXPECT_EQ(best(Collective::kAllToAll, 1), "bruck_all_to_all");
  EXPECT_EQ(best(Collective::kReduceScatter, 1), "bruck_reduce_scatter");
  const std::string large = best(Collective::kBroadcast, 1 << 24);
  EXPECT_TRUE(large == "chain_broadcast" || large == "double_tree_broadcast") << large;
  EXPECT_EQ(best(Collective::kAllToAll, 1 << 20), "direct_all_to_all");
}

// A tree that is cheaper by next to nothing is not worth its further messages.
TEST(Candidates, GiveTiesToTheFirstOfTheList) {
  Machine m = one_rank_per_host(8);
  m.host_of.assign(8, 0);
  m.cores_per_host = 2;
  m.same_host = {.latency_us = 0.1, .overhead_us = 0.1};
  const Call call{.collective = Collective::kBroadcast, .count = 100};
  const auto us = [&](const char* name) {
    return price(*find_algorithm(Collective::kBroadcast, name), call, 1, m);
  };
  EXPECT_LT(us("knomial4_broadcast"), us("direct_broadcast"));
  EXPECT_GT(1.02 * us("knomial4_broadcast"), us("direct_broadcast"));
  const std::vector<Candidate> found = candidates(call, m, "");
  EXPECT_STREQ(found[0].algorithm->name, "direct_broadcast");
  for (size_t i = 2; i < found.size(); ++i) {
    EXPECT_LE(found[i - 1].predicted_us, found[i].predicted_us);
  }
  m.same_host.overhead_us = 0.3;
  EXPECT_GT(us("direct_broadcast"), 1.02 * us("knomial4_broadcast"));
  EXPECT_STRNE(candidates(call, m, "")[0].algorithm->name, "direct_broadcast");
}

}  // namespace
}  // namespace gossamer
