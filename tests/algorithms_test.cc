// What every algorithm must promise, checked without moving a byte; and the exact numbers of
// messages, bytes and rounds that make each one what it is.
// ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "algorithms/knomial.h"
#include "algorithms/tree.h"
#include "gossamer/codec.h"
#include "src/plan.h"
#include "src/verify.h"
#include "tests/some_mixing.h"
#include "tests/sparse_codec.h"

namespace gossamer {
namespace {

const Algorithm& named(Collective collective, const char* name) {
  const Algorithm* algorithm = find_algorithm(collective, name);
  EXPECT_NE(algorithm, nullptr) << name;
  return *algorithm;
}

const Codec* codec_for(const Algorithm& algorithm) {
  static const std::unique_ptr<Codec> dense = make_codec("int8:block=64").value();
  static const LargestCodec sparse(50);
  static const std::unique_ptr<Codec> adding = make_codec("int8_shared:block=64").value();
  if (!algorithm.codes) return nullptr;
  if (is_for_adding_codecs(algorithm)) return adding.get();
  return is_for_sparse_codecs(algorithm) ? static_cast<const Codec*>(&sparse) : dense.get();
}

int log2_ceil(Rank n) {
  return std::bit_width(static_cast<uint32_t>(n - 1));
}

struct Counts {
  uint64_t messages = 0;
  uint64_t elements = 0;
  uint64_t copies = 0;
};

Counts count(const Schedule& schedule) {
  Counts c;
  for (const Step& step : schedule.steps) {
    if (step.sends()) {
      ++c.messages;
      c.elements += step.count;
    }
    if (step.verb == Verb::kCopy) ++c.copies;
  }
  return c;
}

Counts count(const Algorithm& algorithm, Rank rank, Rank size, uint64_t elements) {
  const Call call{.collective = algorithm.collective, .count = elements};
  return count(build_schedule(algorithm, call, rank, size, {}, 1, 1));
}

class EveryAlgorithm : public testing::TestWithParam<const Algorithm*> {};

// `gossamer verify --all --max-ranks 64` goes through the sizes left out here.
TEST_P(EveryAlgorithm, E1_GivesEveryRankTheRightValueForAwkwardSizesAndCounts) {
  const std::pair<Rank, Rank> sizes[] = {{1, 24}, {31, 33}, {47, 47}, {63, 64}};
  uint64_t cases = 0;
  for (const auto& [first, last] : sizes) {
    const auto proved = [](const SweepCase& c) {
      EXPECT_TRUE(c.verdict.proved())
          << "N " << c.size << ", count " << c.count << ", root " << c.root << ", pieces "
          << c.pieces << (c.in_place ? ", in place: " : ": ") << c.verdict.reason;
      return c.verdict.proved();
    };
    cases += verify_sweep({GetParam()}, first, last, proved, some_mixings);
  }
  EXPECT_GE(cases, 30U * 6 * 4);  // sizes x counts x variants; only some sizes make equal hosts
}

TEST_P(EveryAlgorithm, E1_GivesEveryRankTheRightValueForLargeCounts) {
  for (Rank size : {2, 3, 8, 13, 17, 24, 31, 33}) {
    std::vector<Rank> hosts;
    for (Rank r = 0; r < size; ++r) hosts.push_back(r / 4);
    for (uint64_t elements : {1000U, 1'000'007U}) {
      for (uint32_t pieces : {1U, 7U}) {
        const Mixing* const mixing = mixing_for(GetParam()->collective, size);
        Shape shape{.size = size,
                    .count = elements,
                    .hosts = hosts,
                    .mixing = mixing,
                    .codec = codec_for(*GetParam())};
        if (!GetParam()->accepts(shape)) continue;
        const Call call{.collective = GetParam()->collective,
                        .count = elements,
                        .root = size / 3,
                        .mixing = mixing,
                        .codec = codec_for(*GetParam())};
        const Verdict v = verify(*GetParam(), call, size, hosts, pieces, 4);
        EXPECT_TRUE(v.proved()) << "N " << size << ", count " << elements << ": " << v.reason;
      }
    }
  }
}

TEST_P(EveryAlgorithm, E1_HoldsAbove64RanksWithRandomWeights) {
  for (Rank size : {65, 96, 128, 131}) {
    std::vector<Rank> hosts;
    for (Rank r = 0; r < size; ++r) hosts.push_back(r / 8);
    const Mixing* const mixing = mixing_for(GetParam()->collective, size);
    const Codec* const codec = codec_for(*GetParam());
    const Shape shape{.size = size, .count = 301, .hosts = hosts, .mixing = mixing, .codec = codec};
    if (!GetParam()->accepts(shape)) continue;
    const bool reduces_all = reduces(GetParam()->collective);
    const Call call{.collective = GetParam()->collective,
                    .op = reduces_all ? ReduceOp::kAvg : ReduceOp::kSum,
                    .count = 301,
                    .root = size / 3,
                    .mixing = mixing,
                    .codec = codec};
    const Verdict v = verify(*GetParam(), call, size, hosts, 2, 2);
    EXPECT_TRUE(v.proved()) << "N " << size << ": " << v.reason;
  }
}

// Ranks of one call may differ in this, so messages must not depend on it.
TEST_P(EveryAlgorithm, SendsTheSameMessagesInPlaceAndEagerOrNot) {
  for (Rank size : {2, 3, 5, 8, 12}) {
    std::vector<Rank> hosts;
    for (Rank r = 0; r < size; ++r) hosts.push_back(r / 3);
    for (Rank rank = 0; rank < size; ++rank) {
      const Mixing* const mixing = mixing_for(GetParam()->collective, size);
      const Codec* const codec = codec_for(*GetParam());
      Call call{.collective = GetParam()->collective,
                .count = 100,
                .root = size / 2,
                .mixing = mixing,
                .codec = codec};
      Shape shape{.size = size, .count = 100, .hosts = hosts, .mixing = mixing, .codec = codec};
      if (!GetParam()->accepts(shape)) continue;
      const auto messages = [&] {
        std::vector<std::tuple<bool, Rank, uint64_t>> all;
        for (const Step& s : build_schedule(*GetParam(), call, rank, size, hosts, 2, 2).steps) {
          if (s.is_message()) all.emplace_back(s.sends(), s.peer, s.count);
        }
        return all;
      };
      const auto apart = messages();
      call.in_place = true;
      EXPECT_EQ(messages(), apart);
      call.eager_bytes = 4096;
      EXPECT_EQ(messages(), apart);
    }
  }
}

// Reductions fold their input as they go: no pass that copies it first.
TEST_P(EveryAlgorithm, CopiesNoInputWhenReducing) {
  if (!reduces(GetParam()->collective) || !GetParam()->accepts({.size = 4})) return;
  for (Rank size : {2, 3, 4, 7, 8}) {
    for (Rank rank = 0; rank < size; ++rank) {
      EXPECT_EQ(count(*GetParam(), rank, size, 1000).copies, 0U) << size << " " << rank;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryAlgorithm,
                         testing::ValuesIn(algorithms().begin(), algorithms().end()),
                         [](const auto& each) { return std::string(each.param->name); });

TEST(Ring, E2_SendsEveryBlockButTwoOverOneTurn) {
  for (Rank n : {2, 3, 7, 12, 64}) {
    const auto p = static_cast<uint64_t>(n);
    for (Rank rank : {0, 1, n - 1}) {
      const Counts c = count(named(Collective::kAllReduce, "ring"), rank, n, 32 * p);
      EXPECT_EQ(c.messages, 2 * (p - 1));
      EXPECT_EQ(c.elements, 2 * (p - 1) * 32);
      const Counts g = count(named(Collective::kAllGather, "ring_all_gather"), rank, n, 32);
      EXPECT_EQ(g.messages, p - 1);
      EXPECT_EQ(g.elements, (p - 1) * 32);
    }
  }
}

TEST(RecursiveDoubling, E2_SendsTheBufferOncePerDoubling) {
  const Algorithm& algorithm = named(Collective::kAllReduce, "recursive_doubling");
  for (Rank n : {2, 4, 16, 64}) {
    for (Rank rank = 0; rank < n; ++rank) {
      const Counts c = count(algorithm, rank, n, 100);
      EXPECT_EQ(c.messages, static_cast<uint64_t>(log2_ceil(n)));
      EXPECT_EQ(c.elements, 100 * c.messages);
    }
  }
  // N = 12: P = 8, 4 pairs. Even ranks below 8 send once, odd ones 3 times and hand back.
  const std::vector<uint64_t> expected = {1, 4, 1, 4, 1, 4, 1, 4, 3, 3, 3, 3};
  for (Rank rank = 0; rank < 12; ++rank) {
    EXPECT_EQ(count(algorithm, rank, 12, 100).messages, expected[static_cast<size_t>(rank)]);
  }
  EXPECT_EQ(algorithm.rounds({.size = 12}), 3 + 2);
}

TEST(ReversedBruck, E2_TakesLogRoundsPerPhaseAndMovesEveryBlockOncePerPhase) {
  const Algorithm& algorithm = named(Collective::kAllReduce, "reversed_bruck");
  for (Rank n = 2; n <= 130; ++n) {
    const auto p = static_cast<uint64_t>(n);
    EXPECT_EQ(algorithm.rounds({.size = n}), 2 * log2_ceil(n));
    for (Rank rank : {0, n / 2, n - 1}) {
      const Counts c = count(algorithm, rank, n, 16 * p);
      EXPECT_EQ(c.elements, 2 * (p - 1) * 16) << n;
      EXPECT_LE(c.messages, 2U * static_cast<unsigned>(2 * log2_ceil(n)) + 1) << n;
    }
  }
}

TEST(BruckAllGather, E2_TakesLogRoundsAndMovesEveryShareOnce) {
  const Algorithm& algorithm = named(Collective::kAllGather, "bruck_all_gather");
  for (Rank n = 2; n <= 130; ++n) {
    EXPECT_EQ(algorithm.rounds({.size = n}), log2_ceil(n));
    for (Rank rank : {0, n / 2, n - 1}) {
      const Counts c = count(algorithm, rank, n, 10);
      EXPECT_EQ(c.elements, static_cast<uint64_t>(n - 1) * 10) << n;
      EXPECT_LE(c.messages, static_cast<uint64_t>(2 * log2_ceil(n))) << n;
    }
  }
}

TEST(DirectExchanges, E2_SendOneMessagePerPeerAndPhase) {
  for (Rank n : {2, 3, 8, 13}) {
    const auto p = static_cast<uint64_t>(n);
    EXPECT_EQ(count(named(Collective::kAllReduce, "one_shot"), 1, n, 50).elements, 50 * (p - 1));
    const Counts two = count(named(Collective::kAllReduce, "two_shot"), 1, n, 16 * p);
    EXPECT_EQ(two.messages, 2 * (p - 1));
    EXPECT_EQ(two.elements, 2 * (p - 1) * 16);
    EXPECT_EQ(count(named(Collective::kAllGather, "direct_all_gather"), 1, n, 50).elements,
              50 * (p - 1));
  }
}

TEST(Hierarchical, E2_CrossesBetweenHostsWithItsBlockOnly) {
  const std::vector<Rank> hosts = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2};
  const Call call{.count = 12 * 64};
  for (Rank rank = 0; rank < 12; ++rank) {
    const Schedule s =
        build_schedule(named(Collective::kAllReduce, "hierarchical"), call, rank, 12, hosts, 1, 1);
    uint64_t inside = 0, between = 0;
    for (const Step& step : s.steps) {
      if (!step.sends()) continue;
      (hosts[static_cast<size_t>(step.peer)] == hosts[static_cast<size_t>(rank)] ? inside
                                                                                 : between) +=
          step.count;
    }
    EXPECT_EQ(inside, 2 * 3 * call.count / 4);
    EXPECT_EQ(between, 2 * 2 * call.count / 3 / 4);
  }
}

TEST(Hierarchical, E2_GatherAndScatterCrossToAHostInOneMessage) {
  const std::vector<Rank> hosts = {0, 0, 0, 1, 2, 2, 2, 2, 3, 3};  // of 3, 1, 4 and 2 ranks
  for (const Collective collective : {Collective::kGather, Collective::kScatter}) {
    const char* const name =
        collective == Collective::kGather ? "hierarchical_gather" : "hierarchical_scatter";
    for (Rank root = 0; root < 10; ++root) {
      const Call call{.collective = collective, .count = 64, .root = root};
      uint64_t between = 0, crossings = 0, inside = 0;
      for (Rank rank = 0; rank < 10; ++rank) {
        for (const Step& step :
             build_schedule(named(collective, name), call, rank, 10, hosts, 1, 1).steps) {
          if (!step.sends()) continue;
          const bool crosses =
              hosts[static_cast<size_t>(step.peer)] != hosts[static_cast<size_t>(rank)];
          (crosses ? between : inside) += step.count;
          crossings += crosses ? 1 : 0;
        }
      }
      const auto at_root = static_cast<uint64_t>(
          std::count(hosts.begin(), hosts.end(), hosts[static_cast<size_t>(root)]));
      EXPECT_EQ(crossings, 3U) << name << " to " << root;
      EXPECT_EQ(between, (10 - at_root) * 64) << name << " to " << root;
      EXPECT_EQ(inside, (10 - 4) * 64U) << name << " to " << root;
    }
  }
}

// Bytes of codes, whatever the algorithm does to get by with them.
TEST(CodedAlgorithms, E2_SendCodesOfWhatTheirUncodedFormsSend) {
  const Rank n = 5;
  const uint64_t elements = 64 * 5;
  const auto bytes_sent = [&](Collective collective, const char* name, Rank root = 0) {
    const Algorithm& algorithm = named(collective, name);
    const Call call{.collective = collective,
                    .count = elements,
                    .root = root,
                    .mixing = mixing_for(collective, n),
                    .codec = codec_for(algorithm)};
    uint64_t bytes = 0;
    for (const Step& step : build_schedule(algorithm, call, 2, n, {}, 1, 1).steps) {
      if (!step.sends()) continue;
      EXPECT_TRUE(step.is_coded());
      bytes += step.count;
    }
    return bytes;
  };
  const Codec& codec = *codec_for(named(Collective::kAllReduce, "coded_ring"));
  const uint64_t block = codec.bytes_max(64);
  const uint64_t whole = codec.bytes_max(elements);
  EXPECT_EQ(bytes_sent(Collective::kAllReduce, "coded_two_shot"), 2 * 4 * block);
  EXPECT_EQ(bytes_sent(Collective::kAllReduce, "coded_ring"), 2 * 4 * block);
  EXPECT_EQ(bytes_sent(Collective::kAllReduce, "coded_one_shot"), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kReduceScatter, "coded_reduce_scatter"), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kAllGather, "coded_all_gather"), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kAllGather, "coded_ring_all_gather"), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kAllToAll, "coded_all_to_all"), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kNeighborAllGather, "coded_neighbor_all_gather"), 3 * whole);
  // By rank 2, as the root and as another.
  EXPECT_EQ(bytes_sent(Collective::kBroadcast, "coded_binomial_broadcast", 2), 3 * whole);
  EXPECT_EQ(bytes_sent(Collective::kBroadcast, "coded_chain_broadcast", 2), whole);
  EXPECT_EQ(bytes_sent(Collective::kBroadcast, "coded_scatter_broadcast", 2), 8 * block);
  EXPECT_EQ(bytes_sent(Collective::kBroadcast, "coded_scatter_broadcast", 1), 3 * block);
  EXPECT_EQ(bytes_sent(Collective::kScatter, "coded_scatter", 2), 4 * whole);
  EXPECT_EQ(bytes_sent(Collective::kScatter, "coded_scatter", 1), 0U);
  EXPECT_EQ(bytes_sent(Collective::kGather, "coded_gather", 2), 0U);
  EXPECT_EQ(bytes_sent(Collective::kGather, "coded_gather", 1), whole);
  EXPECT_EQ(bytes_sent(Collective::kReduce, "coded_direct_reduce", 1), whole);
  EXPECT_EQ(bytes_sent(Collective::kReduce, "coded_two_shot_reduce", 2), 4 * block);
  EXPECT_EQ(bytes_sent(Collective::kReduce, "coded_two_shot_reduce", 1), 5 * block);
}

TEST(KnomialTrees, E2_TakeLogRoundsAndHangEveryRankOnce) {
  for (const Rank radix : {2, 3, 4, 8}) {
    for (Rank size = 2; size <= 300; ++size) {
      const int levels = knomial_levels(size, radix);
      EXPECT_GE(std::pow(radix, levels), size);
      EXPECT_LT(std::pow(radix, levels - 1), size);
      std::vector<int> parents(static_cast<size_t>(size), 0);
      for (int level = 0; level < levels; ++level) {
        for (Rank place = 0; place < size; ++place) {
          const KnomialNode node(place, size, level, radix);
          if (node.parent >= 0) ++parents[static_cast<size_t>(place)];
          Rank children = 0;
          node.for_each_child([&](Rank child) {
            ++children;
            EXPECT_EQ(KnomialNode(child, size, level, radix).parent, place);
          });
          EXPECT_LT(children, radix);
          EXPECT_TRUE(children == 0 || node.parent < 0);
        }
      }
      EXPECT_EQ(parents[0], 0);
      EXPECT_TRUE(std::all_of(parents.begin() + 1, parents.end(), [](int p) { return p == 1; }));
    }
  }
}

TEST(KnomialTrees, E2_TheRootHandsOutOneLessThanTheRadixPerRound) {
  for (const auto& [radix, size] : {std::pair(4, 16), {4, 64}, {8, 64}}) {
    const Algorithm& algorithm =
        named(Collective::kBroadcast, radix == 4 ? "knomial4_broadcast" : "knomial8_broadcast");
    const auto rounds = static_cast<uint64_t>(algorithm.rounds({.size = size}));
    EXPECT_EQ(rounds, radix == 4 && size == 64 ? 3U : 2U);
    EXPECT_EQ(count(algorithm, 0, size, 50).messages, rounds * (static_cast<uint64_t>(radix) - 1));
  }
}

TEST(TwoRanks, TakeTwoStepsInOneShotAndFourInTwoShots) {
  for (bool in_place : {false, true}) {
    for (Rank rank : {0, 1}) {
      const Call call{.count = 64, .in_place = in_place, .eager_bytes = 256};
      const Schedule one =
          build_schedule(named(Collective::kAllReduce, "one_shot"), call, rank, 2, {}, 1, 1);
      ASSERT_EQ(one.steps.size(), 2U);
      EXPECT_EQ(one.steps[0].verb, Verb::kSend);
      EXPECT_EQ(one.steps[1].verb, Verb::kRecvReduce);
      EXPECT_EQ(one.scratch_count, 0U);
      EXPECT_EQ(build_schedule(named(Collective::kAllReduce, "two_shot"), call, rank, 2, {}, 1, 1)
                    .steps.size(),
                4U);
    }
  }
}

// Two ranks that overwrite what they send with what they get need sends that finish early: without
// them one of the two must set something aside.
TEST(TwoRanks, InPlaceWithoutEagerSendsUsesScratchOnOneRank) {
  const Call call{.count = 64, .in_place = true};
  const Algorithm& one_shot = named(Collective::kAllReduce, "one_shot");
  EXPECT_EQ(build_schedule(one_shot, call, 0, 2, {}, 1, 1).scratch_count, 0U);
  EXPECT_EQ(build_schedule(one_shot, call, 1, 2, {}, 1, 1).scratch_count, 64U);
  EXPECT_TRUE(verify(one_shot, call, 2).proved());
}

TEST(DoubleTree, E3_IsConsistentAndAsDeepAsItShouldBe) {
  for (Rank p = 2; p < 300; ++p) {
    int interior_twice = 0;
    std::vector<int> roles(static_cast<size_t>(p), 0);
    for (int which : {0, 1}) {
      int deepest = 0, roots = 0;
      for (Rank r = 0; r < p; ++r) {
        const TreeNode node = tree_node(r, p, which);
        deepest = std::max(deepest, node.depth);
        if (node.parent < 0) {
          ++roots;
          EXPECT_EQ(r, which == 0 ? 0 : (p % 2 == 0 ? p - 1 : 1));
        } else {
          const TreeNode parent = tree_node(node.parent, p, which);
          EXPECT_EQ(parent.depth + 1, node.depth);
          EXPECT_TRUE(parent.children[0] == r || parent.children[1] == r) << p << " " << r;
        }
        for (Rank child : node.children) {
          if (child >= 0) {
            EXPECT_EQ(tree_node(child, p, which).parent, r);
          }
        }
        if (!node.is_leaf()) ++roles[static_cast<size_t>(r)];
      }
      EXPECT_EQ(roots, 1);
      EXPECT_EQ(deepest, log2_ceil(p)) << p;
    }
    for (int role : roles) interior_twice += role == 2 ? 1 : 0;
    EXPECT_EQ(interior_twice, p % 2 == 0 ? 0 : 1) << p;
  }
}

TEST(DoubleTree, E3_SendsAtMostTwoBuffers) {
  for (Rank p : {2, 3, 8, 13, 64}) {
    for (Rank r = 0; r < p; ++r) {
      EXPECT_LE(count(named(Collective::kAllReduce, "double_tree"), r, p, 1024).elements, 2048U);
    }
  }
}

}  // namespace
}  // namespace gossamer
