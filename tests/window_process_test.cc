// Windows among processes: a rank that is killed while others wait, put and get; survivors go on; a
// rank that is stopped holds nobody up and sees the newest values when it goes on.
//
// ctest: TIMEOUT 600

#include <random>

#include "tests/methods.h"
#include "tests/process_ranks.h"
#include "tests/window_ranks.h"

namespace gossamer {
namespace {

enum Stage { kNone, kBegun, kReady, kHeard, kDone };

constexpr size_t kCount = 30'000;
constexpr milliseconds kLimit{60'000};

class WindowProcesses : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() { ::setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1); }
};

// Keeps what went wrong for the test's process too.
#define ASSERT_REPORTED(call)                        \
  do {                                               \
    const Status reported_ = (call);                 \
    if (!reported_) report.keep(reported_);          \
    ASSERT_TRUE(reported_) << reported_.to_string(); \
  } while (0)

std::unique_ptr<Communicator> join(Rank rank, Rank size, const TemporaryFolder& folder,
                                   const std::string& transport, Report& report) {
  auto comm = Communicator::create(options_of(rank, size, folder.place("id"), transport));
  if (!comm) report.keep(comm.status());
  EXPECT_TRUE(comm) << comm.status().to_string();
  return comm ? std::move(comm).value() : nullptr;
}

TEST_P(WindowProcesses, ValuesPassBetweenProcesses) {
  const TemporaryFolder folder;
  ProcessRanks ranks(3, [&](Rank rank, Report& report) {
    const auto comm = join(rank, 3, folder, GetParam(), report);
    ASSERT_NE(comm, nullptr);
    const std::vector<double> x(kCount, rank + 1);
    const auto window = window_of(*comm, x);
    ASSERT_NE(window, nullptr);
    const auto others = others_of(rank, 3);
    for (const Rank to : others) ASSERT_REPORTED(window->accumulate(x.data(), to));
    ASSERT_REPORTED(window->wait_versions(others, 1));
    std::vector<double> out(kCount);
    ASSERT_REPORTED(window->get(out.data(), (rank + 1) % 3));
    EXPECT_EQ(out[0], (rank + 1) % 3 + 1);
    ASSERT_REPORTED(comm->barrier());
    ASSERT_REPORTED(window->collect(out.data(), 1, weighed(others, 1)));
    EXPECT_TRUE(same_throughout(out));
    EXPECT_EQ(out[0], 6);
    ASSERT_REPORTED(window->free());
    report.stage = kDone;
  });
  ranks.wait_stage(kDone, kLimit);
  ranks.wait_end(kLimit);
}

// What a survivor does after a death: all others hear of it by the call that touches the dead one,
// and find each other again.
void survive(Window* window, Rank rank, Rank size, Rank victim, Report& report) {
  const std::vector<Rank> behind{victim};
  const Status waited = window->wait_versions(behind, 1'000'000'000);
  report.keep(waited);
  ASSERT_EQ(waited.code(), Code::kPeerLost) << waited.to_string();
  EXPECT_EQ(waited.rank(), victim);
  EXPECT_EQ(window->lost(), behind);
  report.stage = kHeard;
  std::vector<double> out(kCount);
  EXPECT_EQ(window->get(out.data(), victim).code(), Code::kPeerLost);
  EXPECT_EQ(window->put(out.data(), victim).code(), Code::kPeerLost);
  const auto complete = graph_of("complete", size);
  EXPECT_EQ(window->put(out.data(), *complete, 0).rank(), victim);
  const Status flushed = window->flush();
  EXPECT_TRUE(flushed || flushed.rank() == victim) << flushed.to_string();
  std::vector<Rank> living;
  for (const Rank r : others_of(rank, size)) {
    if (r != victim) living.push_back(r);
  }
  const std::vector<double> last(kCount, 1000 + rank);
  for (const Rank to : living) ASSERT_REPORTED(window->put(last.data(), to));
  ASSERT_REPORTED(window->flush());
  ASSERT_REPORTED(window->set(last.data()));
  for (const Rank from : living) {
    do {
      ASSERT_REPORTED(window->get(out.data(), from));
      ASSERT_TRUE(same_throughout(out));
    } while (out[0] != 1000 + from);
  }
  ASSERT_REPORTED(window->free());
  for (const Rank from : living) {
    const Weight source{from, 1};
    ASSERT_REPORTED(window->update(out.data(), 0, std::span(&source, 1)));
    ASSERT_TRUE(same_throughout(out));
    EXPECT_EQ(out[0], 1000 + from);
  }
}

// Killed at a random moment amid puts, accumulates and gets of all.
TEST_P(WindowProcesses, SurvivorsOfADeathGoOnWithoutTheDeadRank) {
  constexpr Rank kRanks = 4;
  for (int seed = 0; seed < times(4, 100); ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const Rank victim = static_cast<Rank>(random() % kRanks);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", rank " << victim << " dies");
    const TemporaryFolder folder;
    ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
      const auto comm = join(rank, kRanks, folder, GetParam(), report);
      ASSERT_NE(comm, nullptr);
      const auto window = window_of(*comm, std::vector<double>(kCount, 0));
      ASSERT_NE(window, nullptr);
      std::vector<double> x(kCount);
      std::vector<double> out(kCount);
      const auto others = others_of(rank, kRanks);
      report.stage = kBegun;
      for (uint64_t i = 1; window->lost().empty(); ++i) {
        std::fill(x.begin(), x.end(), i);
        for (const Rank to : others) {
          const Status put = window->put(x.data(), to);
          EXPECT_TRUE(put || put.rank() == victim) << put.to_string();
        }
        const Status got = window->get(out.data(), others[i % others.size()]);
        EXPECT_TRUE(got || got.rank() == victim) << got.to_string();
        ASSERT_REPORTED(window->update(out.data(), 0.5, weighed(others, 0.5 / (kRanks - 1))));
        ASSERT_TRUE(same_throughout(out));
        ++report.steps;
        if (i > 5) report.stage = kReady;
      }
      survive(window.get(), rank, kRanks, victim, report);
      report.stage = kDone;
    });
    if (!ranks.wait_stage(kReady, kLimit)) return;
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ranks.kill(victim);
    if (!ranks.wait_stage(kDone, kLimit, victim)) return;
    ranks.wait_end(kLimit, victim);
  }
}

// All wait, asleep, for the one that dies.
TEST_P(WindowProcesses, WaitersHearOfADeath) {
  constexpr Rank kRanks = 3;
  const TemporaryFolder folder;
  ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
    const auto comm = join(rank, kRanks, folder, GetParam(), report);
    ASSERT_NE(comm, nullptr);
    const auto window = window_of(*comm, std::vector<double>(kCount, 0));
    ASSERT_NE(window, nullptr);
    report.stage = kReady;
    if (rank == 1) ::pause();
    survive(window.get(), rank, kRanks, 1, report);
    report.stage = kDone;
  });
  if (!ranks.wait_stage(kReady, kLimit)) return;
  std::this_thread::sleep_for(milliseconds(300));
  ranks.kill(1);
  if (!ranks.wait_stage(kDone, kLimit, 1)) return;
  ranks.wait_end(kLimit, 1);
}

// Two die at once, and the others may hear of them in different orders.
TEST_P(WindowProcesses, AfterTwoDeathsAtOnceTheOthersGoOn) {
  constexpr Rank kRanks = 5;
  for (int seed = 0; seed < times(4, 40); ++seed) {
    std::mt19937_64 random(static_cast<uint64_t>(seed));
    const Rank first = static_cast<Rank>(random() % kRanks);
    const Rank second = (first + 1 + static_cast<Rank>(random() % (kRanks - 1))) % kRanks;
    SCOPED_TRACE(testing::Message() << "ranks " << first << " and " << second << " die");
    const TemporaryFolder folder;
    ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
      const auto comm = join(rank, kRanks, folder, GetParam(), report);
      ASSERT_NE(comm, nullptr);
      const std::vector<double> x(kCount, 1);
      const auto window = window_of(*comm, x, milliseconds(60'000));
      ASSERT_NE(window, nullptr);
      report.stage = kReady;
      if (rank == first || rank == second) ::pause();
      for (const Rank dead : {first, second}) {
        const std::vector<Rank> behind{dead};
        const Status waited = window->wait_versions(behind, 1);
        EXPECT_EQ(waited.code(), Code::kPeerLost) << waited.to_string();
      }
      std::vector<Rank> living;
      for (const Rank to : others_of(rank, kRanks)) {
        if (to != first && to != second) living.push_back(to);
      }
      for (const Rank to : living) ASSERT_REPORTED(window->put(x.data(), to));
      ASSERT_REPORTED(window->wait_versions(living, 1));
      EXPECT_EQ(window->lost().size(), 2u);
      (void)window->flush();  // may tell of what the dead did not get
      ASSERT_REPORTED(window->free());
      report.stage = kDone;
    });
    if (!ranks.wait_stage(kReady, kLimit)) return;
    ranks.kill(first);
    ranks.kill(second);
    for (Rank r = 0; r < kRanks; ++r) {
      if (r == first || r == second) continue;
      const int64_t end = now_us() + 2 * kLimit.count() * 1000;
      while (ranks.report(r).stage.load() < kDone && !ranks.reap(r, false) && now_us() < end) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      EXPECT_EQ(ranks.report(r).stage.load(), kDone) << r << ": " << ranks.report(r).sentence();
    }
    if (testing::Test::HasFailure()) return;
  }
}

// Of two, the last one is alone: no more than its own calls work.
TEST_P(WindowProcesses, TheLastOfTwoIsAlone) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    const auto comm = join(rank, 2, folder, GetParam(), report);
    ASSERT_NE(comm, nullptr);
    const std::vector<double> x(kCount, 3);
    const auto window = window_of(*comm, x);
    ASSERT_NE(window, nullptr);
    ASSERT_REPORTED(window->put(x.data(), 1 - rank));
    ASSERT_REPORTED(window->flush());
    report.stage = kReady;
    if (rank == 1) ::pause();
    const std::vector<Rank> other{1};
    EXPECT_EQ(window->wait_versions(other, 100).code(), Code::kPeerLost);
    std::vector<double> out(kCount);
    const Weight source{1, 1};
    ASSERT_REPORTED(window->update(out.data(), 0, std::span(&source, 1)));
    EXPECT_EQ(out[0], 3);
    ASSERT_REPORTED(window->free());
    report.stage = kDone;
  });
  if (!ranks.wait_stage(kReady, kLimit)) return;
  ranks.kill(1);
  if (!ranks.wait_stage(kDone, kLimit, 1)) return;
  ranks.wait_end(kLimit, 1);
}

// Puts to it return at once and take no more memory the more there are; calls that need it end by
// their deadline; others are not held up.
TEST_P(WindowProcesses, AStoppedRankHoldsNobodyUpAndGetsTheNewestValues) {
  constexpr Rank kRanks = 3;
  constexpr Rank kStopped = 2;
  const TemporaryFolder folder;
  ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
    const auto comm = join(rank, kRanks, folder, GetParam(), report);
    ASSERT_NE(comm, nullptr);
    const auto window = window_of(*comm, std::vector<double>(kCount, 0), milliseconds(3'000));
    ASSERT_NE(window, nullptr);
    std::vector<double> x(kCount);
    std::vector<double> out(kCount);
    report.stage = kBegun;
    while (report.values[0].load() == 0) std::this_thread::sleep_for(milliseconds(1));
    if (rank != kStopped) {
      const std::vector<Rank> other{1 - rank};
      for (uint64_t i = 1; i <= 500; ++i) {
        std::fill(x.begin(), x.end(), i);
        ASSERT_REPORTED(window->put(x.data(), kStopped));
        ASSERT_REPORTED(window->put(x.data(), other[0]));
        ASSERT_REPORTED(window->wait_versions(other, 2 * (i - 1)));
      }
      if (GetParam() == std::string("tcp")) {
        // The stopped one's kernel may have taken the first of them, and its process no more.
        EXPECT_EQ(window->get(out.data(), kStopped).code(), Code::kTimeout);
      } else {
        EXPECT_EQ(window->flush().code(), Code::kTimeout);
      }
    }
    report.stage = kReady;
    while (report.values[0].load() == 1) std::this_thread::sleep_for(milliseconds(1));
    if (rank == kStopped) {
      for (Rank from = 0; from < kStopped; ++from) {
        while (window->version(from) < 999) std::this_thread::sleep_for(milliseconds(1));
        const Weight source{from, 1};
        ASSERT_REPORTED(window->update(out.data(), 0, std::span(&source, 1)));
        EXPECT_TRUE(same_throughout(out));
        EXPECT_EQ(out[0], 500);
      }
    } else {
      ASSERT_REPORTED(window->flush());
      ASSERT_REPORTED(window->get(out.data(), kStopped));
    }
    ASSERT_REPORTED(comm->barrier());
    ASSERT_REPORTED(window->free());
    report.stage = kDone;
  });
  if (!ranks.wait_stage(kBegun, kLimit)) return;
  ranks.signal(kStopped, SIGSTOP);
  for (Rank r = 0; r < kRanks; ++r) ranks.report(r).values[0] = 1;
  if (!ranks.wait_stage(kReady, kLimit, kStopped)) return;
  ranks.signal(kStopped, SIGCONT);
  for (Rank r = 0; r < kRanks; ++r) ranks.report(r).values[0] = 2;
  if (!ranks.wait_stage(kDone, kLimit)) return;
  ranks.wait_end(kLimit);
}

// A window that is destroyed while a peer is stopped in the middle of its messages ends in time.
TEST_P(WindowProcesses, DestructionEndsInTimeBesideAStoppedRank) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    const auto comm = join(rank, 2, folder, GetParam(), report);
    ASSERT_NE(comm, nullptr);
    const std::vector<double> x(40 * kCount, 1);  // more than any link holds
    auto window = window_of(*comm, x, milliseconds(2'000));
    ASSERT_NE(window, nullptr);
    report.stage = kBegun;
    while (report.values[0].load() == 0) std::this_thread::sleep_for(milliseconds(1));
    if (rank == 0) {
      ASSERT_REPORTED(window->put(x.data(), 1));
      ASSERT_REPORTED(window->put(x.data(), 1));
      EXPECT_EQ(window->flush().code(), Code::kTimeout);
      const int64_t start = now_us();
      window.reset();
      report.values[1] = now_us() - start;
    }
    report.stage = kReady;
    while (report.values[0].load() == 1) std::this_thread::sleep_for(milliseconds(1));
    if (rank == 1) {
      const std::vector<Rank> other{0};
      const Status lost = window->wait_versions(other, 1'000'000, kLimit);
      EXPECT_EQ(lost.code(), Code::kPeerLost) << lost.to_string();
    }
    report.stage = kDone;
    // The other one's process is there until all is over.
    while (report.values[0].load() == 2) std::this_thread::sleep_for(milliseconds(1));
  });
  if (!ranks.wait_stage(kBegun, kLimit)) return;
  ranks.signal(1, SIGSTOP);
  for (Rank r = 0; r < 2; ++r) ranks.report(r).values[0] = 1;
  if (!ranks.wait_stage(kReady, kLimit, 1)) return;
  ranks.signal(1, SIGCONT);
  for (Rank r = 0; r < 2; ++r) ranks.report(r).values[0] = 2;
  if (!ranks.wait_stage(kDone, kLimit)) return;
  for (Rank r = 0; r < 2; ++r) ranks.report(r).values[0] = 3;
  ranks.wait_end(kLimit);
}

INSTANTIATE_TEST_SUITE_P(All, WindowProcesses, testing::Values("shm", "tcp"),
                         [](const auto& at) { return std::string(at.param); });

}  // namespace
}  // namespace gossamer
