// What the Builder promises: edges, aliasing, pieces, nesting; and Shape's arithmetic.

#include <gtest/gtest.h>

#include <map>

#include "gossamer/schedule.h"
#include "src/plan.h"

namespace gossamer {
namespace {

using Edges = std::vector<std::pair<uint32_t, uint32_t>>;

Edges edges_of(const Schedule& s) {
  Edges edges;
  for (uint32_t i = 0; i < s.steps.size(); ++i) {
    for (uint32_t after : s.dependents_of(i)) edges.emplace_back(i, after);
  }
  std::sort(edges.begin(), edges.end());
  return edges;
}

Slice out(uint64_t first, uint64_t count) {
  return {Buffer::kOutput, first, count};
}
Slice in(uint64_t first, uint64_t count) {
  return {Buffer::kInput, first, count};
}

Builder::Options options(bool in_place = false) {
  return {.rank = 0, .size = 4, .count = 100, .in_place = in_place};
}

TEST(Edges, ReaderWaitsForLastWriter) {
  Builder b(options());
  b.recv(1, out(0, 10));
  b.recv(2, out(0, 10));
  b.send(3, out(5, 2));
  EXPECT_EQ(edges_of(b.finish()), (Edges{{0, 1}, {1, 2}}));
}

TEST(Edges, WriterWaitsForReadersAndThroughThemForTheWriter) {
  Builder b(options());
  b.recv(1, out(0, 10));
  b.send(2, out(0, 5));
  b.send(3, out(5, 5));
  b.recv(1, out(0, 10));
  EXPECT_EQ(edges_of(b.finish()), (Edges{{0, 1}, {0, 2}, {1, 3}, {2, 3}}));
}

TEST(Edges, PartialOverlapsAreSeenAndNeighboursAreNot) {
  Builder b(options());
  b.recv(1, out(0, 10));
  b.recv(1, out(10, 10));
  b.send(2, out(9, 2));   // both
  b.send(2, out(20, 5));  // neither
  EXPECT_EQ(edges_of(b.finish()), (Edges{{0, 2}, {1, 2}}));
}

TEST(Edges, AFoldReadsWhatItWrites) {
  Builder b(options());
  b.recv_reduce(1, out(0, 4), in(0, 4));
  b.recv_reduce(2, out(0, 4));
  b.reduce(in(0, 4), out(0, 4));
  b.settle(out(0, 4), out(0, 4));  // nothing to do
  EXPECT_EQ(edges_of(b.finish()), (Edges{{0, 1}, {1, 2}}));
}

TEST(Edges, InputIsOrderedOnlyInPlace) {
  for (bool in_place : {false, true}) {
    Builder b(options(in_place));
    b.send(1, in(0, 4));
    b.recv(2, out(2, 4));
    EXPECT_EQ(edges_of(b.finish()), in_place ? (Edges{{0, 1}}) : Edges{}) << in_place;
  }
}

TEST(Edges, WaitsCountIncomingEdges) {
  const Schedule s = build_schedule(*find_algorithm(Collective::kAllReduce, "two_shot"),
                                    {.count = 1000, .in_place = true}, 1, 5, {}, 3, 2);
  std::vector<uint32_t> arriving(s.steps.size(), 0);
  for (const auto& [before, after] : edges_of(s)) {
    EXPECT_LT(before, after);
    ++arriving[after];
  }
  EXPECT_EQ(arriving, s.waits);
}

TEST(Builder, LeavesOutWhatDoesNothing) {
  Builder b(options(true));
  b.send(1, out(3, 0));
  b.recv(1, out(3, 0));
  b.copy(in(3, 5), out(3, 5));
  b.settle(out(0, 5), out(0, 5));
  EXPECT_TRUE(b.finish().steps.empty());
}

TEST(Builder, SettlesOnceThereIsSomethingToFinish) {
  Builder::Options o = options();
  o.finishes = true;
  Builder b(o);
  b.settle(out(0, 5), out(0, 5));
  const Schedule s = b.finish();
  ASSERT_EQ(s.steps.size(), 1U);
  EXPECT_EQ(s.steps[0].verb, Verb::kSettle);
}

TEST(Builder, AllGatherInPlaceReadsTheOwnShare) {
  Builder b(
      {.collective = Collective::kAllGather, .rank = 2, .size = 4, .count = 10, .in_place = true});
  b.begin_piece(6, 1);
  b.send(0, in(0, 4));
  const Schedule s = b.finish();
  ASSERT_EQ(s.steps.size(), 1U);
  EXPECT_EQ(s.steps[0].from(), out(26, 4));
  EXPECT_EQ(s.steps[0].lane, 1);
  EXPECT_EQ(s.lanes, 2);
}

TEST(Builder, ScratchAndAccumulatorsAreTheSameWhenAskedAgain) {
  Builder::Options o = options();
  o.wide = true;
  Builder b(o);
  b.begin_piece(0, 0);
  const Slice first = b.scratch(7);
  const Slice sum = b.accumulator(out(3, 4));
  EXPECT_EQ(b.scratch(7), first);
  EXPECT_EQ(b.accumulator(out(3, 4)), sum);
  EXPECT_EQ(sum.buffer, Buffer::kWide);
  EXPECT_NE(b.scratch(7, 1), first);
  b.begin_piece(50, 0);
  EXPECT_NE(b.scratch(7), first);
  EXPECT_NE(b.accumulator(out(3, 4)), sum);
  const Schedule s = b.finish();
  EXPECT_EQ(s.scratch_count, 21U);
  EXPECT_EQ(s.wide_count, 8U);
}

TEST(Builder, NestedAlgorithmsSeeTheirOwnRanksAndSlices) {
  Builder b(options());
  b.begin_piece(10, 0);
  const std::vector<Rank> ranks = {1, 3};
  b.nest(ranks, out(20, 8), out(20, 8));
  b.send(1, in(2, 3));
  b.recv(0, out(2, 3));
  b.nest({});
  b.send(1, in(2, 3));
  const Schedule s = b.finish();
  ASSERT_EQ(s.steps.size(), 3U);
  EXPECT_EQ(s.steps[0].peer, 3);
  EXPECT_EQ(s.steps[0].from(), out(32, 3));
  EXPECT_EQ(s.steps[1].peer, 1);
  EXPECT_EQ(s.steps[1].into(), out(32, 3));
  EXPECT_EQ(s.steps[2].from(), in(12, 3));
}

TEST(Shape, BlocksCoverTheCountAndDifferByOneGranuleAtMost) {
  for (uint64_t granule : {1, 16}) {
    for (Rank size : {1, 2, 3, 7, 16, 64}) {
      for (uint64_t count : {0, 1, 6, 7, 8, 100, 4096, 4097, 99999}) {
        Shape shape{.size = size, .count = count, .granule = granule};
        uint64_t next = 0, shortest = UINT64_MAX, longest = 0;
        for (Rank i = 0; i < size; ++i) {
          const Slice block = shape.block(i);
          EXPECT_EQ(block, shape.block(i - size));
          if (block.count > 0) {
            EXPECT_EQ(block.first, next);
          }
          next += block.count;
          shortest = std::min(shortest, block.count);
          longest = std::max(longest, block.count);
          if (count >= granule * static_cast<uint64_t>(size)) {
            EXPECT_EQ(block.first % granule, 0U);
          }
        }
        EXPECT_EQ(next, count);
        // The last block also lacks what the last granule lacks.
        EXPECT_LT(longest - shortest, 2 * granule) << size << " " << count;
        EXPECT_EQ(shape.range(0, size).count, count);
      }
    }
  }
}

TEST(Plan, PiecesAreSkewedByRoundAndTakeTurnsOnLanes) {
  const Algorithm& ring = *find_algorithm(Collective::kAllReduce, "ring");
  const Schedule s = build_schedule(ring, {.count = 3000}, 0, 3, {}, 3, 2);
  EXPECT_EQ(s.lanes, 2);
  ASSERT_GE(s.steps.size(), 6U);
  // Time 0: piece 0 alone, in round 0. Time 1: piece 0 in round 1 and piece 1 in round 0.
  const auto piece = [](const Step& step) {
    return (step.sends() ? step.from_first : step.into_first) / 1000;
  };
  EXPECT_EQ(piece(s.steps[0]) + piece(s.steps[1]), 0U);
  std::map<uint64_t, int> at_time_one;
  for (size_t i = 2; i < 6; ++i) {
    ++at_time_one[piece(s.steps[i])];
    EXPECT_EQ(s.steps[i].lane, piece(s.steps[i]) % 2);
  }
  EXPECT_EQ(at_time_one, (std::map<uint64_t, int>{{0, 2}, {1, 2}}));
}

TEST(Plan, ALoneRankCopies) {
  for (const Algorithm* algorithm : algorithms()) {
    if (algorithm->collective == Collective::kNeighborAllGather) continue;  // no neighbors
    Call call{.collective = algorithm->collective, .op = ReduceOp::kAvg, .count = 5};
    const Schedule apart = build_schedule(*algorithm, call, 0, 1, {}, 1, 1);
    ASSERT_EQ(apart.steps.size(), 1U);
    EXPECT_EQ(apart.steps[0].verb, Verb::kCopy);
    call.in_place = true;
    if (algorithm->collective == Collective::kAllToAll) continue;  // never in place
    EXPECT_TRUE(build_schedule(*algorithm, call, 0, 1, {}, 1, 1).steps.empty());
  }
}

TEST(Plan, AccumulatesWideOnlyNarrowFloatsThatRound) {
  const Algorithm& two_shot = *find_algorithm(Collective::kAllReduce, "two_shot");
  const Algorithm& ring = *find_algorithm(Collective::kAllReduce, "ring");
  EXPECT_TRUE(accumulates_wide(two_shot, {.type = DataType::kBfloat16}));
  EXPECT_FALSE(accumulates_wide(two_shot, {.type = DataType::kFloat32}));
  EXPECT_FALSE(accumulates_wide(two_shot, {.type = DataType::kFloat16, .op = ReduceOp::kMax}));
  EXPECT_FALSE(accumulates_wide(ring, {.type = DataType::kBfloat16}));
}

}  // namespace
}  // namespace gossamer
