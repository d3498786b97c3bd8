// Averaging with neighbors over real transports: values, plans, and ranks that disagree.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "gossamer/gossip.h"
#include "gossamer/transport.h"
#include "gossip/graph.h"
#include "src/reduce.h"
#include "tests/count_allocations.h"
#include "tests/group_threads.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

std::unique_ptr<Graph> graph_of(const std::string& text, Rank size) {
  Result<std::unique_ptr<Graph>> made = make_graph(text, size);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

double input_of(Rank rank, uint64_t i) {
  return static_cast<double>((static_cast<uint64_t>(rank) * 37 + i * 11) % 97) / 8 - 4;
}

void put(DataType type, double value, std::byte* into) {
  if (type == DataType::kFloat64) std::memcpy(into, &value, sizeof value);
  const auto narrow = static_cast<float>(value);
  if (type == DataType::kFloat32) std::memcpy(into, &narrow, sizeof narrow);
  if (is_narrow_float(type)) narrow_one(type, narrow, into);
}

double get(DataType type, const std::byte* from) {
  double value = 0;
  float narrow = 0;
  if (type == DataType::kFloat64) std::memcpy(&value, from, sizeof value);
  if (type == DataType::kFloat32) std::memcpy(&narrow, from, sizeof narrow);
  if (is_narrow_float(type)) narrow = widen_one(type, from);
  return type == DataType::kFloat64 ? value : static_cast<double>(narrow);
}

// Half a unit in the last place of values up to 8, and fp32's rounding of sums.
double tolerance_of(DataType type) {
  switch (type) {
    case DataType::kFloat64:
      return 1e-14;
    case DataType::kFloat32:
      return 4e-6;
    case DataType::kFloat16:
      return 8 * 0x1p-11 + 1e-5;
    case DataType::kBfloat16:
      return 8 * 0x1p-8 + 1e-5;
    case DataType::kFloat8E4M3:
      return 8 * 0x1p-4;
    default:
      return 8 * 0x1p-3;
  }
}

struct Case {
  std::string graph;
  DataType type = DataType::kFloat32;
  uint64_t count = 0;
  bool in_place = false;
  uint64_t round = 0;

  std::string text() const {
    return graph + " round " + std::to_string(round) + " " + std::string(name_of(type)) + " x" +
           std::to_string(count) + (in_place ? " in place" : "");
  }
};

// One call, every element checked against the row of the matrix.
void check_average(Communicator& comm, const Case& c, const Graph& graph) {
  const uint64_t element = size_of(c.type);
  std::vector<std::byte> input(c.count * element + 1);
  for (uint64_t i = 0; i < c.count; ++i) {
    put(c.type, input_of(comm.rank(), i), input.data() + i * element);
  }
  std::vector<std::byte> apart(c.in_place ? 0 : input.size());
  std::byte* const output = c.in_place ? input.data() : apart.data();
  const Status done = neighbor_average(comm, input.data(), output, c.count, c.type, graph, c.round);
  ASSERT_TRUE(done.is_ok()) << c.text() << ": " << done.to_string();
  const std::shared_ptr<const Mixing> mixing = graph.mixing(c.round);
  std::vector<std::byte> rounded(element);
  for (uint64_t i = 0; i < c.count; ++i) {
    double expected = 0;
    for (const Weight& w : mixing->row(comm.rank())) {
      put(c.type, input_of(w.rank, i), rounded.data());
      expected += w.value * get(c.type, rounded.data());
    }
    ASSERT_NEAR(get(c.type, output + i * element), expected, tolerance_of(c.type))
        << c.text() << " rank " << comm.rank() << " element " << i;
  }
}

class NeighborsOver : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto made = find_transport(GetParam())->create(TransportConfig());
    if (!made) GTEST_SKIP() << "skipped: " << made.status().message();
  }
};
INSTANTIATE_TEST_SUITE_P(Transports, NeighborsOver,
                         testing::Values("loopback", "shm", "tcp", "ucx", "verbs"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(NeighborsOver, EveryRankGetsItsRowOfTheMatrix) {
  const Rank size = 5;
  RankGroup group(size, GetParam());
  const DataType types[] = {DataType::kFloat32,  DataType::kFloat64,    DataType::kFloat16,
                            DataType::kBfloat16, DataType::kFloat8E4M3, DataType::kFloat8E5M2};
  group.each([&](Communicator& comm) {
    for (const char* name : {"ring", "one_peer_exponential", "static_exponential", "base:k=1",
                             "star", "random_matching", "hierarchical:hosts=2+3"}) {
      const auto graph = graph_of(name, size);
      for (const DataType type : types) {
        for (const uint64_t count : {0, 1, 3, 33, 1000, 70'001}) {
          for (const bool in_place : {false, true}) {
            check_average(comm, {name, type, count, in_place, count % 4}, *graph);
          }
        }
      }
    }
  });
}

TEST_P(NeighborsOver, LargeBuffersStayRight) {
  RankGroup group(4, GetParam());
  group.each([&](Communicator& comm) {
    const auto graph = graph_of("one_peer_exponential", 4);
    for (const bool in_place : {false, true}) {
      check_average(comm, {"one_peer_exponential", DataType::kFloat32, 3'000'001, in_place, 1},
                    *graph);
    }
  });
}

TEST_P(NeighborsOver, BaseReachesTheExactMeanAfterItsPeriod) {
  RankGroup group(6, GetParam());
  group.each([&](Communicator& comm) {
    const auto graph = graph_of("base:k=1", 6);
    std::vector<double> x(1000);
    for (uint64_t i = 0; i < x.size(); ++i) x[i] = input_of(comm.rank(), i);
    for (uint64_t t = 0; t < graph->period(); ++t) {
      ASSERT_TRUE(
          neighbor_average(comm, x.data(), x.data(), x.size(), DataType::kFloat64, *graph, t));
    }
    for (uint64_t i = 0; i < x.size(); ++i) {
      double mean = 0;
      for (Rank r = 0; r < 6; ++r) mean += input_of(r, i) / 6;
      ASSERT_NEAR(x[i], mean, 1e-13);
    }
  });
}

TEST_P(NeighborsOver, TheMeanStaysWhereItWasInFloatToo) {
  // 1/3 is no float: weights that were rounded one by one would add 3e-8 of the mean per round.
  RankGroup group(4, GetParam());
  group.each([&](Communicator& comm) {
    const auto graph = graph_of("ring", 4);
    std::vector<float> x(16, 1.0F);
    for (uint64_t t = 0; t < 2000; ++t) {
      ASSERT_TRUE(
          neighbor_average(comm, x.data(), x.data(), x.size(), DataType::kFloat32, *graph, t));
    }
    EXPECT_NEAR(x[0], 1.0F, 1e-6F);
  });
}

TEST_P(NeighborsOver, AllGatherHasEverySourceInOrder) {
  RankGroup group(5, GetParam());
  group.each([&](Communicator& comm) {
    for (const char* name : {"static_exponential", "star", "ring"}) {
      const auto graph = graph_of(name, 5);
      const std::vector<Rank> sources = graph->mixing(0)->sources(comm.rank());
      for (const uint64_t count : {1, 999, 100'000}) {
        std::vector<int32_t> in(count, comm.rank() + 7);
        std::vector<int32_t> out(count * sources.size(), -1);
        ASSERT_TRUE(
            neighbor_all_gather(comm, in.data(), out.data(), count, DataType::kInt32, *graph, 0));
        for (uint64_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], sources[i / count] + 7);
      }
    }
  });
}

TEST_P(NeighborsOver, PairsGossipWithoutTheOthers) {
  RankGroup group(3, GetParam());
  group.each([&](Communicator& comm) {
    if (comm.rank() == 1) return;  // takes no part
    const Rank peer = 2 - comm.rank();
    for (const bool in_place : {false, true}) {
      for (const uint64_t count : {0, 1, 1000, 300'000}) {
        std::vector<float> x(count, comm.rank() == 0 ? 1.0F : 4.0F);
        std::vector<float> y(count);
        float* const out = in_place ? x.data() : y.data();
        const Status done = pair_gossip(comm, x.data(), out, count, DataType::kFloat32, peer);
        ASSERT_TRUE(done.is_ok()) << done.to_string();
        for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(out[i], 2.5F);
      }
    }
  });
}

TEST_P(NeighborsOver, StartedAndPersistentAveragesOutliveTheirGraph) {
  RankGroup group(4, GetParam());
  group.each([&](Communicator& comm) {
    std::vector<float> x(5000, static_cast<float>(comm.rank()));
    std::vector<float> y(5000);
    auto graph = graph_of("complete", 4);
    Work work =
        start_neighbor_average(comm, x.data(), y.data(), x.size(), DataType::kFloat32, *graph, 0);
    auto plan =
        plan_neighbor_average(comm, x.data(), x.data(), x.size(), DataType::kFloat32, *graph, 0);
    ASSERT_TRUE(plan.is_ok()) << plan.status().to_string();
    graph.reset();
    ASSERT_TRUE(work.wait());
    EXPECT_NEAR(y[4999], 1.5F, 1e-6F);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(plan->start());
      ASSERT_TRUE(plan->wait());
    }
    EXPECT_NEAR(x[0], 1.5F, 1e-6F);
  });
}

TEST_P(NeighborsOver, ASecondCallOfARoundBuildsAndAllocatesNothing) {
  RankGroup group(4, GetParam());
  group.each([&](Communicator& comm) {
    const auto graph = graph_of("one_peer_exponential", 4);
    std::vector<float> x(20'000, 1.0F);
    const auto run = [&](uint64_t first) {
      for (uint64_t t = first; t < first + 6; ++t) {
        ASSERT_TRUE(
            neighbor_average(comm, x.data(), x.data(), x.size(), DataType::kFloat32, *graph, t));
      }
    };
    run(0);
    EXPECT_EQ(comm.counters().plans_built, 2U);
    ASSERT_TRUE(comm.barrier());
    const uint64_t before = allocations;
    run(6);
    EXPECT_EQ(comm.counters().plans_built, 3U);  // and the barrier's
    // The RDMA transports' lists may still grow once.
    const std::string transport = GetParam();
    const bool counts = transport == "loopback" || transport == "shm" || transport == "tcp";
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS && counts) {
      EXPECT_EQ(allocations - before, 0U);
    }
  });
}

// --- ranks that disagree
// ---------------------------------------------------------------------------

// As far as a message tells a count: eight binary digits.
std::string shown(uint64_t count) {
  int shift = 0;
  while (count >> shift > 255) ++shift;
  return (shift > 0 ? "of ~" : "of ") + std::to_string(count >> shift << shift) + " float32";
}

// Rank 3 of 4 asks for another graph or round; all hear of it. Inputs are as they were, and with
// one source per round nothing is written but averages of ranks that agree.
void expect_mismatch(const std::string& transport, const std::string& graph_text,
                     const std::string& other_text, uint64_t round, uint64_t other_round,
                     const std::vector<std::string>& parts) {
  Gate gate(4);
  run_group(4, transport, [&](Communicator& comm) {
    const bool odd = comm.rank() == 3;
    const auto graph = graph_of(odd ? other_text : graph_text, 4);
    const auto unused = graph_of(odd ? graph_text : other_text, 4);  // so that it has a name here
    std::vector<float> in(1000, 1.0F);
    std::vector<float> out(1000, -1.0F);
    Status status;
    // A pair that agrees may finish its own exchange; its next call fails.
    for (int i = 0; i < 3 && status; ++i) {
      status = neighbor_average(comm, in.data(), out.data(), in.size(), DataType::kFloat32, *graph,
                                odd ? other_round : round);
    }
    EXPECT_EQ(status.code(), Code::kMismatch) << comm.rank() << ": " << status.to_string();
    for (const std::string& part : parts) {
      EXPECT_NE(status.message().find(part), std::string::npos)
          << "no '" << part << "' in: " << status.message();
    }
    EXPECT_EQ(in, std::vector<float>(1000, 1.0F));
    const bool one_source =
        graph->mixing(0)->sources_max() == 1 && unused->mixing(0)->sources_max() == 1;
    for (size_t i = 0; one_source && i < out.size(); ++i) {
      ASSERT_TRUE(out[i] == 1.0F || out[i] == -1.0F) << out[i];
    }
    gate.arrive_and_wait();
  });
}

TEST_P(NeighborsOver, MismatchedRoundsNameBoth) {
  expect_mismatch(GetParam(), "one_peer_exponential", "one_peer_exponential", 0, 1,
                  {"round 0 of graph one_peer_exponential", "round 1 of graph one_peer_expon"});
}

TEST_P(NeighborsOver, MismatchedGraphsNameBoth) {
  expect_mismatch(GetParam(), "ring", "complete", 0, 0, {"graph ring", "graph complete"});
  expect_mismatch(GetParam(), "ring", "one_peer_exponential", 0, 1,
                  {"graph ring", "graph one_peer_exponential"});
}

TEST_P(NeighborsOver, MismatchedCountsNameBoth) {
  for (const auto& [mine, other] :
       {std::pair<uint64_t, uint64_t>{100, 101}, {1000, 2000}, {70'000, 140'000}, {5000, 5001}}) {
    Gate gate(2);
    run_group(2, GetParam(), [&, mine = mine, other = other](Communicator& comm) {
      const auto graph = graph_of("ring", 2);
      const uint64_t count = comm.rank() == 0 ? mine : other;
      const std::vector<float> in(count, 1.0F);
      std::vector<float> out(count, -1.0F);
      const Status status =
          neighbor_average(comm, in.data(), out.data(), count, DataType::kFloat32, *graph, 0);
      EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
      // Its own count in full, of the other's the first digits.
      EXPECT_NE(status.message().find("neighbor_average of " + std::to_string(count) + " float32"),
                std::string::npos)
          << status.message();
      EXPECT_NE(status.message().find(shown(comm.rank() == 0 ? other : mine)), std::string::npos)
          << status.message();
      EXPECT_EQ(out, std::vector<float>(count, -1.0F));
      gate.arrive_and_wait();
    });
  }
}

TEST_P(NeighborsOver, AnAverageAgainstAnAllReduceNamesBoth) {
  Gate gate(2);
  run_group(2, GetParam(), [&](Communicator& comm) {
    const auto graph = graph_of("ring", 2);
    std::vector<float> x(100, 1.0F);
    const Status status = comm.rank() == 0 ? comm.all_reduce(std::span<float>(x))
                                           : neighbor_average(comm, x.data(), x.data(), 100,
                                                              DataType::kFloat32, *graph, 0);
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_NE(status.message().find("all_reduce of 100"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("round 0 of graph ring"), std::string::npos)
        << status.message();
    gate.arrive_and_wait();
  });
}

// --- bad input: refused before anything is sent
// ------------------------------------------------------

TEST(Neighbors, RefuseWhatTheyCannotDo) {
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    const auto graph = graph_of("ring", 2);
    const auto larger = graph_of("ring", 3);
    std::vector<float> x(10, 1.0F);
    const auto says = [](const Status& status, const std::string& part) {
      EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
      EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    };
    const auto call = [&](void* in, void* out, DataType type, const Graph& g) {
      return neighbor_average(comm, in, out, 10, type, g, 0);
    };
    says(call(x.data(), x.data(), DataType::kFloat32, *larger), "3 ranks and this communicator 2");
    says(call(x.data(), x.data(), DataType::kInt32, *graph), "float");
    says(call(nullptr, x.data(), DataType::kFloat32, *graph), "input buffer is null");
    says(call(x.data(), x.data() + 1, DataType::kFloat32, *graph), "overlap");
    CollectiveCall none;
    none.collective = Collective::kNeighborAverage;
    says(comm.run(none), "needs a graph");
    says(neighbor_all_gather(comm, x.data(), x.data(), 10, DataType::kFloat32, *graph, 0),
         "never in place");
    says(pair_gossip(comm, x.data(), x.data(), 10, DataType::kFloat32, comm.rank()), "itself");
    says(pair_gossip(comm, x.data(), x.data(), 10, DataType::kFloat32, 2), "no rank 2");
    says(pair_gossip(comm, x.data(), x.data(), 10, DataType::kInt8, 1 - comm.rank()), "float");
    // Nothing of it has hurt the communicator.
    EXPECT_TRUE(neighbor_average(comm, x.data(), x.data(), 10, DataType::kFloat32, *graph, 0));
  });
}

TEST(Neighbors, OneRankAloneKeepsItsValues) {
  RankGroup group(1);
  const auto graph = graph_of("ring", 1);
  std::vector<float> x(10, 3.0F);
  std::vector<float> y(10);
  ASSERT_TRUE(neighbor_average(group[0], x.data(), y.data(), 10, DataType::kFloat32, *graph, 0));
  EXPECT_EQ(y, x);
  EXPECT_TRUE(neighbor_all_gather(group[0], x.data(), y.data(), 10, DataType::kFloat32, *graph, 0));
  EXPECT_EQ(y, x);
}

}  // namespace
}  // namespace gossamer
