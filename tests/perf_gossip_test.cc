// Gossip on the command line: graphs printed and drawn, averages timed and explained.
// ctest: RUN_SERIAL TRUE

#include <gtest/gtest.h>

#include <string>

#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

using GossipCommand = CommandTest;

TEST_F(GossipCommand, GraphPrintsItsNumbersAndDrawsItself) {
  const Outcome ring = run("graph ring --ranks 8 --svg " + path("ring.svg"));
  EXPECT_EQ(ring.code, 0) << ring.text();
  EXPECT_TRUE(ring.says("0.195262") && ring.says("64 at worst")) << ring.text();
  const std::string svg = read(path("ring.svg"));
  EXPECT_TRUE(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
  size_t lines = 0;
  for (size_t at = svg.find("<line"); at != std::string::npos; at = svg.find("<line", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 8U);
  const Outcome base = run("graph base:k=1 --ranks 25");
  EXPECT_TRUE(base.says("exact mean after so many rounds           9")) << base.text();
  EXPECT_TRUE(run("graph list").says("one_peer_exponential"));
}

TEST_F(GossipCommand, GraphRefusesWhatItCannotDraw) {
  const Outcome unknown = run("graph rink");
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(unknown.says("there are ring, torus")) << unknown.text();
  EXPECT_EQ(run("graph hypercube --ranks 12").code, 2);
  EXPECT_EQ(run("graph ring --svg /no/such/folder/x.svg").code, 1);
}

TEST_F(GossipCommand, PerfTimesAndChecksAverages) {
  for (const char* type : {"float32", "bfloat16", "float64"}) {
    const Outcome timed =
        run("perf neighbor_average --graph base:k=1 --ranks 3 -b 8 -e 64K -f 64 --seconds 0.05 "
            "--csv " +
            path("csv") + " -d " + type);
    EXPECT_EQ(timed.code, 0) << timed.text();
    EXPECT_TRUE(timed.says("# 0 wrong elements in 6 measurements")) << timed.text();
    EXPECT_NE(read(path("csv")).find("neighbor_average,3,8,"), std::string::npos);
  }
  const Outcome gathered =
      run("perf neighbor_all_gather --graph star --ranks 3 -b 8 -e 8K -f 32 --seconds 0.05");
  EXPECT_EQ(gathered.code, 0) << gathered.text();
}

TEST_F(GossipCommand, PerfPassesOnWhatArrived) {
  for (const char* op : {"sendrecv", "neighbor_average --graph ring"}) {
    const Outcome timed =
        run(std::string("perf ") + op + " --swap --ranks 3 -b 8 -e 64K -f 64 --seconds 0.05");
    EXPECT_EQ(timed.code, 0) << timed.text();
    EXPECT_TRUE(timed.says("# 0 wrong elements in 3 measurements")) << timed.text();
  }
}

TEST_F(GossipCommand, PerfRefusesWhatMakesNoSense) {
  EXPECT_TRUE(run("perf all_reduce --swap").says("--swap goes with sendrecv"));
  EXPECT_TRUE(run("perf sendrecv --swap --place in").says("--swap is out of place"));
  EXPECT_TRUE(run("perf neighbor_average --swap --place in").says("--swap is out of place"));
  EXPECT_TRUE(run("perf neighbor_average -d int32").says("floats"));
  EXPECT_TRUE(run("perf neighbor_average -o max").says("no reduction"));
  EXPECT_TRUE(run("perf neighbor_average --persistent").says("--persistent"));
  EXPECT_TRUE(run("perf neighbor_all_gather --place in").says("never in place"));
  EXPECT_TRUE(run("perf all_reduce --graph ring").says("--graph"));
  const Outcome unfit = run("perf neighbor_average --graph hypercube --ranks 3 -e 8");
  EXPECT_NE(unfit.code, 0);
  EXPECT_TRUE(unfit.says("power of two")) << unfit.text();
}

// What is printed of rates depends on the machine; that all rows are there and that no average
// moved the mean does not.
TEST_F(GossipCommand, StragglerComparesWaysToAverage) {
  const Outcome told =
      run("straggler --ranks 3 -b 4K --compute-ms 1 --slow 4 --seconds 0.1 --transport shm");
  EXPECT_EQ(told.code, 0) << told.text();
  for (const char* method :
       {"compute alone", "all_reduce", "neighbor_average", "pairwise", "window"}) {
    const size_t at = told.text().find(method);
    ASSERT_NE(at, std::string::npos) << told.text();
    const std::string line = told.text().substr(at, told.text().find('\n', at) - at);
    EXPECT_LT(std::stod(line.substr(line.rfind(' '))), 1e-6) << line;
  }
  EXPECT_TRUE(run("straggler --slow 0.5").says("--slow must be at least 1"));
  EXPECT_TRUE(run("straggler -b 1").says("less than one float"));
  EXPECT_TRUE(run("straggler --ranks 3 --graph hypercube").says("power of two"));
}

TEST_F(GossipCommand, ExplainPricesAStepBelowAnAllReduce) {
  const auto price = [&](const std::string& op) {
    const Outcome told = run("explain --op " + op + " --ranks 8 --hosts 8 --bytes 64M --cores 2");
    EXPECT_EQ(told.code, 0) << told.text();
    const size_t at = told.text().find("chosen ->");
    EXPECT_NE(at, std::string::npos) << told.text();
    const std::string line = told.text().substr(at, told.text().find('\n', at) - at);
    return std::stod(line.substr(line.rfind(' ')));
  };
  const double step = price("neighbor_average --graph one_peer_exponential");
  EXPECT_GT(step, 0);
  EXPECT_GT(price("all_reduce --algorithm ring") / step, 1.6);
  EXPECT_EQ(run("explain --op neighbor_average --graph rink").code, 2);
}

}  // namespace
}  // namespace gossamer
