// gossamer gossip-demo: a few seconds of it, its plot, and what it refuses.
// ctest: RUN_SERIAL TRUE

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

class GossipDemoCommand : public CommandTest {
 protected:
  // Returns the exit code.
  int demo(const std::string& arguments, std::string* text) const {
    const Outcome outcome = run("gossip-demo " + arguments);
    *text = outcome.text();
    return outcome.code;
  }
};

struct Row {
  double time = 0;
  int live = 0;
  int joined = 0;
  int died = 0;
  double consensus = 0;
  double loss = 0;
  double weight = 0;
};

// Lines like " 3 s   7   7-8   8   1   5.6e-17   5.6e-03   0.3651   83.6 %   0.934".
std::vector<Row> rows_of(const std::string& text) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    Row row;
    std::string unit;
    std::string seen;
    std::string models;
    std::string accuracy;
    std::string percent;
    if (in >> row.time >> unit >> row.live >> seen >> row.joined >> row.died >> row.consensus >>
            models >> row.loss >> accuracy >> percent >> row.weight &&
        unit == "s") {
      rows.push_back(row);
    }
  }
  return rows;
}

// Five seconds are plenty, but for a busy machine, which gets more.
TEST_F(GossipDemoCommand, TrainsWhileOthersAreKilledAndJoin) {
  std::string text;
  std::vector<Row> rows;
  for (const int times : {1, 4, 16}) {
    const int code =
        demo("--ranks 5 --seconds " + std::to_string(5 * times) + " --kill-every " +
                 std::to_string(2 * times) + " --join-every " + std::to_string(2.5 * times) +
                 " --dim 8 --seed 3 --svg " + path("demo.svg"),
             &text);
    ASSERT_EQ(code, 0) << text;
    rows = rows_of(text);
    ASSERT_EQ(rows.size(), size_t{5} * static_cast<size_t>(times) + 1) << text;
    if (rows.back().joined >= 6 && rows.back().loss < rows.front().loss - 0.05) break;
  }
  EXPECT_EQ(rows.front().live, 5);
  EXPECT_EQ(rows.front().died, 0);
  EXPECT_NEAR(rows.front().loss, 0.6931, 1e-4);  // ln 2: nothing is learnt yet
  EXPECT_NEAR(rows.front().weight, 1, 2e-3);
  EXPECT_EQ(rows.back().died, 2);
  EXPECT_GE(rows.back().joined, 6);
  EXPECT_LT(rows.back().loss, rows.front().loss - 0.05) << text;
  for (const Row& row : rows) {
    EXPECT_EQ(row.live, row.joined - row.died) << text;
    EXPECT_GT(row.weight, 0) << text;
  }
  EXPECT_NE(text.find("all others left in good order"), std::string::npos) << text;
  const std::string svg = read(path("demo.svg"));
  EXPECT_TRUE(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("2 killed"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST_F(GossipDemoCommand, RefusesWhatMakesNoSense) {
  const auto refused = [&](const std::string& arguments, const std::string& part, int code = 2) {
    std::string text;
    EXPECT_EQ(demo(arguments, &text), code) << arguments;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  refused("--ranks 1", "2 to 64 processes");
  refused("--ranks 65", "2 to 64 processes");
  refused("--seconds 0", "give 1 to 3600");
  refused("--seconds nan", "seconds");
  refused("--dim 0", "give 1 to 4096");
  refused("--kill-every -1", "--kill-every");
  refused("--join-every 0.01", "0.1 to 3600");
  refused("--seconds 3600 --join-every 0.1", "more than 4096 processes");
  refused("--colour red", "--colour");
  refused("--seconds 1 --svg /no/such/folder/x.svg", "cannot write", 1);
}

}  // namespace
}  // namespace gossamer
