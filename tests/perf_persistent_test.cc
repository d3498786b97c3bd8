// What `gossamer perf` says of persistent collectives.
// ctest: RUN_SERIAL TRUE TIMEOUT 900

#include <gtest/gtest.h>

#include <string>

#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

using PerfPersistent = CommandTest;

TEST_F(PerfPersistent, RunsCheckedAndCounts) {
  for (const char* transport : {"shm", "tcp"}) {
    const Outcome made = run(std::string("perf all --persistent --registered --counters --ranks 2 "
                                         "--seconds 0.02 -b 8 -e 1M -f 16 --transport ") +
                             transport);
    EXPECT_EQ(made.code, 0) << made.text();
    EXPECT_TRUE(made.says("persistent collectives")) << made.text();
    EXPECT_TRUE(made.says("library-allocated")) << made.text();
    EXPECT_TRUE(made.says("counters of rank 0")) << made.text();
    EXPECT_TRUE(made.says("exchanges of addresses")) << made.text();
    EXPECT_TRUE(made.says("# 0 wrong elements")) << made.text();
  }
}

TEST_F(PerfPersistent, ComparesWithRemoteProcedureCalls) {
  for (const char* rest : {"rpc --ranks 2 --transport shm", "rpc --ranks 3 --transport tcp",
                           "push --ranks 3 --transport shm --touch"}) {
    const Outcome made =
        run(std::string("perf all_reduce -b 4 -e 256K -f 16 --seconds 0.1 --baseline ") + rest);
    EXPECT_EQ(made.code, 0) << made.text();
    EXPECT_TRUE(made.says("geometric mean")) << made.text();
    EXPECT_TRUE(made.says("262144 ")) << made.text();
  }
}

TEST_F(PerfPersistent, RefusesWhatItCannotCompare) {
  for (const char* arguments :
       {"all_reduce --baseline grpc", "all_gather --baseline rpc", "all_reduce --touch",
        "all_reduce --baseline rpc -d int8", "all_reduce --baseline rpc --csv x"}) {
    const Outcome refused = run(std::string("perf ") + arguments);
    EXPECT_EQ(refused.code, 2) << arguments << ": " << refused.text();
    EXPECT_TRUE(refused.says("gossamer: ")) << refused.text();
  }
}

}  // namespace
}  // namespace gossamer
