// Asynchronous operations: order, waiting, moving; several communicators in one process.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr uint64_t kCount = 1000;

// In-place sum of `values`.
Work start_sum(Communicator& comm, std::vector<int64_t>* values) {
  return comm.start_all_reduce(values->data(), values->data(), values->size(), DataType::kInt64,
                               ReduceOp::kSum);
}

std::vector<int64_t> filled(int64_t value, uint64_t count = kCount) {
  std::vector<int64_t> values(count, value);
  return values;
}

class WorkOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, WorkOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(WorkOver, SeveralInFlightFinishInTheirOrder) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    std::vector<std::vector<int64_t>> data;
    for (int64_t i = 0; i < 8; ++i) data.push_back(filled(i + 1, kCount << i));
    std::vector<Work> works;
    for (auto& values : data) works.push_back(start_sum(comm, &values));
    // Waiting for one means that those before it are done.
    ASSERT_TRUE(works[5].wait());
    for (size_t i = 0; i <= 5; ++i) EXPECT_TRUE(works[i].test());
    ASSERT_TRUE(works[7].wait());
    ASSERT_TRUE(works[6].wait());
    for (size_t i = 0; i < data.size(); ++i) {
      EXPECT_EQ(data[i], filled(3 * (static_cast<int64_t>(i) + 1), data[i].size()));
    }
  });
}

TEST_P(WorkOver, ABlockingCallComesAfterWhatWasStarted) {
  RankGroup group(4, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    for (int round = 0; round < 50; ++round) {
      std::fill(values.begin(), values.end(), 1);
      Work first = start_sum(comm, &values);
      Work second = start_sum(comm, &values);
      ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
      EXPECT_TRUE(first.test() && second.test());
      EXPECT_EQ(values, filled(64));
    }
  });
}

TEST_P(WorkOver, ProgressesWhileNobodyWaits) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(comm.rank(), 100'000);
    Work work = start_sum(comm, &values);
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    while (!work.test() && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_TRUE(work.test());
    EXPECT_EQ(values, filled(1, 100'000));
    EXPECT_TRUE(work.wait());
    EXPECT_TRUE(work.wait());  // as often as one likes
    EXPECT_TRUE(work.wait(milliseconds(0)));
  });
}

TEST_P(WorkOver, GoesOnAfterAWaitThatTimedOut) {
  RankGroup group(2, GetParam());
  std::atomic<bool> timed_out{false};
  group.each([&](Communicator& comm) {
    std::vector<int64_t> values = filled(5);
    while (comm.rank() == 1 && !timed_out) std::this_thread::sleep_for(milliseconds(1));
    Work work = start_sum(comm, &values);
    if (comm.rank() == 0) {
      EXPECT_FALSE(work.test());
      const auto before = steady_clock::now();
      const Status early = work.wait(milliseconds(20));
      EXPECT_EQ(early.code(), Code::kTimeout) << early.to_string();
      EXPECT_GE(steady_clock::now() - before, milliseconds(20));
      EXPECT_EQ(work.wait(milliseconds(0)).code(), Code::kTimeout);
      EXPECT_TRUE(comm.status());
      timed_out = true;
    }
    EXPECT_TRUE(work.wait(std::chrono::seconds(20)));
    EXPECT_EQ(values, filled(10));
    EXPECT_TRUE(comm.status());
  });
}

// The longest time there is must not overflow into one that is over.
TEST(Work, WaitsWithTheLongestTimeLimit) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(50));
    Work work = start_sum(comm, &values);
    EXPECT_TRUE(work.wait(std::chrono::nanoseconds::max()));
    EXPECT_EQ(values, filled(2));
  });
}

TEST(Work, AnEmptyOneIsDone) {
  Work work;
  EXPECT_TRUE(work.test());
  EXPECT_TRUE(work.wait());
  EXPECT_TRUE(work.wait(milliseconds(1)));
  Work other = std::move(work);
  EXPECT_TRUE(other.wait());
}

TEST(Work, DestroyingAnUnfinishedOneWaits) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(2);
    if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(50));
    { const Work work = start_sum(comm, &values); }
    EXPECT_EQ(values, filled(4));
  });
}

TEST(Work, Moves) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    std::vector<int64_t> a = filled(1), b = filled(2), c = filled(3);
    if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(30));
    Work work = start_sum(comm, &a);
    Work moved = std::move(work);
    EXPECT_TRUE(work.test());  // NOLINT(bugprone-use-after-move): an empty one is done
    work = start_sum(comm, &b);
    work = start_sum(comm, &c);  // waits for b
    EXPECT_EQ(b, filled(4));
    EXPECT_TRUE(moved.test());
    moved = std::move(work);
    EXPECT_TRUE(moved.wait());
    EXPECT_EQ(a, filled(2));
    EXPECT_EQ(c, filled(6));
  });
}

TEST(Work, OfAnInvalidCallIsDoneAndSaysWhy) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    Work work = comm.start_all_reduce(nullptr, nullptr, 4, DataType::kInt64, ReduceOp::kSum);
    EXPECT_TRUE(work.test());
    EXPECT_EQ(work.wait().code(), Code::kInvalidArgument);
    std::vector<int64_t> values = filled(1);
    work = comm.start_all_gather(values.data(), values.data() + 1, 10, DataType::kInt64);
    EXPECT_EQ(work.wait(milliseconds(1)).code(), Code::kInvalidArgument);
    EXPECT_TRUE(comm.status());  // a refused call ends nothing
    EXPECT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
    EXPECT_EQ(values, filled(2));
  });
}

TEST_P(WorkOver, MayBeWaitedForFromSeveralThreads) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    for (int round = 0; round < 20; ++round) {
      std::array<std::vector<int64_t>, 4> data;
      std::vector<Work> works;
      for (size_t i = 0; i < data.size(); ++i) {
        data[i] = filled(static_cast<int64_t>(i), 5000);
        works.push_back(start_sum(comm, &data[i]));
      }
      on_threads(4, [&](Rank i) {
        const auto at = static_cast<size_t>(i);
        EXPECT_TRUE(i % 2 == 0 ? works[at].wait() : works[at].wait(std::chrono::seconds(20)));
        EXPECT_EQ(data[at], filled(2 * i, 5000));
      });
    }
  });
}

// Calls from several threads of a rank: any order, as long as all ranks have the same. Here they
// are all alike.
TEST_P(WorkOver, CallsMayComeFromSeveralThreadsOfARank) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    on_threads(4, [&](Rank i) {
      for (int round = 0; round < 50; ++round) {
        std::vector<int64_t> values = filled(1, 300);
        if (i % 2 == 0) {
          EXPECT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
        } else {
          EXPECT_TRUE(start_sum(comm, &values).wait());
        }
        EXPECT_EQ(values, filled(2, 300));
      }
    });
    EXPECT_EQ(comm.counters().operations, 200U);
  });
}

TEST(Communicators, TakeTurnsInOneProcess) {
  RankGroup a(2, "loopback"), b(2, "shm"), c(2, "tcp");
  on_threads(2, [&](Rank r) {
    std::vector<int64_t> values = filled(1);
    for (int round = 0; round < 20; ++round) {
      std::fill(values.begin(), values.end(), 1);
      EXPECT_TRUE(a[r].all_reduce(std::span<int64_t>(values)));
      EXPECT_TRUE(b[r].all_reduce(std::span<int64_t>(values)));
      EXPECT_TRUE(c[r].all_reduce(std::span<int64_t>(values)));
      EXPECT_EQ(values, filled(8));
    }
  });
}

TEST(Communicators, WorkAtTheSameTimeInOneProcess) {
  std::vector<std::unique_ptr<RankGroup>> groups;
  for (const char* transport : {"loopback", "shm", "tcp", "shm", "loopback"}) {
    groups.push_back(std::make_unique<RankGroup>(3, transport));
  }
  on_threads(15, [&](Rank thread) {
    Communicator& comm = (*groups[static_cast<size_t>(thread) / 3])[thread % 3];
    for (int round = 0; round < 50; ++round) {
      std::vector<int64_t> values = filled(thread / 3, 2000);
      if (round % 2 == 0) {
        EXPECT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
      } else {
        EXPECT_TRUE(start_sum(comm, &values).wait());
      }
      EXPECT_EQ(values, filled(3 * (thread / 3), 2000));
    }
  });
}

// A rank starts operations on two communicators in one order, the other rank in the opposite one.
TEST(Communicators, AreIndependentOfEachOther) {
  RankGroup a(2, "shm"), b(2, "shm");
  on_threads(2, [&](Rank r) {
    for (int round = 0; round < 20; ++round) {
      std::vector<int64_t> x = filled(1, 50'000), y = filled(2, 50'000);
      Work first = r == 0 ? start_sum(a[r], &x) : start_sum(b[r], &y);
      Work second = r == 0 ? start_sum(b[r], &y) : start_sum(a[r], &x);
      EXPECT_TRUE(first.wait());
      EXPECT_TRUE(second.wait());
      EXPECT_EQ(x, filled(2, 50'000));
      EXPECT_EQ(y, filled(4, 50'000));
    }
  });
}

TEST(Communicators, LeavingAbortsWhatIsUnfinished) {
  RankGroup group(2, "loopback");
  std::vector<int64_t> values = filled(1);
  std::optional<Work> work = start_sum(group[0], &values);
  const auto before = steady_clock::now();
  group.leave(0);  // rank 1 never calls
  EXPECT_LT(steady_clock::now() - before, std::chrono::seconds(5));
  EXPECT_TRUE(work->test());
  EXPECT_EQ(work->wait().code(), Code::kAborted) << work->wait().to_string();
  std::vector<int64_t> other = filled(1);
  const Status late = group[1].all_reduce(std::span<int64_t>(other));
  EXPECT_TRUE(late.code() == Code::kAborted || late.code() == Code::kPeerLost) << late.to_string();
  EXPECT_EQ(late.rank(), 0);
}

}  // namespace
}  // namespace gossamer
