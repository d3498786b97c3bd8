// What else happens to ranks: one stops, all crash, one leaves, one forks; and abort().

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "gossamer/memory.h"
#include "tests/group_threads.h"

namespace gossamer {
namespace {

constexpr milliseconds kInTheEnd{20'000};  // for a machine that does much else
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
  constexpr milliseconds kDeadline{5'000};  // also to join
  ProcessRanks ranks(kSize, [&](Rank rank, Report& report) {
    auto comm =
        Communicator::create(options_of(rank, kSize, folder.place("id"), GetParam(), kDeadline));
    ASSERT_TRUE(comm) << comm.status().message();
    std::vector<float> input(5'000, 2.0F);
    std::vector<float> output(input.size());
    for (;;) {
      const int64_t begun_us = now_us();
      const Status status = (*comm)->all_reduce(input.data(), output.data(), input.size(),
                                                DataType::kFloat32, ReduceOp::kSum);
      if (!status) {
        report.keep(status);
        report.values[0] = report.at_us - begun_us;
        break;
      }
      report.stage = kLooping;
    }
    EXPECT_EQ(input, std::vector<float>(input.size(), 2.0F));
    report.stage = kHeard;
  });
  ASSERT_TRUE(ranks.wait_stage(kLooping, kInTheEnd));
  ranks.signal(kStopped, SIGSTOP);
  ASSERT_TRUE(ranks.wait_stage(kHeard, kDeadline + kInTheEnd, kStopped));
  for (const Rank rank : {0, 2}) {
    const Report& report = ranks.report(rank);
    EXPECT_EQ(report.code, Code::kTimeout) << report.sentence();
    EXPECT_EQ(report.at_fault, kStopped) << report.sentence();
    EXPECT_TRUE(report.says("rank 1")) << report.sentence();
    // One of the two may hear it from the other, who began a little earlier.
    EXPECT_GE(report.values[0], kDeadline.count() / 2 * 1000);
  }
  ranks.signal(kStopped, SIGCONT);  // it comes back to a group that has given it up
  ASSERT_TRUE(ranks.wait_stage(kHeard, kDeadline + kInTheEnd));
  EXPECT_NE(ranks.report(kStopped).code, Code::kOk);
  EXPECT_TRUE(ranks.wait_end(kInTheEnd));
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

// Names in the folders where things may be left. Others use them too, at the same time: what is no
// folder and has our name on it is of a library, since tests and the command only make folders.
std::set<std::string> left_behind() {
  std::set<std::string> names;
  std::error_code failed;
  for (const char* folder : {"/tmp", "/dev/shm"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
      const std::string name = entry.path().filename().string();
      std::error_code gone;
      if (name.find("gossamer") != std::string::npos && !entry.is_directory(gone)) {
        names.insert(entry.path().string());
      }
    }
  }
  return names;
}

// Files with a name in those folders, except below `own`, that a process has open or mapped.
std::vector<std::string> named_files_of(pid_t pid, const std::string& own) {
  std::vector<std::string> files;
  const auto note = [&](const std::string& path) {
    const bool named = path.starts_with("/tmp/") || path.starts_with("/dev/shm/");
    if (named && !path.starts_with(own)) files.push_back(path);
  };
  std::error_code failed;
  const std::string process = "/proc/" + std::to_string(pid);
  for (const auto& entry : std::filesystem::directory_iterator(process + "/fd", failed)) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone);
    // what the test was started with, such as a log of its output, is in our own hands too
    const auto ours = std::filesystem::path("/proc/self/fd") / entry.path().filename();
    if (!gone && target != std::filesystem::read_symlink(ours, gone)) note(target.string());
  }
  std::ifstream maps(process + "/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    const bool shared = line.find("s ") == line.find(' ') + 4;  // of "rw-s"
    if (path != std::string::npos && shared) note(line.substr(path));
  }
  return files;
}

TEST_P(Faults, ACrashOfAllLeavesNothing) {
  const std::set<std::string> before = left_behind();
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
    ASSERT_TRUE(ranks.wait_stage(kLooping, kInTheEnd));
    for (Rank rank = 0; rank < 4; ++rank) pids.push_back(ranks.pid(rank));
    if (std::string(GetParam()) == "shm") {
      EXPECT_GT(sockets_of(pids[0]), 0);
    }
    for (const pid_t pid : pids) {
      EXPECT_EQ(named_files_of(pid, folder.path()), std::vector<std::string>());
    }
  }
  for (const pid_t pid : pids) {
    EXPECT_EQ(sockets_of(pid), 0);
    EXPECT_NE(::kill(pid, 0), 0);
  }
  EXPECT_EQ(count_entries(folder.path().c_str()), 0) << "a rendezvous file stayed";
  std::vector<std::string> left;
  std::ranges::set_difference(left_behind(), before, std::back_inserter(left));
  EXPECT_EQ(left, std::vector<std::string>());
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
  EXPECT_TRUE(ranks.wait_stage(kDone, kInTheEnd));
  EXPECT_TRUE(ranks.wait_end(kInTheEnd));
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
        ::alarm(20);
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
  EXPECT_TRUE(ranks.wait_stage(kDone, kInTheEnd));
  EXPECT_TRUE(ranks.wait_end(kInTheEnd));
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
        ::alarm(30);
        report.values[0] = ::getpid();
        for (int i = 0; i < 600; ++i) std::this_thread::sleep_for(milliseconds(50));
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
  ASSERT_TRUE(ranks.wait_stage(kLooping, kInTheEnd));
  ranks.kill(1);
  EXPECT_TRUE(ranks.wait_stage(kHeard, kInTheEnd, 1));
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
