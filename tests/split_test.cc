// Communicators made from communicators: split, shrink, revoke, and all ranks in one process.
//
// ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <numeric>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/group.h"
#include "tests/process_ranks.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Made = Result<std::unique_ptr<Communicator>>;

// Whether the communicator works: the sum of its ranks, and a message around.
void check_works(Communicator& comm) {
  std::vector<int64_t> values(1000, comm.rank() + 1);
  const Status summed = comm.all_reduce(std::span(values));
  ASSERT_TRUE(summed) << summed.to_string();
  EXPECT_EQ(values[999], int64_t{comm.size()} * (comm.size() + 1) / 2);
  int64_t mine = comm.rank();
  int64_t theirs = -1;
  ASSERT_TRUE(group_start());
  ASSERT_TRUE(comm.send(&mine, 1, DataType::kInt64, (comm.rank() + 1) % comm.size()));
  ASSERT_TRUE(
      comm.recv(&theirs, 1, DataType::kInt64, (comm.rank() + comm.size() - 1) % comm.size()));
  const Status passed = group_end();
  ASSERT_TRUE(passed) << passed.to_string();
  EXPECT_EQ(theirs, (comm.rank() + comm.size() - 1) % comm.size());
}

class SplitOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, SplitOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(SplitOver, PartsByColorAndOrdersByKey) {
  RankGroup group(6, GetParam());
  group.each([](Communicator& comm) {
    const Rank me = comm.rank();
    // Odd ranks upside down; even ranks by their ranks, as their keys are alike.
    Made half = comm.split(me % 2, me % 2 == 1 ? -me : 5);
    ASSERT_TRUE(half) << half.status().to_string();
    ASSERT_NE(*half, nullptr);
    EXPECT_EQ((*half)->size(), 3);
    EXPECT_EQ((*half)->rank(), me % 2 == 1 ? (5 - me) / 2 : me / 2);
    check_works(**half);
    check_works(comm);
    // A split of a split; both parents go on.
    Made alone = (*half)->split((*half)->rank(), 0);
    ASSERT_TRUE(alone) << alone.status().to_string();
    EXPECT_EQ((*alone)->size(), 1);
    check_works(**alone);
    check_works(**half);
    Made again = comm.split(0, -me, {.name = "backwards"});
    ASSERT_TRUE(again) << again.status().to_string();
    EXPECT_EQ((*again)->rank(), 5 - me);
    EXPECT_EQ((*again)->name(), "backwards");
    check_works(**again);
    check_works(comm);
  });
}

TEST_P(SplitOver, NoColorMeansNoGroup) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    Made made = comm.split(comm.rank() == 1 ? Communicator::kNoColor : 7, 0);
    ASSERT_TRUE(made) << made.status().to_string();
    if (comm.rank() == 1) {
      EXPECT_EQ(*made, nullptr);
    } else {
      EXPECT_EQ((*made)->size(), 2);
      check_works(**made);
    }
    Made none = comm.split(Communicator::kNoColor, 0);
    ASSERT_TRUE(none);
    EXPECT_EQ(*none, nullptr);
    check_works(comm);
  });
}

TEST_P(SplitOver, ChildrenOutliveTheirParent) {
  RankGroup group(4, GetParam());
  on_threads(4, [&](Rank r) {
    Made made = group[r].split(r / 2, r);
    ASSERT_TRUE(made) << made.status().to_string();
    group.leave(r);
    check_works(**made);
  });
}

TEST_P(SplitOver, AnAbortFromAnotherThreadEndsIt) {
  RankGroup group(2, GetParam());
  std::latch done(2);
  group.each([&](Communicator& comm) {
    if (comm.rank() == 0) {
      std::thread aborts([&] {
        std::this_thread::sleep_for(milliseconds(30));
        comm.abort();
      });
      const int64_t start = now_us();
      const Made made = comm.split(0, 0);
      EXPECT_EQ(made.status().code(), Code::kAborted) << made.status().to_string();
      EXPECT_LT(now_us() - start, 5'000'000);
      aborts.join();
    }
    done.arrive_and_wait();
  });
}

TEST_P(SplitOver, ACancelledOneEnds) {
  RankGroup group(2, GetParam());
  std::latch done(2);
  group.each([&](Communicator& comm) {
    if (comm.rank() == 0) {
      std::atomic<bool> cancelled{false};
      std::thread cancels([&] {
        std::this_thread::sleep_for(milliseconds(30));
        cancelled = true;
      });
      const int64_t start = now_us();
      const Made made = comm.split(0, 0, {.cancelled = &cancelled});
      EXPECT_EQ(made.status().code(), Code::kAborted) << made.status().to_string();
      EXPECT_LT(now_us() - start, 5'000'000);
      cancels.join();
    }
    done.arrive_and_wait();
  });
}

TEST_P(SplitOver, ARankThatDoesNotComeIsNamed) {
  RankGroup group(3, GetParam(), "", milliseconds(2'000));  // also to join
  std::latch done(3);
  group.each([&](Communicator& comm) {
    if (comm.rank() != 2) {
      const Made made = comm.split(0, 0);
      EXPECT_EQ(made.status().code(), Code::kTimeout) << made.status().to_string();
    }
    done.arrive_and_wait();
  });
}

TEST_P(SplitOver, ShrinksAroundARankThatHasGone) {
  RankGroup group(4, GetParam());
  std::latch left(4);
  on_threads(4, [&](Rank r) {
    check_works(group[r]);
    left.arrive_and_wait();
    if (r == 1) {
      group.leave(r);
      return;
    }
    std::vector<int64_t> values(1000, 1);
    Status status;
    while (status) status = group[r].all_reduce(std::span(values));
    EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
    const std::vector<Rank> excluded = {1};
    Made made = group[r].shrink(excluded, {.abort = true});
    ASSERT_TRUE(made) << made.status().to_string();
    EXPECT_EQ((*made)->size(), 3);
    EXPECT_EQ((*made)->rank(), r == 0 ? 0 : r - 1);
    group.leave(r);
    check_works(**made);
  });
}

// Also of a group that works, whose excluded ranks know nothing of it; in any order; again and
// again.
TEST_P(SplitOver, ShrinksAWorkingGroup) {
  RankGroup group(5, GetParam());
  on_threads(5, [&](Rank r) {
    if (r == 0 || r == 3) return;
    const std::vector<Rank> excluded = {3, 0};
    Made made = group[r].shrink(excluded);
    ASSERT_TRUE(made) << made.status().to_string();
    EXPECT_EQ((*made)->size(), 3);
    check_works(**made);
    const std::vector<Rank> first = {0};
    if ((*made)->rank() == 0) return;
    Made two = (*made)->shrink(first, {.name = "two"});
    ASSERT_TRUE(two) << two.status().to_string();
    EXPECT_EQ((*two)->name(), "two");
    check_works(**two);
    const std::vector<Rank> other = {1 - (*two)->rank()};
    if (other[0] == 0) return;
    Made alone = (*two)->shrink(other);
    ASSERT_TRUE(alone) << alone.status().to_string();
    EXPECT_EQ((*alone)->size(), 1);
    check_works(**alone);
  });
}

TEST(Shrink, BadArgumentsSayWhatIsWrong) {
  RankGroup group(3);
  const auto expect = [&](const std::vector<Rank>& excluded, const std::string& part) {
    const Made made = group[0].shrink(excluded);
    EXPECT_EQ(made.status().code(), Code::kInvalidArgument) << made.status().to_string();
    EXPECT_NE(made.status().message().find(part), std::string::npos) << made.status().message();
  };
  expect({}, "no rank");
  expect({0}, "this one");
  expect({3}, "ranks 0 to 2");
  expect({-1}, "ranks 0 to 2");
  expect({1, 1}, "twice");
  EXPECT_TRUE(group[0].status());
}

TEST(Shrink, RanksThatExcludeDifferentOnesHearOfIt) {
  RankGroup group(3, "shm", "", milliseconds(3'000));
  std::latch done(3);
  on_threads(3, [&](Rank r) {
    // Rank 0 and 1 each go on with rank 2, who has its own idea.
    const std::vector<Rank> excluded = {r == 0 ? 1 : 0};
    if (r > 0) {
      const Made made = group[r].shrink(r == 1 ? std::vector<Rank>{0} : std::vector<Rank>{1});
      EXPECT_FALSE(made.is_ok());
      EXPECT_TRUE(made.status().code() == Code::kTimeout || made.status().code() == Code::kMismatch)
          << made.status().to_string();
    }
    done.arrive_and_wait();
  });
}

// The lowest rank that goes on has gone too: who meets there is told, and tries again without it.
TEST(Shrink, SaysThatTheMeetingPlaceHasGone) {
  RankGroup group(4, "shm", "", milliseconds(20'000));
  std::latch left(4);
  on_threads(4, [&](Rank r) {
    check_works(group[r]);
    left.arrive_and_wait();
    if (r < 2) {
      group.leave(r);
      return;
    }
    const std::vector<Rank> too_few = {0};
    const int64_t start = now_us();
    const Made failed = group[r].shrink(too_few, {.abort = true});
    EXPECT_EQ(failed.status().code(), Code::kPeerLost) << failed.status().to_string();
    EXPECT_EQ(failed.status().rank(), 1) << failed.status().to_string();
    EXPECT_LT(now_us() - start, 10'000'000);
    const std::vector<Rank> both = {0, 1};
    Made made = group[r].shrink(both);
    ASSERT_TRUE(made) << made.status().to_string();
    check_works(**made);
  });
}

TEST_P(SplitOver, RevokeEndsWhatIsInFlightAndRefusesMore) {
  RankGroup group(3, GetParam());
  std::latch revoked(3);
  std::latch summed(3);  // nobody is in the call before, which a revocation would end too
  group.each([&](Communicator& comm) {
    check_works(comm);
    summed.arrive_and_wait();
    std::vector<int64_t> values(100, 1);
    EXPECT_FALSE(comm.revoked());
    if (comm.rank() == 0) {
      std::this_thread::sleep_for(milliseconds(30));
      comm.revoke();
      comm.revoke();
    } else {
      const Status status = comm.recv(values.data(), 100, DataType::kInt64, 0);
      EXPECT_EQ(status.code(), Code::kAborted) << status.to_string();
      EXPECT_NE(status.message().find("rank 0 called revoke()"), std::string::npos)
          << status.message();
      comm.revoke();
    }
    EXPECT_TRUE(comm.revoked());
    EXPECT_EQ(comm.all_reduce(std::span(values)).code(), Code::kInvalidArgument);
    EXPECT_EQ(comm.send(values.data(), 1, DataType::kInt64, 0).code(), Code::kInvalidArgument);
    EXPECT_NE(comm.all_reduce(std::span(values)).message().find("revoked"), std::string::npos);
    revoked.arrive_and_wait();
    Made made = comm.split(comm.rank() % 2, 0);
    ASSERT_TRUE(made) << made.status().to_string();
    EXPECT_EQ((*made)->size(), comm.rank() % 2 == 0 ? 2 : 1);
    check_works(**made);
    Made some = comm.split(comm.rank() == 0 ? Communicator::kNoColor : 3, -comm.rank());
    ASSERT_TRUE(some) << some.status().to_string();
    if (comm.rank() > 0) {
      EXPECT_EQ((*some)->rank(), 2 - comm.rank());
      check_works(**some);
      const std::vector<Rank> excluded = {0};
      Made shrunk = comm.shrink(excluded);
      ASSERT_TRUE(shrunk) << shrunk.status().to_string();
      check_works(**shrunk);
    }
  });
}

TEST_P(SplitOver, AllRanksInOneProcess) {
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  for (const Rank size : {1, 4}) {
    Communicator::Options options;
    options.transport = GetParam();
    options.name = "all";
    auto all = Communicator::create_all(size, options);
    ASSERT_TRUE(all) << all.status().to_string();
    ASSERT_EQ(static_cast<Rank>(all->size()), size);
    std::vector<std::vector<int64_t>> values(static_cast<size_t>(size),
                                             std::vector<int64_t>(500, 1));
    ASSERT_TRUE(group_start());
    for (Rank r = 0; r < size; ++r) {
      Communicator& comm = *(*all)[static_cast<size_t>(r)];
      EXPECT_EQ(comm.rank(), r);
      EXPECT_EQ(comm.name(), "all");
      ASSERT_TRUE(comm.all_reduce(std::span(values[static_cast<size_t>(r)])));
    }
    ASSERT_TRUE(group_end());
    for (const auto& mine : values) EXPECT_EQ(mine, std::vector<int64_t>(500, size));
    on_threads(size, [&](Rank r) { check_works(*(*all)[static_cast<size_t>(r)]); });
  }
}

TEST(CreateAll, BadOptionsAndCancelling) {
  EXPECT_EQ(Communicator::create_all(0).status().code(), Code::kInvalidArgument);
  Communicator::Options options;
  options.transport = "pigeon";
  EXPECT_EQ(Communicator::create_all(3, options).status().code(), Code::kInvalidArgument);
  const std::atomic<bool> cancelled{true};
  options.transport = "shm";
  options.cancelled = &cancelled;
  EXPECT_EQ(Communicator::create_all(3, options).status().code(), Code::kAborted);
}

}  // namespace
}  // namespace gossamer
