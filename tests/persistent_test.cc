// Persistent collectives: bound once, run many times, refused when misused.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/persistent_plans.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class PersistentOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, PersistentOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

// --- running -------------------------------------------------------------------------------------

TEST_P(PersistentOver, RunsAgainAndAgain) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(0, 20'000), all(60'000);
    PersistentCollective sum = plan_sum(comm, &values);
    auto gather = comm.plan_all_gather(values.data(), all.data(), values.size(), DataType::kInt64);
    ASSERT_TRUE(gather) << gather.status().to_string();
    EXPECT_TRUE(sum.test());  // nothing runs
    EXPECT_TRUE(sum.wait());
    for (int64_t round = 0; round < 50; ++round) {
      std::fill(values.begin(), values.end(), round + comm.rank());
      ASSERT_TRUE(sum.start());
      ASSERT_TRUE(sum.wait());
      ASSERT_TRUE(sum.wait());  // as often as one likes
      ASSERT_EQ(values, filled(3 * round + 3, values.size()));
      std::fill(values.begin(), values.end(), comm.rank());
      ASSERT_TRUE(gather->start());
      ASSERT_TRUE(gather->wait());
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(all[i], static_cast<int64_t>(i / values.size()));
      }
    }
    EXPECT_EQ(comm.counters().operations, 100U);
    EXPECT_EQ(comm.counters().plans_built, 2U);
  });
}

TEST_P(PersistentOver, SeveralMayBeUnderWay) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<std::vector<int64_t>> data;
    for (int64_t i = 0; i < 6; ++i) data.push_back(filled(0, uint64_t{500} << i));
    std::vector<PersistentCollective> sums;
    for (auto& values : data) sums.push_back(plan_sum(comm, &values));
    std::vector<int64_t> other = filled(0);
    for (int64_t round = 1; round <= 20; ++round) {
      for (size_t i = 0; i < data.size(); ++i) {
        std::fill(data[i].begin(), data[i].end(), round * static_cast<int64_t>(i));
        ASSERT_TRUE(sums[i].start());
      }
      // Ordinary calls take their place behind.
      std::fill(other.begin(), other.end(), round);
      ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(other)));
      ASSERT_EQ(other, filled(2 * round));
      for (size_t i = data.size(); i-- > 0;) {
        ASSERT_TRUE(sums[i].wait());
        ASSERT_EQ(data[i], filled(2 * round * static_cast<int64_t>(i), data[i].size()));
      }
    }
  });
}

// Nobody waits: the progress thread finds it; test() and limited waits call it.
TEST_P(PersistentOver, ProgressesWhileNobodyWaits) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1, 5000);
    PersistentCollective sum = plan_sum(comm, &values);
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    ASSERT_TRUE(sum.start());
    while (comm.counters().operations < 1 && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_EQ(comm.counters().operations, 1U);
    ASSERT_TRUE(sum.wait());
    ASSERT_TRUE(sum.start());
    while (!sum.test() && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_TRUE(sum.test());
    std::this_thread::sleep_for(milliseconds(400));  // the progress thread sleeps for good
    ASSERT_TRUE(sum.start());
    ASSERT_TRUE(sum.wait(std::chrono::seconds(20)));
    std::this_thread::sleep_for(milliseconds(400));
    ASSERT_TRUE(sum.start());
    while (comm.counters().operations < 4 && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_TRUE(sum.wait());
    EXPECT_EQ(values, filled(16, 5000));
  });
}

TEST(Persistent, AWaitThatTimedOutLeavesItRunning) {
  RankGroup group(2, "shm");
  std::atomic<bool> timed_out{false};
  group.each([&](Communicator& comm) {
    std::vector<int64_t> values = filled(5);
    PersistentCollective sum = plan_sum(comm, &values);
    while (comm.rank() == 1 && !timed_out) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_TRUE(sum.start());
    if (comm.rank() == 0) {
      EXPECT_FALSE(sum.test());
      EXPECT_EQ(sum.wait(milliseconds(10)).code(), Code::kTimeout);
      EXPECT_EQ(sum.start().code(), Code::kInvalidArgument);
      timed_out = true;
    }
    EXPECT_TRUE(sum.wait());
    EXPECT_EQ(values, filled(10));
    EXPECT_TRUE(comm.status());
  });
}

TEST(Persistent, PremultipliesAndCallsFunctions) {
  RankGroup group(3, "shm");
  group.each([](Communicator& comm) {
    std::vector<float> from(3000), into(3000);
    auto scaled = comm.plan_all_reduce(from.data(), into.data(), from.size(), DataType::kFloat32,
                                       Reduction::pre_mul_sum(0.5));
    const auto larger = [](void* a, const void* b, uint64_t count, void*) {
      auto* x = static_cast<float*>(a);
      const auto* y = static_cast<const float*>(b);
      for (uint64_t i = 0; i < count; ++i) x[i] = std::max(x[i], y[i]);
    };
    auto largest = comm.plan_all_reduce(from.data(), into.data(), from.size(), DataType::kFloat32,
                                        Reduction::user(larger, nullptr));
    ASSERT_TRUE(scaled && largest);
    for (int round = 1; round <= 5; ++round) {
      std::fill(from.begin(), from.end(), static_cast<float>(round * (comm.rank() + 1)));
      ASSERT_TRUE(scaled->start());
      ASSERT_TRUE(scaled->wait());
      ASSERT_EQ(into, std::vector<float>(3000, static_cast<float>(round) * 3));
      ASSERT_TRUE(largest->start());
      ASSERT_TRUE(largest->wait());
      ASSERT_EQ(into, std::vector<float>(3000, static_cast<float>(round) * 3));
    }
  });
}

TEST(Persistent, OutlivesThePlanCache) {
  RankGroup group(2, "loopback");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1, 100), other = filled(0, 300);
    PersistentCollective sum = plan_sum(comm, &values);
    for (uint64_t count = 1; count <= 300; ++count) {
      ASSERT_TRUE(
          comm.all_reduce(other.data(), other.data(), count, DataType::kInt64, ReduceOp::kSum));
    }
    const uint64_t built = comm.counters().plans_built;
    ASSERT_TRUE(sum.start());
    ASSERT_TRUE(sum.wait());
    EXPECT_EQ(values, filled(2, 100));
    EXPECT_EQ(comm.counters().plans_built, built);
  });
}

// --- errors --------------------------------------------------------------------------------------

TEST(Persistent, RefusesBadBuffers) {
  RankGroup group(2, "loopback");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    const auto plan = [&](const void* in, void* out, uint64_t count, DataType type) {
      return comm.plan_all_reduce(in, out, count, type, ReduceOp::kSum).status();
    };
    const Status null = plan(nullptr, values.data(), 4, DataType::kInt64);
    EXPECT_EQ(null.code(), Code::kInvalidArgument);
    EXPECT_NE(null.message().find("input buffer is null"), std::string::npos) << null.message();
    EXPECT_EQ(plan(values.data(), nullptr, 4, DataType::kInt64).code(), Code::kInvalidArgument);
    EXPECT_EQ(plan(values.data(), values.data() + 1, 4, DataType::kInt64).code(),
              Code::kInvalidArgument);
    EXPECT_EQ(plan(values.data(), values.data(), 4, static_cast<DataType>(99)).code(),
              Code::kInvalidArgument);
    EXPECT_EQ(comm.plan_all_gather(nullptr, values.data(), 4, DataType::kInt64).status().code(),
              Code::kInvalidArgument);
    auto nothing = comm.plan_all_reduce(nullptr, nullptr, 0, DataType::kInt64, ReduceOp::kSum);
    ASSERT_TRUE(nothing) << nothing.status().to_string();
    ASSERT_TRUE(nothing->start());
    ASSERT_TRUE(nothing->wait());
    EXPECT_TRUE(comm.status());  // a refusal ends nothing
  });
}

TEST(Persistent, RefusesToStartWhatRuns) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    PersistentCollective sum = plan_sum(comm, &values);
    ASSERT_TRUE(sum.start());
    const Status again = sum.start();
    EXPECT_EQ(again.code(), Code::kInvalidArgument);
    EXPECT_NE(again.message().find("wait()"), std::string::npos) << again.message();
    ASSERT_TRUE(sum.wait());
    EXPECT_EQ(values, filled(2));
    ASSERT_TRUE(sum.start());
    // Done by somebody else's doing, and not seen: refused all the same.
    std::vector<int64_t> other = filled(1);
    ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(other)));
    const Status unseen = sum.start();
    EXPECT_EQ(unseen.code(), Code::kInvalidArgument);
    EXPECT_NE(unseen.message().find("test()"), std::string::npos) << unseen.message();
    EXPECT_TRUE(sum.test());
    ASSERT_TRUE(sum.start());
    ASSERT_TRUE(sum.wait());
    EXPECT_EQ(values, filled(8));
  });
}

TEST(Persistent, AnEmptyOneSaysSo) {
  PersistentCollective none;
  EXPECT_TRUE(none.test());
  EXPECT_TRUE(none.wait());
  EXPECT_TRUE(none.wait(milliseconds(1)));
  EXPECT_EQ(none.start().code(), Code::kInvalidArgument);
  EXPECT_NE(none.start().message().find("empty"), std::string::npos);
}

TEST(Persistent, DestroyingOneThatRunsWaits) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(2);
    if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(50));
    {
      PersistentCollective sum = plan_sum(comm, &values);
      ASSERT_TRUE(sum.start());
    }
    EXPECT_EQ(values, filled(4));
  });
}

TEST(Persistent, MovesWhileItRuns) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> a = filled(1), b = filled(2);
    PersistentCollective first = plan_sum(comm, &a), second = plan_sum(comm, &b);
    ASSERT_TRUE(first.start());
    ASSERT_TRUE(second.start());
    PersistentCollective moved = std::move(first);
    EXPECT_EQ(first.start().code(), Code::kInvalidArgument);  // NOLINT(bugprone-use-after-move)
    second = std::move(moved);                                // waits for b
    EXPECT_EQ(b, filled(4));
    ASSERT_TRUE(second.wait());
    EXPECT_EQ(a, filled(2));
  });
}

TEST(Persistent, OutlivesItsCommunicatorWithoutHarm) {
  RankGroup group(2, "shm");
  std::vector<std::vector<int64_t>> values(2, filled(1));
  std::vector<PersistentCollective> sums(2);
  on_threads(2, [&](Rank r) {
    sums[static_cast<size_t>(r)] = plan_sum(group[r], &values[static_cast<size_t>(r)]);
    ASSERT_TRUE(sums[static_cast<size_t>(r)].start());
    ASSERT_TRUE(sums[static_cast<size_t>(r)].wait());
  });
  group.leave(0);
  group.leave(1);
  for (PersistentCollective& sum : sums) {
    EXPECT_TRUE(sum.test());
    EXPECT_TRUE(sum.wait());  // the last run's result
    const Status late = sum.start();
    EXPECT_EQ(late.code(), Code::kInvalidArgument);
    EXPECT_NE(late.message().find("communicator"), std::string::npos) << late.message();
  }
  EXPECT_EQ(values[0], filled(2));
}

TEST(Persistent, LeavingEndsWhatRuns) {
  RankGroup group(2, "shm");
  std::vector<int64_t> values = filled(1);
  PersistentCollective sum = plan_sum(group[0], &values);
  ASSERT_TRUE(sum.start());
  group.leave(0);  // rank 1 never starts it
  EXPECT_TRUE(sum.test());
  EXPECT_EQ(sum.wait().code(), Code::kAborted) << sum.wait().to_string();
}

TEST(Persistent, AFailedCommunicatorStartsNothing) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    PersistentCollective sum = plan_sum(comm, &values);
    ASSERT_TRUE(sum.start());
    ASSERT_TRUE(sum.wait());
    comm.abort();
    EXPECT_EQ(sum.start().code(), Code::kAborted);
    EXPECT_EQ(
        comm.plan_all_reduce(values.data(), values.data(), 4, DataType::kInt64, ReduceOp::kSum)
            .status()
            .code(),
        Code::kAborted);
  });
}

TEST(Persistent, DifferentCallsAreAMismatchOnBothEnds) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1, comm.rank() == 0 ? 1000 : 999);
    PersistentCollective sum = plan_sum(comm, &values);
    ASSERT_TRUE(sum.start());
    const Status status = sum.wait();
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
  });
}

}  // namespace
}  // namespace gossamer
