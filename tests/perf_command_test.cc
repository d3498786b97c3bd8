// The `gossamer` command as its users meet it: what it prints, writes and returns.
// ctest: RUN_SERIAL TRUE TIMEOUT 600

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "perf/table.h"
#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

using namespace std::chrono_literals;

using PerfCommand = CommandTest;

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

std::vector<pid_t> children_of(pid_t parent) {
  const std::string id = std::to_string(parent);
  std::ifstream file("/proc/" + id + "/task/" + id + "/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; file >> child;) children.push_back(child);
  return children;
}

TEST_F(PerfCommand, WrongUsageIsOneSentenceAndExitCodeTwo) {
  for (const char* wrong : {"",
                            "frobnicate",
                            "perf",
                            "perf all_redoce",
                            "perf all_reduce -b 8x",
                            "perf all_reduce -b",
                            "perf all_reduce -b 2K -e 1K",
                            "perf all_reduce -f 1",
                            "perf all_reduce -d float31",
                            "perf all_reduce -o summ",
                            "perf all_reduce --ranks 2x",
                            "perf all_reduce --ranks -3",
                            "perf all_reduce --ranks 0",
                            "perf all_reduce --algorithm rong",
                            "perf all_reduce --frob",
                            "perf all_reduce -i 0",
                            "perf all_reduce --memory disk",
                            "perf all_reduce --place on",
                            "perf all_reduce -n -1",
                            "perf all_reduce --seconds 0",
                            "perf all_reduce --timeout -1",
                            "explain --op x",
                            "explain --ranks 0",
                            "explain --bytes x",
                            "explain --hosts 9 --ranks 4",
                            "explain --transport x",
                            "explain --root 9",
                            "explain --redop x",
                            "explain --datatype x",
                            "explain --algorithm x",
                            "perf all_reduce --transport x",
                            "perf broadcast --ranks 2 --root 9",
                            "perf neighbor_average --ranks 2 --graph x",
                            "perf neighbor_average --ranks 3 --graph hypercube",
                            "step --model x",
                            "step --codec x",
                            "step --rest-codec x",
                            "step --codec int8 --feedback x",
                            "step --codec powersgd:rank=x",
                            "step --transport x",
                            "straggler --graph x",
                            "straggler --pairs x",
                            "straggler --transport x",
                            "train-lab --codec x",
                            "train-lab --codec int8 --feedback ef14:sides=5",
                            "frobnicate --help",
                            "verify --max-ranks 0",
                            "verify --algorithm x"}) {
    const Outcome outcome = run(wrong);
    EXPECT_EQ(outcome.code, 2) << wrong;
    EXPECT_EQ(lines_of(outcome.err), 1U) << wrong << ": " << outcome.err;
    EXPECT_EQ(outcome.err.find("gossamer: "), 0U) << wrong << ": " << outcome.err;
    EXPECT_EQ(outcome.out, "") << wrong;
  }
}

TEST_F(PerfCommand, WrongUsageSaysWhatThereIs) {
  EXPECT_TRUE(run("frobnicate").says("'frobnicate' is no command; there are perf, verify"));
  EXPECT_TRUE(run("perf all_reduce --frob").says("see gossamer perf --help"));
  EXPECT_TRUE(run("explain --op x").says("there are all_reduce, all_gather"));
  EXPECT_TRUE(run("explain --redop x").says("there are sum, prod"));
  EXPECT_TRUE(run("explain --datatype x").says("there are int8, uint8"));
  EXPECT_TRUE(run("explain --algorithm x").says("there are one_shot, two_shot"));
  EXPECT_TRUE(run("step --codec int8 --feedback x").says("there are ef14, ef21, "));
  EXPECT_TRUE(run("compress-lab --codec int8:block").says("write block=VALUE"));
  EXPECT_TRUE(run("graph base:k").says("write k=VALUE"));
}

// Not after all the measurements.
TEST_F(PerfCommand, AFileThatCannotBeWrittenIsToldBeforeAnythingRuns) {
  const std::string nowhere = path("missing/result");
  for (const std::string& command :
       {"perf all_reduce --ranks 2 --csv " + nowhere, "perf all_reduce --ranks 2 --json " + nowhere,
        "perf all_reduce --ranks 2 --plot " + nowhere, "step --ranks 2 --csv " + nowhere,
        "compress-lab --svg " + nowhere}) {
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 1) << command;
    EXPECT_EQ(outcome.out, "") << command;
    EXPECT_EQ(lines_of(outcome.err), 1U) << command << ": " << outcome.err;
    EXPECT_TRUE(outcome.says("No such file or directory")) << outcome.err;
  }
  std::filesystem::create_directory(path("missing"));
  EXPECT_EQ(run("compress-lab --codec fp16 --count 1000 --link 0 --svg " + nowhere).code, 2);
  EXPECT_FALSE(std::filesystem::exists(nowhere));
}

TEST_F(PerfCommand, AnUnknownTransportFailsWithTheNamesThereAre) {
  const Outcome outcome = run("perf all_reduce --ranks 2 --transport pigeon");
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.err.find("pigeon"), std::string::npos) << outcome.err;
}

TEST_F(PerfCommand, TimesAndChecksEveryCollective) {
  const Outcome outcome =
      run("perf all --ranks 3 -b 8 -e 100K -f 16 -c 1 --seconds 0.01 --csv " + path("a.csv") +
          " --json " + path("a.json") + " --plot " + path("a.svg"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("# 0 wrong elements"), std::string::npos) << outcome.out;
  std::stringstream csv(read(path("a.csv")));
  std::string line;
  ASSERT_TRUE(std::getline(csv, line));
  EXPECT_EQ(line, kCsvColumns);
  int rows = 0;
  while (std::getline(csv, line)) {
    EXPECT_EQ(std::ranges::count(line, ','), std::ranges::count(std::string(kCsvColumns), ','));
    EXPECT_TRUE(line.ends_with(",0")) << line;
    ++rows;
  }
  // Collectives, in and out of place (an all-to-all never is in place), sizes.
  EXPECT_EQ(rows, (kCollectiveCount * 2 - 1) * 4);
  EXPECT_EQ(read(path("a.json")).find('['), 0U);
  EXPECT_EQ(read(path("a.svg")).find("<svg"), 0U);
  EXPECT_EQ(read(path("a.png")).substr(1, 3), "PNG");
}

TEST_F(PerfCommand, ChecksEveryTypeAndReduction) {
  const Outcome outcome = run("perf all_reduce --ranks 3 -b 3000 -e 3000 -d all -o all -n 3 -w 0");
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("# 0 wrong elements in 144 measurements"), std::string::npos)
      << outcome.out;
}

TEST_F(PerfCommand, TakesEveryRankAsRootInTurn) {
  const Outcome outcome = run("perf scatter --ranks 3 -b 300 -e 300 -n 3 -w 0 -r all --place out");
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("# 0 wrong elements in 3 measurements"), std::string::npos)
      << outcome.out;
  const Outcome outside = run("perf scatter --ranks 3 -b 300 -e 300 -r 3");
  EXPECT_EQ(outside.code, 2);
  EXPECT_NE(outside.err.find("--root 3 is none of the 3 ranks"), std::string::npos) << outside.err;
}

TEST_F(PerfCommand, RunsOverTcpAndFromTheLibrarysAllocator) {
  for (const char* flags : {"--transport tcp", "--transport shm --memory registered"}) {
    const Outcome outcome =
        run(std::string("perf all_reduce --ranks 2 -b 64K -e 64K -n 4 ") + flags);
    EXPECT_EQ(outcome.code, 0) << flags << outcome.err;
  }
}

TEST_F(PerfCommand, JoinsTheJobItWasLaunchedIn) {
  const std::string meeting = "file://" + path("meeting");
  setenv("GOSSAMER_SIZE", "2", 1);
  setenv("GOSSAMER_RENDEZVOUS", meeting.c_str(), 1);
  setenv("GOSSAMER_RANK", "1", 1);
  const pid_t other = fork();
  if (other == 0) {
    execl(GOSSAMER_COMMAND, "gossamer", "perf", "all_reduce", "-e", "64", "-n", "4", nullptr);
    _exit(127);
  }
  setenv("GOSSAMER_RANK", "0", 1);
  const Outcome outcome = run("perf all_reduce -e 64 -n 4");
  for (const char* name : {"GOSSAMER_RANK", "GOSSAMER_SIZE", "GOSSAMER_RENDEZVOUS"}) unsetenv(name);
  int how = 0;
  waitpid(other, &how, 0);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(how, 0);
  EXPECT_NE(outcome.out.find("2 ranks"), std::string::npos) << outcome.out;
}

TEST_F(PerfCommand, EndsSoonWhenARankIsKilled) {
  const pid_t pid = start("perf all_reduce --ranks 3 -b 1M -e 1M -n 1000000");
  std::vector<pid_t> ranks;
  for (int i = 0; i < 1000 && ranks.size() < 3; ++i) {
    std::this_thread::sleep_for(20ms);
    ranks = children_of(pid);
  }
  ASSERT_EQ(ranks.size(), 3U);
  std::this_thread::sleep_for(500ms);
  kill(ranks[1], SIGKILL);
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = finish(pid);
  EXPECT_NE(outcome.code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 25s);  // its calls would go on for hours
  EXPECT_NE(outcome.err.find("rank 1 was killed by signal 9"), std::string::npos) << outcome.err;
  for (const pid_t rank : ranks) EXPECT_NE(kill(rank, 0), 0) << "rank still runs";
}

TEST_F(PerfCommand, PassesAnInterruptOnToItsRanks) {
  const pid_t pid = start("perf all_reduce --ranks 2 -b 1M -e 1M -n 1000000");
  std::vector<pid_t> ranks;
  for (int i = 0; i < 1000 && ranks.size() < 2; ++i) {
    std::this_thread::sleep_for(20ms);
    ranks = children_of(pid);
  }
  ASSERT_EQ(ranks.size(), 2U);
  kill(pid, SIGINT);
  const Outcome outcome = finish(pid);
  EXPECT_EQ(outcome.code, 128 + SIGINT) << outcome.err;
  for (const pid_t rank : ranks) EXPECT_NE(kill(rank, 0), 0) << "rank still runs";
}

TEST_F(PerfCommand, ExplainMarksExactlyOneCandidate) {
  const Outcome outcome = run("explain --op all_reduce --bytes 1M --ranks 8 --hosts 2");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  size_t chosen = 0;
  for (size_t at = outcome.out.find("chosen"); at != std::string::npos;
       at = outcome.out.find("chosen", at + 1))
    ++chosen;
  EXPECT_EQ(chosen, 1U) << outcome.out;
  EXPECT_NE(outcome.out.find("hierarchical"), std::string::npos);
  // an asked-for algorithm is the chosen one, whatever its price
  const Outcome asked = run("explain --bytes 1M --ranks 8 --algorithm ring");
  EXPECT_NE(asked.out.find("chosen ->  ring"), std::string::npos) << asked.out;
}

TEST_F(PerfCommand, VerifyProvesAndCounts) {
  const Outcome outcome = run("verify --all --max-ranks 5");
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("ring"), std::string::npos);
  EXPECT_NE(outcome.out.find(" schedules proved"), std::string::npos) << outcome.out;
}

TEST_F(PerfCommand, DoctorHasAFixForWhateverHurts) {
  setenv("GOSSAMER_TRANSPROT", "tcp", 1);
  const Outcome outcome = run("doctor");
  unsetenv("GOSSAMER_TRANSPROT");
  EXPECT_EQ(outcome.code, 1);  // the misspelt variable
  EXPECT_NE(outcome.out.find("GOSSAMER_TRANSPROT"), std::string::npos) << outcome.out;
  std::stringstream lines(outcome.out);
  for (std::string line, next; std::getline(lines, line);) {
    if (!line.starts_with("hurts")) continue;
    ASSERT_TRUE(std::getline(lines, next));
    EXPECT_NE(next.find("fix: "), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace gossamer
