// Compressed collectives on the command line: timed, measured for what they lose, and explained.
// ctest: RUN_SERIAL TRUE

#include <gtest/gtest.h>

#include <string>

#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

using CodecCommand = CommandTest;

TEST_F(CodecCommand, PerfTellsWhatIsSentAndLost) {
  for (const char* collective : {"all", "broadcast --root all", "neighbor_average --graph ring",
                                 "neighbor_all_gather --graph ring"}) {
    const Outcome done =
        run("perf " + std::string(collective) +
            " --codec int8:block=256 --ranks 3 -b 96K -e 96K -n 8 --csv " + path("rows.csv"));
    EXPECT_EQ(done.code, 0) << done.text();
    EXPECT_TRUE(done.says("sent") && done.says("loss") && done.says("coded_")) << done.text();
    EXPECT_TRUE(done.says("# 0 wrong elements")) << done.text();
    const std::string csv = read(path("rows.csv"));
    EXPECT_NE(csv.find("wrong,codec,sent_bytes,loss\n"), std::string::npos) << csv;
    EXPECT_NE(csv.find("\"int8:block=256"), std::string::npos) << csv;
  }
  // Two thirds of the code of 8192 floats to each of two others, twice.
  const Outcome done =
      run("perf all_reduce --codec int8:block=256 --algorithm coded_two_shot --ranks 3 -b 96K "
          "-e 96K -n 40 --place in");
  EXPECT_TRUE(done.says(std::to_string(4 * 8192 * 260 / 256))) << done.text();
}

TEST_F(CodecCommand, PerfRefusesWhatMakesNoSense) {
  const auto refuses = [&](const std::string& arguments, const std::string& part) {
    const Outcome outcome = run("perf " + arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.text();
    EXPECT_TRUE(outcome.says(part)) << outcome.text();
  };
  refuses("all_reduce --codec nonsense", "int8");
  refuses("sendrecv --codec int8", "goes with collectives");
  refuses("all_to_all --codec int8 -d int32", "float");
  refuses("all_reduce --codec int8 --persistent", "--persistent");
  refuses("all_reduce --codec int8 --nccl", "--nccl");
}

TEST_F(CodecCommand, ExplainPricesCodes) {
  const Outcome done = run("explain --bytes 64M --ranks 8 --hosts 2 --codec int8");
  EXPECT_EQ(done.code, 0) << done.text();
  EXPECT_TRUE(done.says("codec int8:block=") && done.says("coded_hierarchical")) << done.text();
  EXPECT_FALSE(done.says("  ring ")) << done.text();
  for (const char* collective : {"broadcast", "reduce", "gather", "scatter", "all_to_all",
                                 "neighbor_all_gather --graph ring"}) {
    const Outcome one = run("explain --collective " + std::string(collective) + " --codec int8");
    EXPECT_EQ(one.code, 0) << one.text();
    EXPECT_TRUE(one.says("coded_")) << one.text();
  }
  EXPECT_EQ(run("explain --codec nonsense").code, 2);
}

}  // namespace
}  // namespace gossamer
