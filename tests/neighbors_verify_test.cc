// Schedules of averaging, proved: every rank ends with its row of the mixing matrix, whatever the
// graph; and schedules with one thing wrong are refused.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "gossip/graph.h"
#include "src/plan.h"
#include "src/verify.h"
#include "src/verify_weights.h"

namespace gossamer {
namespace {

const Algorithm& average() {
  return *find_algorithm(Collective::kNeighborAverage, "neighbor_average");
}

struct Round {
  std::shared_ptr<const Mixing> mixing;
  Call call;
};

Round round_of(const std::string& graph_text, Rank size, uint64_t round, uint64_t count,
               DataType type = DataType::kFloat64) {
  const auto graph = make_graph(graph_text, size);
  EXPECT_TRUE(graph.is_ok()) << graph.status().to_string();
  Round r;
  r.mixing = (*graph)->mixing(round);
  if (type != DataType::kFloat64) r.mixing = std::make_shared<const Mixing>(r.mixing->in_float());
  r.call.collective = Collective::kNeighborAverage;
  r.call.type = type;
  r.call.count = count;
  r.call.mixing = r.mixing.get();
  return r;
}

std::vector<std::string> graphs_for(Rank size) {
  std::vector<std::string> names;
  for (const GraphFactory* factory : graphs()) {
    const std::string name = factory->name;
    if (name == "edges" || (name == "hypercube" && (size & (size - 1)) != 0)) continue;
    names.push_back(name);
  }
  names.emplace_back("base:k=3");
  return names;
}

TEST(NeighborAverage, EveryGraphProvesInEveryRoundPlaceAndType) {
  for (const Rank size : {2, 3, 5, 8, 13, 24}) {
    for (const std::string& name : graphs_for(size)) {
      const uint64_t rounds = std::max<uint64_t>(2, (*make_graph(name, size))->period());
      for (uint64_t t = 0; t < rounds; ++t) {
        for (const DataType type : {DataType::kFloat64, DataType::kFloat32, DataType::kBfloat16}) {
          for (const uint64_t count : {0, 1, 7, 1000}) {
            for (int variant = 0; variant < 6; ++variant) {
              Round r = round_of(name, size, t, count, type);
              r.call.in_place = variant % 2 == 1;
              r.call.eager_bytes = variant / 2 == 1 ? 1 << 20 : 0;
              const uint32_t pieces = variant / 2 == 2 ? 3 : 1;
              const Verdict v = verify(average(), r.call, size, {}, pieces, 2);
              ASSERT_TRUE(v.proved()) << name << " of " << size << " round " << t << " count "
                                      << count << " variant " << variant << ": " << v.reason;
            }
          }
        }
      }
    }
  }
}

TEST(NeighborAverage, ProvesAbove64Ranks) {
  for (const char* name : {"one_peer_exponential", "static_exponential", "star", "base:k=1"}) {
    Round r = round_of(name, 100, 3, 11);
    const Verdict v = verify(average(), r.call, 100);
    EXPECT_TRUE(v.proved()) << name << ": " << v.reason;
  }
}

TEST(NeighborAllGather, ProvesThatEverySourceHasItsShare) {
  for (const Rank size : {2, 5, 8}) {
    for (const std::string& name : graphs_for(size)) {
      Round r = round_of(name, size, 0, 9);
      r.call.collective = Collective::kNeighborAllGather;
      const Verdict v = verify(
          *find_algorithm(Collective::kNeighborAllGather, "neighbor_all_gather"), r.call, size);
      EXPECT_TRUE(v.proved()) << name << " of " << size << ": " << v.reason;
    }
  }
}

// --- what must not pass
// ----------------------------------------------------------------------------

// The verdict on a ring of 5, float64, after `change` had its way with rank 2's schedule.
Verdict after(const std::function<void(Schedule*)>& change) {
  const Round r = round_of("ring", 5, 0, 20);
  std::vector<Schedule> schedules;
  for (Rank rank = 0; rank < 5; ++rank) {
    schedules.push_back(build_schedule(average(), r.call, rank, 5, {}, 1, 1));
  }
  change(&schedules[2]);
  return verify({.call = r.call, .size = 5}, schedules);
}

size_t fold_of(const Schedule& schedule, size_t which) {
  for (size_t i = 0; i < schedule.steps.size(); ++i) {
    if (schedule.steps[i].verb == Verb::kRecvReduce && which-- == 0) return i;
  }
  ADD_FAILURE() << "no such fold";
  return 0;
}

TEST(NeighborAverage, TheUnchangedScheduleProves) {
  EXPECT_TRUE(after([](Schedule*) {}).proved());
}

TEST(NeighborAverage, AWrongWeightIsRefused) {
  // The least that a double can be wrong by.
  const Verdict wire = after([](Schedule* s) {
    double& weight = s->factors[fold_of(*s, 1)].wire;
    weight = std::nextafter(weight, 1.0);
  });
  EXPECT_FALSE(wire.complete);
  EXPECT_NE(wire.reason.find("rank 2 output element 0 is not the sum that its row"),
            std::string::npos)
      << wire.reason;
  EXPECT_FALSE(after([](Schedule* s) { s->factors[fold_of(*s, 0)].from = 0.25; }).complete);
  EXPECT_FALSE(after([](Schedule* s) { s->factors.clear(); }).complete);
}

TEST(NeighborAverage, AMissingContributionIsRefused) {
  // It arrives and is overwritten, not folded.
  EXPECT_FALSE(after([](Schedule* s) { s->steps[fold_of(*s, 1)].verb = Verb::kRecv; }).complete);
  // It counts for nothing.
  EXPECT_FALSE(after([](Schedule* s) { s->factors[fold_of(*s, 1)].wire = 0; }).complete);
}

TEST(NeighborAverage, ADoubleContributionIsRefused) {
  // Its own value enters with the second fold again.
  const Verdict twice = after([](Schedule* s) {
    Step& step = s->steps[fold_of(*s, 1)];
    step.from_buffer = Buffer::kInput;
  });
  EXPECT_FALSE(twice.complete);
  // What was summed is doubled.
  EXPECT_FALSE(after([](Schedule* s) { s->factors[fold_of(*s, 1)].from = 2; }).complete);
}

TEST(NeighborAverage, FactorsWhereNoneBelongAreRefused) {
  const Verdict sends = after([](Schedule* s) { s->factors[0].from = 0.5; });
  EXPECT_FALSE(sends.in_limits);
  EXPECT_NE(sends.reason.find("which its verb does not take"), std::string::npos) << sends.reason;
  EXPECT_FALSE(after([](Schedule* s) { s->factors.pop_back(); }).in_limits);
  const Algorithm& ring = *find_algorithm(Collective::kAllReduce, "ring");
  const Call call{.count = 8};
  std::vector<Schedule> plain;
  for (Rank rank = 0; rank < 3; ++rank) {
    plain.push_back(build_schedule(ring, call, rank, 3, {}, 1, 1));
    plain.back().factors.assign(plain.back().steps.size(), {0.5, 0.5});
  }
  EXPECT_FALSE(verify({.call = call, .size = 3}, plain).in_limits);
}

TEST(Field, TakesSumsAndProductsOfDoublesExactly) {
  for (const double a : {0.0, 1.0, 0.5, 1.0 / 3, 1e300, 5e-324, 0.1, 12345.678}) {
    EXPECT_EQ(field_multiply(field_of(a), field_of(1)), field_of(a));
    EXPECT_EQ(field_add(field_of(a), field_of(-a)), 0U) << a;
    EXPECT_EQ(field_multiply(field_of(a), field_of(4)),
              field_add(field_add(field_of(a), field_of(a)), field_add(field_of(a), field_of(a))));
  }
  EXPECT_EQ(field_multiply(field_of(0.5), field_of(0.75)), field_of(0.375));
  EXPECT_EQ(field_multiply(field_of(-3), field_of(0.125)), field_of(-0.375));
  EXPECT_NE(field_add(field_of(0.1), field_of(0.2)), field_of(0.3));  // nor are they in doubles
}

}  // namespace
}  // namespace gossamer
