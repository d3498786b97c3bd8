// Collectives beyond their results: what they refuse, what ranks that disagree are told, what runs
// again costs nothing, and barriers.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/count_allocations.h"
#include "tests/exact_calls.h"
#include "tests/group_threads.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr auto kFloat = DataType::kFloat32;

void expect_refused(const Status& status, const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
  for (const std::string& part : parts) {
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

// --- what is refused -----------------------------------------------------------------------------

class Refused : public testing::Test {
 protected:
  RankGroup group{1};
  Communicator& comm = group[0];
  std::vector<float> x = std::vector<float>(100, 1.0F);
  std::vector<float> y = std::vector<float>(100, 2.0F);
};

TEST_F(Refused, RootsThatAreNoRank) {
  for (const Rank root : {-1, 1, 1'000'000}) {
    const std::vector<std::string> parts = {"root", std::to_string(root), "ranks 0 to 0"};
    expect_refused(comm.broadcast(x.data(), y.data(), 1, kFloat, root), parts);
    expect_refused(comm.reduce(x.data(), y.data(), 1, kFloat, ReduceOp::kSum, root), parts);
    expect_refused(comm.start_gather(x.data(), y.data(), 1, kFloat, root).wait(), parts);
    expect_refused(comm.plan_scatter(x.data(), y.data(), 1, kFloat, root).status(), parts);
  }
  EXPECT_TRUE(comm.run({Collective::kAllToAll, x.data(), y.data(), 1, kFloat, ReduceOp::kSum, 77}))
      << "a root means nothing here";
}

TEST_F(Refused, NullBuffersThatAreNeeded) {
  for (int c = 0; c < kCollectiveCount; ++c) {
    const auto collective = static_cast<Collective>(c);
    expect_refused(comm.run({collective, nullptr, y.data(), 7, kFloat}), {"input", "null", "7"});
    expect_refused(comm.run({collective, x.data(), nullptr, 7, kFloat}), {"output", "null", "7"});
    EXPECT_TRUE(comm.run({collective, nullptr, nullptr, 0, kFloat})) << name_of(collective);
  }
}

TEST_F(Refused, OverlapsThatAreNotInPlace) {
  for (int c = 0; c < kCollectiveCount; ++c) {
    const auto collective = static_cast<Collective>(c);
    const Status status = comm.run({collective, x.data(), x.data() + 1, 50, kFloat});
    const bool never = collective == Collective::kAllToAll;
    expect_refused(status, {"overlap", never ? "never in place" : "in place means"});
  }
  expect_refused(comm.all_to_all(x.data(), x.data(), 50, kFloat), {"overlap", "of its own"});
  EXPECT_EQ(x, std::vector<float>(100, 1.0F));
}

TEST_F(Refused, InPlaceRulesNameTheSideThatMoves) {
  const auto rule = [&](Collective collective) {
    return comm.run({collective, x.data(), x.data() + 1, 50, kFloat}).message();
  };
  EXPECT_NE(rule(Collective::kReduceScatter).find("output == input + rank * count"),
            std::string::npos);
  EXPECT_NE(rule(Collective::kScatter).find("output == input + root * count"), std::string::npos);
  EXPECT_NE(rule(Collective::kGather).find("input == output + root * count"), std::string::npos);
}

TEST_F(Refused, CountsThatOverflowWithAllShares) {
  RankGroup eight(8);
  const uint64_t most = INT64_MAX / sizeof(float);
  for (int c = 0; c < kCollectiveCount; ++c) {
    const auto collective = static_cast<Collective>(c);
    expect_refused(comm.run({collective, x.data(), y.data(), most + 1, kFloat}), {"overflows"});
    if (!is_in_shares(collective)) continue;
    expect_refused(eight[3].run({collective, x.data(), y.data(), most / 4, kFloat}), {"overflows"});
  }
}

TEST_F(Refused, UnknownCollectivesTypesAndOperations) {
  expect_refused(comm.run({static_cast<Collective>(12), x.data(), y.data(), 1, kFloat}),
                 {"collective"});
  expect_refused(comm.broadcast(x.data(), y.data(), 1, static_cast<DataType>(12), 0), {"type"});
  expect_refused(comm.reduce(x.data(), y.data(), 1, kFloat, static_cast<ReduceOp>(9), 0),
                 {"operation"});
  expect_refused(comm.reduce_scatter(x.data(), y.data(), 1, kFloat, ReduceOp::kUser), {"function"});
}

// A rank's buffers that are not used are not looked at either.
TEST(Rooted, UnusedBuffersMayBeAnything) {
  RankGroup group(3);
  group.each([](Communicator& comm) {
    std::vector<int64_t> x(10, comm.rank());
    const bool is_root = comm.rank() == 1;
    ASSERT_TRUE(
        comm.broadcast(is_root ? x.data() : x.data() + 3, x.data(), 5, DataType::kInt64, 1));
    EXPECT_EQ(x[4], 1);
    ASSERT_TRUE(comm.reduce(x.data(), is_root ? x.data() : x.data() + 2, 5, DataType::kInt64,
                            ReduceOp::kSum, 1));
    EXPECT_EQ(x[4], is_root ? 3 : 1);
  });
}

// --- ranks that disagree -------------------------------------------------------------------------

// Every rank but the last makes `call`, the last one `other`; then all meet, since a rank whose
// part needs nobody's answer is told by then. What each is told.
std::vector<Status> differ(Rank size, const std::string& transport, const CollectiveCall& call,
                           const CollectiveCall& other, const std::string& algorithm = "") {
  std::vector<Status> told(static_cast<size_t>(size));
  Gate gate(size);
  run_group(
      size, transport,
      [&](Communicator& comm) {
        std::vector<float> input(200'000, 1.0F), output(200'000);
        CollectiveCall mine = comm.rank() == size - 1 ? other : call;
        mine.input = input.data();
        mine.output = output.data();
        Status& status = told[static_cast<size_t>(comm.rank())];
        status = comm.run(mine);
        if (status) status = comm.barrier();
        gate.arrive_and_wait();
      },
      milliseconds(2000), [&](Communicator::Options& options) { options.algorithm = algorithm; });
  return told;
}

class Disagreement : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Over, Disagreement, testing::Values("shm", "tcp"),
                         [](const auto& made) { return std::string(made.param); });

TEST_P(Disagreement, OnTheCollectiveNamesBoth) {
  const std::pair<Collective, Collective> pairs[] = {
      {Collective::kAllReduce, Collective::kReduceScatter},
      {Collective::kAllToAll, Collective::kAllGather},
      {Collective::kReduce, Collective::kGather},
      {Collective::kBroadcast, Collective::kScatter},
      {Collective::kAllReduce, Collective::kBroadcast}};
  for (const auto& [one, two] : pairs) {
    for (const uint64_t count : {uint64_t{5}, uint64_t{20'000}}) {
      const auto told = differ(3, GetParam(), {.collective = one, .count = count},
                               {.collective = two, .count = count});
      for (const Status& status : told) {
        EXPECT_EQ(status.code(), Code::kMismatch)
            << name_of(one) << ", " << name_of(two) << ": " << status.to_string();
        EXPECT_NE(status.message().find(std::string(name_of(one)) + " of"), std::string::npos)
            << status.message();
        EXPECT_NE(status.message().find(std::string(name_of(two)) + " of"), std::string::npos)
            << status.message();
      }
    }
  }
}

// Where messages meet.
TEST_P(Disagreement, OnTheRootSaysSo) {
  const CollectiveCall call{.collective = Collective::kReduce, .count = 10, .root = 0};
  CollectiveCall other = call;
  other.root = 2;
  for (const Status& status : differ(3, GetParam(), call, other, "two_shot_reduce")) {
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_NE(status.message().find("different roots"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("reduce of 10 float32"), std::string::npos) << status.message();
  }
}

// Where each root waits for the other one, the deadline ends it; each names its own root.
TEST_P(Disagreement, OnTheRootNeverHangs) {
  for (const Collective collective : {Collective::kReduce, Collective::kGather}) {
    const auto told = differ(3, GetParam(), {.collective = collective, .count = 10, .root = 0},
                             {.collective = collective, .count = 10, .root = 2}, "");
    for (const Status& status : told) EXPECT_FALSE(status) << name_of(collective);
    for (const Rank root : {0, 2}) {
      const std::string& text = told[static_cast<size_t>(root)].message();
      EXPECT_NE(text.find(", root " + std::to_string(root)), std::string::npos) << text;
    }
  }
}

// --- again and again -----------------------------------------------------------------------------

class Persistent : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, Persistent, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& made) { return std::string(made.param); });

TEST_P(Persistent, EveryCollectiveRunsAgainForNothing) {
  constexpr Rank kSize = 4;
  RankGroup group(kSize, GetParam());
  group.each([&](Communicator& comm) {
    std::vector<int64_t> mine(kSize), theirs(kSize);  // opens every link
    ASSERT_TRUE(comm.all_to_all(mine.data(), theirs.data(), 1, DataType::kInt64));
    for (int c = 0; c < kCollectiveCount; ++c) {
      for (const uint64_t count : {uint64_t{3}, uint64_t{30'000}}) {
        const Call shape{.collective = static_cast<Collective>(c), .count = count, .root = 1};
        const CallBuffers buffers = buffers_of(shape, comm.rank(), kSize);
        std::vector<int64_t> in(buffers.input_count + 1), out(buffers.output_count + 1);
        Result<PersistentCollective> plan = comm.plan(
            {shape.collective, in.data(), out.data(), count, DataType::kInt64, ReduceOp::kSum, 1});
        ASSERT_TRUE(plan) << plan.status().to_string();
        const auto run = [&](int64_t salt) {
          for (uint64_t i = 0; i < buffers.input_count; ++i) {
            in[i] = static_cast<int64_t>(i) * (comm.rank() + 1) + salt;
          }
          ASSERT_TRUE(plan->start());
          ASSERT_TRUE(plan->wait());
          for (uint64_t i = 0; i < buffers.output_count; ++i) {
            const Origin origin = origin_of(shape, comm.rank(), i);
            const auto element = static_cast<int64_t>(origin.element);
            const int64_t expected = origin.from < 0
                                         ? element * kSize * (kSize + 1) / 2 + kSize * salt
                                         : element * (origin.from + 1) + salt;
            ASSERT_EQ(out[i], expected) << name_of(shape.collective) << " element " << i;
          }
        };
        // Every rank comes late once, so that what arrives early has had its place made.
        for (Rank late = 0; late < kSize; ++late) {
          if (late == comm.rank()) std::this_thread::sleep_for(milliseconds(3));
          run(late);
          ASSERT_TRUE(comm.barrier());
        }
        const uint64_t before = allocations;
        for (int64_t salt = 10; salt < 15; ++salt) {
          run(salt);
          ASSERT_TRUE(comm.barrier());
        }
        if (GOSSAMER_TEST_COUNTS_ALLOCATIONS != 0) {
          EXPECT_EQ(allocations, before) << name_of(shape.collective) << " x" << count;
        }
      }
    }
  });
}

// --- barriers ------------------------------------------------------------------------------------

TEST(Barrier, LetsNobodyGoBeforeEverybodyHasCome) {
  for (const std::string transport : {"loopback", "shm", "tcp"}) {
    constexpr Rank kSize = 5;
    RankGroup group(kSize, transport);
    std::atomic<int> come{0};
    group.each([&](Communicator& comm) {
      for (int round = 1; round <= 20; ++round) {
        if (round % kSize == comm.rank()) std::this_thread::sleep_for(milliseconds(2));
        ++come;
        ASSERT_TRUE(round % 2 == 0 ? comm.barrier() : comm.start_barrier().wait());
        ASSERT_GE(come.load(), round * kSize) << "rank " << comm.rank();
      }
    });
  }
}

}  // namespace
}  // namespace gossamer
