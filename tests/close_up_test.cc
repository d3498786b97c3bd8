// Survivors that know of different losses close up to one group.
//
// ctest: TIMEOUT 600

#include <gtest/gtest.h>

#include <latch>
#include <random>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/process_ranks.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Ranks = std::vector<Rank>;
using ClosedUp = Result<Communicator::ClosedUp>;

constexpr milliseconds kLimit{120'000};

// Ranks of `members`, numbered anew, sum their old ranks.
void expect_works(const ClosedUp& closed, const Ranks& lost, Rank size) {
  ASSERT_TRUE(closed) << closed.status().to_string();
  EXPECT_EQ(closed->lost, lost);
  Communicator& comm = *closed->comm;
  EXPECT_EQ(comm.size(), size - static_cast<Rank>(lost.size()));
  std::vector<int64_t> values(1000, comm.rank() + 1);
  const Status summed = comm.all_reduce(std::span(values));
  ASSERT_TRUE(summed) << summed.to_string();
  EXPECT_EQ(values[999], int64_t{comm.size()} * (comm.size() + 1) / 2);
}

class CloseUpOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CloseUpOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CloseUpOver, EachKnowsOfAnotherLoss) {
  constexpr Rank kRanks = 6;
  RankGroup group(kRanks, GetParam());
  group.leave(1);
  group.leave(4);
  // Rank 0, where all meet, knows of one; 2 of the other; 3 of both; 5 of one.
  const std::vector<Ranks> known = {{4}, {}, {1}, {4, 1}, {}, {4}};
  on_threads(kRanks, [&](Rank r) {
    if (r == 1 || r == 4) return;
    expect_works(group[r].close_up(known[static_cast<size_t>(r)]), {1, 4}, kRanks);
  });
}

TEST_P(CloseUpOver, NobodyKnowsThatTheLowestAreGone) {
  constexpr Rank kRanks = 6;
  RankGroup group(kRanks, GetParam());
  for (const Rank gone : {0, 1, 5}) group.leave(gone);
  on_threads(kRanks, [&](Rank r) {
    if (r < 2 || r == 5) return;
    expect_works(group[r].close_up(Ranks{5}), {0, 1, 5}, kRanks);
  });
}

TEST(CloseUp, WhoDoesNotComeIsLeftOut) {
  constexpr Rank kRanks = 5;
  RankGroup group(kRanks, "shm", "", milliseconds(8'000));
  group.leave(3);
  on_threads(kRanks, [&](Rank r) {
    if (r >= 3) return;  // rank 4 lives and does not call
    expect_works(group[r].close_up(Ranks{3}), {3, 4}, kRanks);
  });
}

TEST(CloseUp, WhoIsSuspectedAndLivesIsNotLeftOut) {
  constexpr Rank kRanks = 4;
  RankGroup group(kRanks);
  group.leave(3);
  const std::vector<Ranks> suspected = {{2}, {0, 3}, {1}, {}};
  on_threads(kRanks, [&](Rank r) {
    if (r < 3) expect_works(group[r].close_up(suspected[static_cast<size_t>(r)]), {3}, kRanks);
  });
}

TEST(CloseUp, AllThatLiveMayCloseUp) {
  RankGroup group(3);
  group.each([](Communicator& comm) { expect_works(comm.close_up(Ranks{}), {}, 3); });
}

TEST(CloseUp, WhoIsLeftOutInAnyCaseHearsOfIt) {
  constexpr Rank kRanks = 4;
  RankGroup group(kRanks);
  std::latch told(1);
  on_threads(kRanks, [&](Rank r) {
    if (r == 2) {
      const ClosedUp closed = group[2].close_up(Ranks{}, {.lost_before = {3}});
      EXPECT_EQ(closed.status().code(), Code::kPeerLost) << closed.status().to_string();
      EXPECT_EQ(closed.status().rank(), 2) << closed.status().to_string();
      told.count_down();
    } else if (r < 2) {
      if (r == 1) told.wait();  // the meeting goes on until then
      expect_works(group[r].close_up(Ranks{}, {.lost_before = {2}}), {2, 3}, kRanks);
    }
  });
}

TEST(CloseUp, TheLastOneIsAlone) {
  RankGroup group(2);
  group.leave(0);
  expect_works(group[1].close_up(Ranks{0}), {0}, 2);
}

TEST(CloseUp, BadArgumentsSayWhatIsWrong) {
  RankGroup group(3);
  const auto expect = [&](const Ranks& lost, const std::string& part) {
    const ClosedUp closed = group[0].close_up(lost);
    EXPECT_EQ(closed.status().code(), Code::kInvalidArgument) << closed.status().to_string();
    EXPECT_NE(closed.status().message().find(part), std::string::npos) << closed.status().message();
  };
  expect({0}, "this one");
  expect({3}, "ranks 0 to 2");
  expect({1, 1}, "twice");
  EXPECT_EQ(group[0].close_up(Ranks{}, {.lost_before = {0}}).status().code(),
            Code::kInvalidArgument);
}

TEST(CloseUp, CanBeCancelled) {
  RankGroup group(3);
  group.leave(2);
  std::atomic<bool> cancelled{false};
  std::thread canceller([&] {
    std::this_thread::sleep_for(milliseconds(50));
    cancelled = true;
  });
  const ClosedUp closed = group[1].close_up(Ranks{2}, {.cancelled = &cancelled});  // 0 never comes
  EXPECT_EQ(closed.status().code(), Code::kAborted) << closed.status().to_string();
  canceller.join();
}

class CloseUpProcesses : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CloseUpProcesses, testing::Values("shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

// Ranks die one after another at random moments, also while the others close up. Those that are
// left meet at the first group's doors with all that they know of, until a sum of theirs works.
TEST_P(CloseUpProcesses, RanksDieAtRandomMoments) {
  constexpr Rank kRanks = 7;
  enum Stage { kNone, kLooping, kDone };
  for (int seed = 0; seed < times(3, 60); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    Ranks order(kRanks);
    for (Rank r = 0; r < kRanks; ++r) order[static_cast<size_t>(r)] = r;
    std::shuffle(order.begin(), order.end(), random);
    Ranks dead(order.begin(), order.begin() + 3);
    const TemporaryFolder folder;
    ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
      Communicator::Options options;
      options.rank = rank;
      options.size = kRanks;
      options.rendezvous = folder.place("id");
      options.transport = GetParam();
      options.timeout = std::chrono::seconds(60);
      auto first = Communicator::create(options);
      ASSERT_TRUE(first) << first.status().to_string();
      std::unique_ptr<Communicator> comm;
      Ranks lost;  // by first ranks, as is `members`
      Ranks members(order.begin(), order.end());
      std::sort(members.begin(), members.end());
      std::vector<int64_t> values(1000);
      while (static_cast<int>(lost.size()) < 3 || report.steps < 20) {
        std::fill(values.begin(), values.end(), 1);
        const Status summed = (comm ? *comm : **first).all_reduce(std::span(values));
        if (summed) {
          EXPECT_EQ(values[0], static_cast<int64_t>(members.size()));
          report.stage = kLooping;
          if (lost.size() == 3) ++report.steps;
          continue;
        }
        ASSERT_EQ(summed.code(), Code::kPeerLost) << summed.to_string();
        const Ranks suspected = {members[static_cast<size_t>(summed.rank())]};
        ClosedUp closed = (*first)->close_up(suspected, {.lost_before = lost});
        if (!closed) report.keep(closed.status());
        ASSERT_TRUE(closed) << closed.status().to_string();
        // A rank that lived was never left out.
        for (const Rank r : closed->lost) {
          EXPECT_NE(std::find(dead.begin(), dead.end(), r), dead.end()) << r;
        }
        lost = closed->lost;
        std::erase_if(members,
                      [&](Rank r) { return std::find(lost.begin(), lost.end(), r) != lost.end(); });
        comm = std::move(closed->comm);
      }
      report.stage = kDone;
      // Nobody leaves before all are done: that would be one more loss.
      (void)comm->barrier();
    });
    if (!ranks.wait_stage(kLooping, kLimit)) return;
    for (const Rank r : dead) {
      ranks.kill(r);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    }
    for (Rank r = 0; r < kRanks; ++r) {
      if (std::find(dead.begin(), dead.end(), r) != dead.end()) continue;
      const int64_t end = now_us() + kLimit.count() * 1000;
      while (ranks.report(r).stage.load() < kDone && !ranks.reap(r, false) && now_us() < end) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      EXPECT_EQ(ranks.report(r).stage.load(), kDone) << r << ": " << ranks.report(r).sentence();
    }
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace gossamer
