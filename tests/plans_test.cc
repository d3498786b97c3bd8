// Plans: built once, bounded in number, doing what their algorithm's formula says, running without
// allocation.

#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/memory.h"
#include "gossamer/schedule.h"
#include "tests/count_allocations.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

Status sum_floats(Communicator& comm, std::vector<float>* values) {
  return comm.all_reduce(values->data(), values->data(), values->size(), DataType::kFloat32,
                         ReduceOp::kSum);
}

TEST(Plans, AreBuiltOncePerShape) {
  RankGroup group(3);
  group.each([](Communicator& comm) {
    std::vector<float> x(100, 1), y(300);
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(sum_floats(comm, &x));
      ASSERT_TRUE(comm.all_reduce(x.data(), y.data(), 100, DataType::kFloat32, ReduceOp::kSum));
      ASSERT_TRUE(comm.all_reduce(x.data(), x.data(), 100, DataType::kInt32, ReduceOp::kSum));
      ASSERT_TRUE(comm.all_reduce(x.data(), x.data(), 100, DataType::kFloat32, ReduceOp::kMax));
      ASSERT_TRUE(comm.all_gather(x.data(), y.data(), 100, DataType::kFloat32));
      EXPECT_EQ(comm.counters().plans_built, 5U);
    }
    EXPECT_EQ(comm.counters().operations, 15U);
  });
}

TEST(Plans, TheLeastRecentlyUsedMakesRoom) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    const auto call = [&](uint64_t count) {
      std::vector<float> x(count, 1);
      ASSERT_TRUE(sum_floats(comm, &x));
      EXPECT_EQ(x.back(), 2.0F);
    };
    for (uint64_t count = 1; count <= 256; ++count) call(count);
    EXPECT_EQ(comm.counters().plans_built, 256U);
    call(1);  // used again: 2 is now the oldest
    EXPECT_EQ(comm.counters().plans_built, 256U);
    call(257);
    EXPECT_EQ(comm.counters().plans_built, 257U);
    call(1);
    EXPECT_EQ(comm.counters().plans_built, 257U);
    call(2);
    EXPECT_EQ(comm.counters().plans_built, 258U);
    for (uint64_t count = 1; count <= 600; ++count) call(count);
  });
}

// What one call of an algorithm sends, summed over ranks and for one rank, in units of S / N.
struct Traffic {
  uint64_t messages = 0, messages_max = 0;  // per rank
  uint64_t blocks = 0;                      // per rank; 0: see all_blocks
  uint64_t all_blocks = 0;                  // of all ranks together
};

// Of a broadcast or reduce every rank but the root takes or gives one buffer; of a gather or
// scatter one share, unless shares go by way of others.
Traffic expected_rooted_traffic(const std::string& name, uint64_t n) {
  const uint64_t log = std::bit_width(n - 1);
  const uint64_t whole = n * (n - 1);
  if (name == "direct_broadcast") return {0, n - 1, 0, whole};
  if (name == "binomial_broadcast") return {0, log, 0, whole};
  if (name == "knomial4_broadcast") return {0, 3 * ((log + 1) / 2), 0, whole};
  if (name == "knomial8_broadcast") return {0, 7 * ((log + 2) / 3), 0, whole};
  if (name == "chain_broadcast") return {0, 1, 0, whole};
  if (name == "double_tree_broadcast") return {0, 4, 0, whole};
  if (name == "scatter_broadcast") {
    return {n - 2, 2 * (n - 1), 0, (n - 1) + (n - 1) * (n - 1)};
  }
  if (name == "direct_reduce" || name == "binomial_reduce" || name == "knomial4_reduce" ||
      name == "knomial8_reduce" || name == "chain_reduce") {
    return {0, 1, 0, whole};
  }
  if (name == "double_tree_reduce") return {0, 2, 0, whole};
  if (name == "two_shot_reduce") return {n - 1, n, 0, whole + n - 1};
  if (name == "direct_gather") return {0, 1, 0, n - 1};
  if (name == "direct_scatter") return {0, n - 1, 0, n - 1};
  if (name == "binomial_gather" || name == "binomial_scatter") {
    uint64_t hops = 0;
    for (uint64_t place = 1; place < n; ++place) hops += std::min(place & (~place + 1), n - place);
    return {0, name == "binomial_gather" ? 2 : 2 * log, 0, hops};
  }
  ADD_FAILURE() << "no formula for " << name;
  return {};
}

Traffic expected_traffic(const std::string& name, uint64_t n) {
  const uint64_t log = std::bit_width(n - 1);  // rounded up
  if (name == "ring" || name == "two_shot") return {2 * (n - 1), 2 * (n - 1), 2 * (n - 1), 0};
  if (name == "reversed_bruck") return {2 * log, 4 * log, 2 * (n - 1), 0};  // runs may wrap
  if (name == "one_shot") return {n - 1, n - 1, (n - 1) * n, 0};
  if (name == "recursive_doubling") {
    if (std::has_single_bit(n)) return {log, log, log * n, 0};
    const uint64_t whole = std::bit_floor(n);
    const uint64_t extra = n - whole;  // hand in and get back
    return {1, log, 0, (whole * (log - 1) + 2 * extra) * n};
  }
  if (name == "double_tree") return {1, 8, 0, 2 * (n - 1) * n};
  if (name == "ring_all_gather" || name == "direct_all_gather") return {n - 1, n - 1, n - 1, 0};
  if (name == "bruck_all_gather") return {log, 2 * log, n - 1, 0};
  if (name == "direct_reduce_scatter" || name == "ring_reduce_scatter" ||
      name == "direct_all_to_all") {
    return {n - 1, n - 1, n - 1, 0};
  }
  if (name == "bruck_reduce_scatter") return {log, 4 * log, n - 1, 0};
  if (name == "bruck_all_to_all") {
    uint64_t hops = 0;  // shares times the powers of two in their distance
    for (uint64_t i = 1; i < n; ++i) hops += static_cast<uint64_t>(std::popcount(i));
    return {log, log, hops, 0};
  }
  return expected_rooted_traffic(name, n);
}

TEST(Plans, E2_CountersMatchTheFormulas) {
  for (const Algorithm* algorithm : algorithms()) {
    const std::string name = algorithm->name;
    if (name.starts_with("hierarchical")) continue;  // needs hosts
    if (algorithm->codes) continue;                  // CodedAlgorithms of algorithms_test.cc
    if (has_graph(algorithm->collective)) continue;  // what it sends depends on the graph
    for (const Rank size : {2, 3, 4, 7, 8, 12}) {
      RankGroup group(size, "loopback", name);
      const auto n = static_cast<uint64_t>(size);
      const bool in_shares = is_in_shares(algorithm->collective);
      const uint64_t block = 16 * 5;  // floats: blocks of equal length
      const Traffic expected = expected_traffic(name, n);
      std::vector<uint64_t> bytes(n);
      group.each([&](Communicator& comm) {
        std::vector<float> x(block * n, 1), y(block * n);
        const uint64_t count = in_shares ? block : block * n;
        const auto choice = comm.explain(algorithm->collective, count, DataType::kFloat32,
                                         ReduceOp::kSum, false, size / 2);
        ASSERT_TRUE(choice.is_ok());
        EXPECT_EQ(choice->algorithm, name);
        EXPECT_EQ(choice->transport, "loopback");
        ASSERT_EQ(choice->pieces, 1U);
        EXPECT_GT(choice->predicted_us, 0);
        ASSERT_TRUE(comm.run({algorithm->collective, x.data(), y.data(), count, DataType::kFloat32,
                              ReduceOp::kSum, size / 2}));
        const Communicator::Counters counters = comm.counters();
        EXPECT_EQ(counters.plans_built, 1U);  // explain()'s is the one that ran
        EXPECT_EQ(counters.operations, 1U);
        EXPECT_GE(counters.messages_sent, expected.messages) << name << " x" << size;
        EXPECT_LE(counters.messages_sent, expected.messages_max) << name << " x" << size;
        bytes[static_cast<size_t>(comm.rank())] = counters.bytes_sent;
        if (expected.blocks > 0) {
          EXPECT_EQ(counters.bytes_sent, expected.blocks * block * 4) << name << " x" << size;
        }
      });
      uint64_t all = 0;
      for (const uint64_t b : bytes) all += b;
      if (expected.all_blocks > 0) {
        EXPECT_EQ(all, expected.all_blocks * block * 4) << name << " x" << size;
      }
    }
  }
}

// By price: what explain() names is what the counters see.
TEST(Plans, ExplainAgreesWithWhatRuns) {
  RankGroup group(4, "shm");
  group.each([](Communicator& comm) {
    for (const uint64_t count : {1, 64, 64 * 64, 64 * 4096, 64 * 16384}) {
      const auto choice =
          comm.explain(Collective::kAllReduce, count, DataType::kFloat32, ReduceOp::kSum, true);
      ASSERT_TRUE(choice.is_ok());
      const auto before = comm.counters();
      std::vector<float> x(count, 1);
      ASSERT_TRUE(sum_floats(comm, &x));
      const auto after = comm.counters();
      EXPECT_EQ(after.plans_built, before.plans_built);
      const Traffic expected = expected_traffic(choice->algorithm, 4);
      if (count == 1) continue;  // empty blocks send nothing
      EXPECT_GE(after.messages_sent - before.messages_sent, expected.messages * choice->pieces);
      EXPECT_LE(after.messages_sent - before.messages_sent, expected.messages_max * choice->pieces);
      if (expected.blocks > 0) {
        EXPECT_EQ(after.bytes_sent - before.bytes_sent, expected.blocks * count / 4 * 4)
            << choice->algorithm;
      }
    }
  });
}

TEST(Plans, AreProvedBeforeTheyRunWhenAsked) {
  setenv("GOSSAMER_VERIFY", "1", 1);
  RankGroup group(4, "shm");
  setenv("GOSSAMER_VERIFY", "0", 1);
  group.each([](Communicator& comm) {
    for (const uint64_t count : {0, 1, 5, 1000, 300'000}) {
      std::vector<float> x(count, 1), all(4 * count);
      ASSERT_TRUE(sum_floats(comm, &x));
      EXPECT_EQ(x, std::vector<float>(count, 4));
      ASSERT_TRUE(comm.all_gather(x.data(), all.data(), count, DataType::kFloat32));
      EXPECT_EQ(all, std::vector<float>(4 * count, 4));
    }
  });
}

TEST(Plans, ExplainRefusesNonsense) {
  RankGroup group(1);
  EXPECT_EQ(
      group[0]
          .explain(Collective::kAllReduce, 1, static_cast<DataType>(77), ReduceOp::kSum, false)
          .status()
          .code(),
      Code::kInvalidArgument);
  EXPECT_EQ(
      group[0]
          .explain(Collective::kAllReduce, UINT64_MAX, DataType::kFloat32, ReduceOp::kSum, false)
          .status()
          .code(),
      Code::kInvalidArgument);
  EXPECT_EQ(group[0]
                .explain(static_cast<Collective>(9), 1, DataType::kFloat32, ReduceOp::kSum, false)
                .status()
                .code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(group[0].status());
}

class PlansOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, PlansOver, testing::Values("loopback", "shm"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(PlansOver, AllocateNothingFromTheSecondCallOn) {
  if (GOSSAMER_TEST_COUNTS_ALLOCATIONS == 0) GTEST_SKIP() << "the sanitizer has its own malloc";
  for (const std::string name : {"", "ring", "two_shot", "one_shot", "recursive_doubling"}) {
    RankGroup group(3, GetParam(), name);
    group.each([&](Communicator& comm) {
      for (const bool shared : {false, true}) {
        constexpr uint64_t kCount = 600'000;
        Result<void*> memory = allocate_memory(4 * kCount * sizeof(float));
        ASSERT_TRUE(memory.is_ok());
        std::vector<float> heap(4 * kCount);
        auto* const x = shared ? static_cast<float*>(*memory) : heap.data();
        const auto call_all = [&] {
          for (const uint64_t count : {1, 100, 20'000, 600'000}) {
            for (const DataType type : {DataType::kFloat32, DataType::kBfloat16}) {
              ASSERT_TRUE(comm.all_reduce(x, x, count, type, ReduceOp::kAvg));
              ASSERT_TRUE(comm.all_reduce(x, x + kCount, count, type, ReduceOp::kMax));
              ASSERT_TRUE(comm.all_reduce(x, x + kCount, count, type, Reduction::pre_mul_sum(0.5)));
              ASSERT_TRUE(comm.all_gather(x, x + kCount, count, type));
            }
          }
        };
        call_all();
        const uint64_t before = allocations;
        for (int round = 0; round < 3; ++round) call_all();
        EXPECT_EQ(allocations, before) << name << " over " << GetParam();
        EXPECT_GT(before, 0U);  // the counter counts
        EXPECT_TRUE(free_memory(*memory));
      }
    });
  }
}

}  // namespace
}  // namespace gossamer
