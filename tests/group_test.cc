// Groups: order, several communicators and ranks in one thread, errors, prices.
//
// ctest: TIMEOUT 900

#include "gossamer/group.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <numeric>
#include <string>
#include <vector>

#include "tests/process_ranks.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

std::vector<int64_t> numbers(uint64_t count, int64_t first) {
  std::vector<int64_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

class GroupOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, GroupOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Group, NestsAndMayBeEmpty) {
  EXPECT_EQ(group_depth(), 0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(group_start());
  EXPECT_EQ(group_depth(), 3);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(group_end());
  const Status status = group_end();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("group_start()"), std::string::npos);
  EXPECT_EQ(group_simulate_end().status().code(), Code::kInvalidArgument);
  EXPECT_EQ(group_depth(), 0);
}

// Every rank sends to all and receives from all, itself included, in an order that would deadlock
// one message after another.
TEST_P(GroupOver, AllToAllOfMessagesOfAllLengths) {
  for (const Rank size : {1, 2, 5}) {
    RankGroup group(size, GetParam());
    group.each([&](Communicator& comm) {
      for (const uint64_t count : {0, 1, 777, 60'000}) {
        std::vector<std::vector<int64_t>> out, in;
        ASSERT_TRUE(group_start());
        for (Rank r = 0; r < size; ++r) {
          out.push_back(numbers(count + static_cast<uint64_t>(r), comm.rank() * 1000 + r));
          in.emplace_back(count + static_cast<uint64_t>(comm.rank()));
        }
        for (size_t r = 0; r < out.size(); ++r) {
          const auto rank = static_cast<Rank>(r);
          ASSERT_TRUE(comm.send(out[r].data(), out[r].size(), DataType::kInt64, rank));
          ASSERT_TRUE(comm.recv(in[r].data(), in[r].size(), DataType::kInt64, rank));
        }
        ASSERT_TRUE(group_end());
        for (Rank r = 0; r < size; ++r) {
          EXPECT_EQ(in[static_cast<size_t>(r)],
                    numbers(count + static_cast<uint64_t>(comm.rank()), r * 1000 + comm.rank()));
        }
      }
    });
  }
}

TEST_P(GroupOver, NothingStartsBeforeTheOutermostEnd) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = numbers(100, 1);
    ASSERT_TRUE(group_start());
    ASSERT_TRUE(group_start());
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    ASSERT_TRUE(group_end());
    std::this_thread::sleep_for(milliseconds(10));
    EXPECT_EQ(values, numbers(100, 1));
    EXPECT_EQ(comm.counters().operations, 0U);
    ASSERT_TRUE(group_end());
    EXPECT_EQ(values[0], 2);
    EXPECT_EQ(values[99], 200);
  });
}

TEST_P(GroupOver, CollectivesGoInTheirOrderAndMessagesAfterThem) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    const Rank next = (comm.rank() + 1) % 3;
    const Rank prev = (comm.rank() + 2) % 3;
    for (int round = 0; round < 20; ++round) {
      std::vector<int64_t> values(1000, 1), arrived(1000), gathered(3000);
      ASSERT_TRUE(group_start());
      // Called first, and carried out last: what is sent is the sum of sums.
      ASSERT_TRUE(comm.send(values.data(), 1000, DataType::kInt64, next));
      ASSERT_TRUE(comm.all_reduce(std::span(values)));
      ASSERT_TRUE(comm.all_reduce(std::span(values)));
      ASSERT_TRUE(comm.recv(arrived.data(), 1000, DataType::kInt64, prev));
      ASSERT_TRUE(comm.all_gather(values.data(), gathered.data(), 1000, DataType::kInt64));
      ASSERT_TRUE(group_end());
      EXPECT_EQ(arrived, std::vector<int64_t>(1000, 9));
      EXPECT_EQ(gathered, std::vector<int64_t>(3000, 9));
    }
  });
}

// Broadcasts of different lengths, each from another root, as all-gathers of uneven shares are
// made.
TEST_P(GroupOver, BroadcastsFromAllRoots) {
  RankGroup group(4, GetParam());
  group.each([](Communicator& comm) {
    std::vector<std::vector<int64_t>> parts;
    for (Rank r = 0; r < 4; ++r) {
      parts.push_back(numbers(static_cast<uint64_t>(1 + r * 5000), r == comm.rank() ? r : -77));
    }
    ASSERT_TRUE(group_start());
    for (Rank r = 0; r < 4; ++r) {
      auto& part = parts[static_cast<size_t>(r)];
      ASSERT_TRUE(comm.broadcast(part.data(), part.data(), part.size(), DataType::kInt64, r));
    }
    ASSERT_TRUE(group_end());
    for (Rank r = 0; r < 4; ++r) {
      EXPECT_EQ(parts[static_cast<size_t>(r)], numbers(static_cast<uint64_t>(1 + r * 5000), r));
    }
  });
}

// One thread makes the calls of all ranks, as after Communicator::create_all().
TEST_P(GroupOver, AllRanksOfAGroupInOneThread) {
  constexpr Rank kSize = 4;
  RankGroup group(kSize, GetParam());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<int64_t>> values, arrived(kSize, std::vector<int64_t>(300));
    ASSERT_TRUE(group_start());
    for (Rank r = 0; r < kSize; ++r) {
      values.push_back(numbers(round % 2 == 0 ? 300 : 90'000, r));
      ASSERT_TRUE(group[r].all_reduce(std::span(values.back())));
    }
    for (Rank r = 0; r < kSize; ++r) {
      const auto at = static_cast<size_t>(r);
      ASSERT_TRUE(group[r].recv(arrived[at].data(), 300, DataType::kInt64, (r + 1) % kSize));
      ASSERT_TRUE(group[r].send(values[at].data(), 300, DataType::kInt64, (r + 3) % kSize));
    }
    ASSERT_TRUE(group_end());
    for (size_t r = 0; r < values.size(); ++r) {
      for (uint64_t i = 0; i < values[r].size(); ++i) {
        ASSERT_EQ(values[r][i], static_cast<int64_t>(4 * i + 6));
      }
      EXPECT_EQ(arrived[r], std::vector<int64_t>(values[r].begin(), values[r].begin() + 300));
    }
  }
}

// Two communicators whose ranks come to them in opposite orders: only together can they finish.
TEST_P(GroupOver, SeveralCommunicatorsGoOnTogether) {
  RankGroup a(2, GetParam()), b(2, "shm"), c(2, "tcp");
  on_threads(2, [&](Rank r) {
    for (int round = 0; round < 20; ++round) {
      std::vector<int64_t> x(50'000, 1), y(50'000, 2), z(10, 3), w(10);
      ASSERT_TRUE(group_start());
      const std::array<RankGroup*, 2> order = {r == 0 ? &a : &b, r == 0 ? &b : &a};
      for (RankGroup* comms : order) {
        ASSERT_TRUE((*comms)[r].all_reduce(std::span(comms == &a ? x : y)));
      }
      ASSERT_TRUE(c[r].send(z.data(), 10, DataType::kInt64, 1 - r));
      ASSERT_TRUE(c[r].recv(w.data(), 10, DataType::kInt64, 1 - r));
      ASSERT_TRUE(group_end());
      EXPECT_EQ(x, std::vector<int64_t>(50'000, 2));
      EXPECT_EQ(y, std::vector<int64_t>(50'000, 4));
      EXPECT_EQ(w, z);
    }
  });
}

// Ranks come late, so the thread that drives both communicators sleeps and must be woken.
TEST_P(GroupOver, SleepsUntilTheOtherRanksCome) {
  RankGroup a(2, GetParam()), b(2, GetParam());
  on_threads(2, [&](Rank r) {
    for (int round = 0; round < 3; ++round) {
      if (r == 1) std::this_thread::sleep_for(milliseconds(150));
      std::vector<int64_t> x(100, 1), y(100, 2);
      ASSERT_TRUE(group_start());
      ASSERT_TRUE(a[r].all_reduce(std::span(x)));
      ASSERT_TRUE(b[r].all_reduce(std::span(y)));
      ASSERT_TRUE(group_end());
      EXPECT_EQ(x[0] + y[0], 6);
    }
  });
}

TEST_P(GroupOver, ABadCallIsToldTwiceAndDropsTheGroup) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = numbers(10, 1);
    ASSERT_TRUE(group_start());
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    const Status bad = comm.send(values.data(), 10, DataType::kInt64, 7);
    EXPECT_EQ(bad.code(), Code::kInvalidArgument);
    EXPECT_FALSE(comm.all_reduce(nullptr, nullptr, 5, DataType::kInt64, ReduceOp::kSum));
    const Status end = group_end();
    EXPECT_EQ(end.message(), bad.message());
    EXPECT_EQ(values, numbers(10, 1));
    // The next group is a new one.
    ASSERT_TRUE(group_start());
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    ASSERT_TRUE(group_end());
    EXPECT_EQ(values[0], 2);
    ASSERT_TRUE(group_start());
    EXPECT_EQ(comm.recv_any(values.data(), 10, DataType::kInt64).status().code(),
              Code::kInvalidArgument);
    EXPECT_EQ(group_end().code(), Code::kInvalidArgument);
  });
}

TEST_P(GroupOver, TheFailureOfACallIsTheGroups) {
  RankGroup group(2, GetParam(), "", milliseconds(2'000));  // also to join
  RankGroup other(2, "shm");
  std::atomic<int> left{2};
  on_threads(2, [&](Rank r) {
    std::vector<int64_t> values(100, 1), fine(100, 1);
    ASSERT_TRUE(group_start());
    if (r == 0) {
      ASSERT_TRUE(group[r].recv(values.data(), 100, DataType::kInt64, 1));
    }
    ASSERT_TRUE(other[r].all_reduce(std::span(fine)));
    const Status status = group_end();
    EXPECT_EQ(status.code(), r == 0 ? Code::kTimeout : Code::kOk) << status.to_string();
    EXPECT_EQ(fine[0], 2);
    EXPECT_TRUE(other[r].status());
    --left;
    while (left > 0) std::this_thread::sleep_for(milliseconds(1));
  });
}

TEST_P(GroupOver, AbortEndsAGroupOfSeveralCommunicators) {
  RankGroup a(2, GetParam()), b(2, GetParam());
  std::vector<int64_t> x(100, 1), y(100, 1);
  ASSERT_TRUE(group_start());
  ASSERT_TRUE(a[0].all_reduce(std::span(x)));
  ASSERT_TRUE(b[0].recv(y.data(), 100, DataType::kInt64, 1));
  const int64_t start = now_us();
  std::thread aborts([&] {
    std::this_thread::sleep_for(milliseconds(60));
    a[0].abort();
    b[0].abort();
  });
  EXPECT_EQ(group_end().code(), Code::kAborted);
  EXPECT_LT(now_us() - start, 5'000'000);
  aborts.join();
}

TEST_P(GroupOver, AUserReductionMayGoBeforeTheEnd) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values(100, comm.rank() + 3);
    ASSERT_TRUE(group_start());
    {
      const Reduction product =
          Reduction::user([](void* into, const void* from, uint64_t count, void*) {
            for (uint64_t i = 0; i < count; ++i) {
              static_cast<int64_t*>(into)[i] *= static_cast<const int64_t*>(from)[i];
            }
          });
      ASSERT_TRUE(comm.all_reduce(std::span(values), product));
    }
    ASSERT_TRUE(group_end());
    EXPECT_EQ(values, std::vector<int64_t>(100, 12));
  });
}

TEST_P(GroupOver, WaitsForWhatWasStartedBefore) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values(5000, 1), arrived(5000);
    Work work =
        comm.start_all_reduce(values.data(), values.data(), 5000, DataType::kInt64, ReduceOp::kSum);
    ASSERT_TRUE(group_start());
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    ASSERT_TRUE(comm.send(values.data(), 5000, DataType::kInt64, 1 - comm.rank()));
    ASSERT_TRUE(comm.recv(arrived.data(), 5000, DataType::kInt64, 1 - comm.rank()));
    ASSERT_TRUE(group_end());
    EXPECT_TRUE(work.test());
    EXPECT_EQ(arrived, std::vector<int64_t>(5000, 4));
  });
}

TEST(Group, SimulateEndPricesAndRunsNothing) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    double before = 0;
    for (const uint64_t count : {100, 1'000'000}) {
      std::vector<int64_t> values(count, 1), other(count);
      ASSERT_TRUE(group_start());
      ASSERT_TRUE(comm.all_reduce(std::span(values)));
      Result<GroupEstimate> collective = group_simulate_end();
      ASSERT_TRUE(collective);
      ASSERT_TRUE(group_start());
      ASSERT_TRUE(comm.send(values.data(), count, DataType::kInt64, 1 - comm.rank()));
      ASSERT_TRUE(comm.recv(other.data(), count, DataType::kInt64, 1 - comm.rank()));
      Result<GroupEstimate> messages = group_simulate_end();
      ASSERT_TRUE(messages);
      ASSERT_TRUE(group_start());
      ASSERT_TRUE(comm.all_reduce(std::span(values)));
      ASSERT_TRUE(comm.send(values.data(), count, DataType::kInt64, 1 - comm.rank()));
      ASSERT_TRUE(comm.recv(other.data(), count, DataType::kInt64, 1 - comm.rank()));
      Result<GroupEstimate> both = group_simulate_end();
      ASSERT_TRUE(both);
      EXPECT_GT(collective->us, 0);
      EXPECT_GT(messages->us, 0);
      EXPECT_NEAR(both->us, collective->us + messages->us, 1e-6 * both->us);
      EXPECT_GT(both->us, before);
      before = both->us;
      EXPECT_EQ(values, std::vector<int64_t>(count, 1));
    }
    EXPECT_EQ(comm.counters().operations, 0U);
  });
}

}  // namespace
}  // namespace gossamer
