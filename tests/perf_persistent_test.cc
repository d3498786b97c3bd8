// What `gossamer perf` says of persistent collectives.
// ctest: RUN_SERIAL TRUE TIMEOUT 300

#include <gtest/gtest.h>
#include <stdio.h>

#include <array>
#include <string>

namespace gossamer {
namespace {

struct Outcome {
  int code = -1;
  std::string text;
};

Outcome run(const std::string& arguments) {
  const std::string line = std::string(GOSSAMER_COMMAND) + " perf " + arguments + " 2>&1";
  Outcome outcome;
  FILE* const pipe = popen(line.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> part{};
  size_t got = 0;
  while ((got = fread(part.data(), 1, part.size(), pipe)) > 0)
    outcome.text.append(part.data(), got);
  outcome.code = WEXITSTATUS(pclose(pipe));
  return outcome;
}

bool says(const Outcome& outcome, const std::string& part) {
  return outcome.text.find(part) != std::string::npos;
}

TEST(PerfPersistent, RunsCheckedAndCounts) {
  for (const char* transport : {"shm", "tcp"}) {
    const Outcome made = run(std::string("all --persistent --registered --counters --ranks 2 "
                                         "--seconds 0.02 -b 8 -e 1M -f 16 --transport ") +
                             transport);
    EXPECT_EQ(made.code, 0) << made.text;
    EXPECT_TRUE(says(made, "persistent collectives")) << made.text;
    EXPECT_TRUE(says(made, "library-allocated")) << made.text;
    EXPECT_TRUE(says(made, "counters of rank 0")) << made.text;
    EXPECT_TRUE(says(made, "exchanges of addresses")) << made.text;
    EXPECT_TRUE(says(made, "# 0 wrong elements")) << made.text;
  }
}

TEST(PerfPersistent, ComparesWithRemoteProcedureCalls) {
  for (const char* rest : {"rpc --ranks 2 --transport shm", "rpc --ranks 3 --transport tcp",
                           "push --ranks 3 --transport shm --touch"}) {
    const Outcome made =
        run(std::string("all_reduce -b 4 -e 256K -f 16 --seconds 0.1 --baseline ") + rest);
    EXPECT_EQ(made.code, 0) << made.text;
    EXPECT_TRUE(says(made, "geometric mean")) << made.text;
    EXPECT_TRUE(says(made, "262144 ")) << made.text;
  }
}

TEST(PerfPersistent, RefusesWhatItCannotCompare) {
  for (const char* arguments :
       {"all_reduce --baseline grpc", "all_gather --baseline rpc", "all_reduce --touch",
        "all_reduce --baseline rpc -d int8", "all_reduce --baseline rpc --csv x"}) {
    const Outcome refused = run(arguments);
    EXPECT_EQ(refused.code, 2) << arguments << ": " << refused.text;
    EXPECT_TRUE(says(refused, "gossamer: ")) << refused.text;
  }
}

}  // namespace
}  // namespace gossamer
