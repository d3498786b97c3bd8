// What else happens to ranks: one stops, all crash, one leaves, one forks; and abort().

#include <sys/resource.h>

#include <fstream>

#include "gossamer/memory.h"
#include "tests/group_threads.h"

namespace gossamer {
namespace {

constexpr milliseconds kSoon{2'000};
enum Stage { kStarted, kLooping, kHeard, kDone };

class Faults : public testing::TestWithParam<const char*> {};

Status sum_of(Communicator& comm, std::vector<float>* values) {
  return comm.all_reduce(std::span(*values));
}

// --- a stopped rank ------------------------------------------------------------------------------

TEST_P(Faults, AStoppedRankIsNamedWhenTheDeadlinePasses) {
  const TemporaryFolder folder;
  constexpr Rank kSize = 3;
  constexpr Rank kStopped = 1;
  constexpr milliseconds kDeadline{500};
  ProcessRanks ranks(kSize, [&](Rank rank, Report& report) {
    auto comm =
        Communicator::create(options_of(rank, kSize, folder.place("id"), GetParam(), kDeadline));
    ASSERT_TRUE(comm) << comm.status().message();
    std::vector<float> input(5'000, 2.0F);
    std::vector<float> output(input.size());
    for (;;) {
      const Status status = (*comm)->all_reduce(input.data(), output.data(), input.size(),
                                                DataType::kFloat32, ReduceOp::kSum);
      if (!status) {
        report.keep(status);
        break;
      }
      report.stage = kLooping;
    }
    EXPECT_EQ(input, std::vector<float>(input.size(), 2.0F));
    report.stage = kHeard;
  });
  ASSERT_TRUE(ranks.wait_stage(kLooping, milliseconds(10'000)));
  const int64_t stopped_us = now_us();
  ranks.signal(kStopped, SIGSTOP);
  ASSERT_TRUE(ranks.wait_stage(kHeard, kDeadline + kSoon, kStopped));
  for (const Rank rank : {0, 2}) {
    const Report& report = ranks.report(rank);
    EXPECT_EQ(report.code, Code::kTimeout) << report.sentence();
    EXPECT_EQ(report.at_fault, kStopped) << report.sentence();
    EXPECT_TRUE(report.says("rank 1")) << report.sentence();
    EXPECT_GE(report.at_us - stopped_us, (kDeadline.count() - 50) * 1000);
  }
  ranks.signal(kStopped, SIGCONT);  // it comes back to a group that has given it up
  ASSERT_TRUE(ranks.wait_stage(kHeard, kDeadline + kSoon));
  EXPECT_NE(ranks.report(kStopped).code, Code::kOk);
  EXPECT_TRUE(ranks.wait_end(kSoon));
}

// --- all crash -----------------------------------------------------------------------------------

// Names of our sockets anywhere on this machine, by the processes that own them.
int sockets_of(pid_t pid) {
  std::ifstream file("/proc/net/unix");
  std::string line;
  int count = 0;
  while (std::getline(file, line)) {
    if (line.find("@gossamer-") != std::string::npos &&
        line.find("-" + std::to_string(pid) + "-") != std::string::npos) {
      ++count;
    }
  }
  return count;
}

TEST_P(Faults, ACrashOfAllLeavesNothing) {
  const int shared = count_entries("/dev/shm");
  const int temporary = count_entries("/tmp");
  const TemporaryFolder folder;
  std::vector<pid_t> pids;
  {
    ProcessRanks ranks(4, [&](Rank rank, Report& report) {
      auto comm = Communicator::create(options_of(rank, 4, folder.place("id"), GetParam()));
      ASSERT_TRUE(comm) << comm.status().message();
      constexpr uint64_t kCount = 100'000;
      auto* const memory = static_cast<float*>(*allocate_memory(kCount * sizeof(float)));
      while ((*comm)->all_reduce(std::span(memory, kCount))) report.stage = kLooping;
    });
    ASSERT_TRUE(ranks.wait_stage(kLooping, milliseconds(10'000)));
    for (Rank rank = 0; rank < 4; ++rank) pids.push_back(ranks.pid(rank));
    if (std::string(GetParam()) == "shm") {
      EXPECT_GT(sockets_of(pids[0]), 0);
    }
  }
  for (const pid_t pid : pids) {
    EXPECT_EQ(sockets_of(pid), 0);
    EXPECT_NE(::kill(pid, 0), 0);
  }
  EXPECT_EQ(count_entries(folder.path().c_str()), 0) << "a rendezvous file stayed";
  EXPECT_EQ(count_entries("/dev/shm"), shared);
  EXPECT_LE(count_entries("/tmp"), temporary + 1);
}

// --- leaving -------------------------------------------------------------------------------------

TEST_P(Faults, ExitWithALiveCommunicatorIsClean) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(options_of(rank, 2, folder.place("id"), GetParam()));
    ASSERT_TRUE(comm) << comm.status().message();
    static std::unique_ptr<Communicator> kept;  // destroyed by exit()
    kept = std::move(*comm);
    std::vector<float> values(50'000, 1.0F);
    ASSERT_TRUE(sum_of(*kept, &values));
    Work work = kept->start_all_reduce(values.data(), values.data(), values.size(),
                                       DataType::kFloat32, ReduceOp::kSum);
    ASSERT_TRUE(work.wait());  // the progress thread runs
    report.stage = kDone;
    std::exit(testing::Test::HasFailure() ? 1 : 0);
  });
  EXPECT_TRUE(ranks.wait_stage(kDone, milliseconds(10'000)));
  EXPECT_TRUE(ranks.wait_end(kSoon));
}

TEST_P(Faults, AForkedChildThatEndsDisturbsNobody) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(options_of(rank, 2, folder.place("id"), GetParam()));
    ASSERT_TRUE(comm) << comm.status().message();
    std::vector<float> values(5'000, 1.0F);
    ASSERT_TRUE((*comm)
                    ->start_all_reduce(values.data(), values.data(), values.size(),
                                       DataType::kFloat32, ReduceOp::kSum)
                    .wait());
    for (const bool destroys : {false, true}) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(5);
        if (destroys) comm->reset();  // as leaving main() would
        ::_exit(0);
      }
      int status = -1;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0);
      for (int i = 0; i < 100; ++i) {
        const Status done = sum_of(**comm, &values);
        ASSERT_TRUE(done) << done.message();
      }
    }
    report.stage = kDone;
  });
  EXPECT_TRUE(ranks.wait_stage(kDone, milliseconds(15'000)));
  EXPECT_TRUE(ranks.wait_end(kSoon));
}

TEST_P(Faults, AKilledRankIsNoticedThoughItsChildLives) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(options_of(rank, 2, folder.place("id"), GetParam()));
    ASSERT_TRUE(comm) << comm.status().message();
    std::vector<float> values(5'000, 1.0F);
    ASSERT_TRUE(sum_of(**comm, &values));
    if (rank == 1) {
      const pid_t child = ::fork();  // a data loader, say: it holds copies of all descriptors
      if (child == 0) {
        ::alarm(5);
        report.values[0] = ::getpid();
        for (int i = 0; i < 100; ++i) std::this_thread::sleep_for(milliseconds(50));
        ::_exit(0);
      }
      while (report.values[0] == 0) continue;
    }
    for (;;) {
      const Status status = sum_of(**comm, &values);
      if (!status) {
        report.keep(status);
        break;
      }
      report.stage = kLooping;
    }
    report.stage = kHeard;
  });
  ASSERT_TRUE(ranks.wait_stage(kLooping, milliseconds(10'000)));
  ranks.kill(1);
  EXPECT_TRUE(ranks.wait_stage(kHeard, kSoon, 1));
  EXPECT_EQ(ranks.report(0).code, Code::kPeerLost) << ranks.report(0).sentence();
  EXPECT_EQ(ranks.report(0).at_fault, 1);
  if (const auto child = static_cast<pid_t>(ranks.report(1).values[0]); child > 0) {
    ::kill(child, SIGKILL);
  }
}

INSTANTIATE_TEST_SUITE_P(Over, Faults, testing::Values("shm", "tcp"),
                         [](const auto& made) { return std::string(made.param); });

}  // namespace
}  // namespace gossamer
