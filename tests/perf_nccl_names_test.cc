// nccl-tests' names, flags and columns of `gossamer perf`.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <sstream>
#include <string>

#include "perf/nccl_names.h"

namespace gossamer {
namespace {

using Words = std::vector<std::string>;

Words translated(const Words& arguments, bool launched = false) {
  const auto command = translate_nccl_test("all_reduce", arguments, launched);
  EXPECT_TRUE(command) << command.status().message();
  return command ? command->arguments : Words{};
}

TEST(NcclNames, AreKnownByTheLastPartOfThePath) {
  EXPECT_EQ(nccl_test_of("all_reduce_perf"), "all_reduce");
  EXPECT_EQ(nccl_test_of("/usr/bin/alltoall_perf"), "all_to_all");
  EXPECT_EQ(nccl_test_of("./sendrecv_perf"), "sendrecv");
  EXPECT_EQ(nccl_test_of("gossamer"), "");
  EXPECT_EQ(nccl_test_of("all_reduce_perf/gossamer"), "");
}

TEST(NcclNames, HaveTheirDefaults) {
  EXPECT_EQ(translated({}), (Words{"perf", "all_reduce", "--nccl", "-b", "32M", "-e", "32M", "-n",
                                   "20", "-w", "1", "--ranks", "1"}));
}

TEST(NcclNames, FlagsAreTakenInEverySpelling) {
  const Words expected{"perf", "all_reduce", "--nccl", "-b", "8", "-e",      "1G", "-f",
                       "2",    "-n",         "5",      "-w", "3", "--ranks", "8"};
  EXPECT_EQ(
      translated({"-b", "8", "-e", "1G", "-f", "2", "-n", "5", "-w", "3", "-g", "4", "-t", "2"}),
      expected);
  EXPECT_EQ(translated({"-b8", "-e1G", "-f2", "-n5", "-w3", "-g4", "-t2"}), expected);
  EXPECT_EQ(translated({"--minbytes=8", "--maxbytes", "1G", "--stepfactor=2", "--iters", "5",
                        "--warmup_iters=3", "--ngpus", "8"}),
            expected);
}

TEST(NcclNames, ALauncherSaysHowManyRanksThereAre) {
  const Words command = translated({"-g", "1"}, true);
  EXPECT_EQ(command.back(), "1");  // of -w
  const auto refused = translate_nccl_test("all_reduce", {"-g", "2"}, true);
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
}

TEST(NcclNames, WhatHasNoEffectIsSaid) {
  const auto command = translate_nccl_test("all_reduce", {"-m", "4", "-z", "0", "-G", "2"}, false);
  ASSERT_TRUE(command);
  ASSERT_EQ(command->ignored.size(), 2U);
  EXPECT_NE(command->ignored[0].find("agg_iters"), std::string::npos);
}

TEST(NcclNames, RegisteredBuffersAndRoots) {
  const Words command = translated({"-R", "1", "-r", "all", "-T", "0"});
  EXPECT_NE(std::find(command.begin(), command.end(), "--registered"), command.end());
  EXPECT_EQ(std::find(command.begin(), command.end(), "--timeout"), command.end());
  EXPECT_NE(std::find(command.begin(), command.end(), "all"), command.end());
}

TEST(NcclNames, RefuseWhatIsNoFlag) {
  for (const Words& bad : {Words{"-Q"}, Words{"--nothing"}, Words{"8"}, Words{"-b"},
                           Words{"-g", "x"}, Words{"-g", "0"}}) {
    const auto command = translate_nccl_test("all_reduce", bad, false);
    EXPECT_EQ(command.status().code(), Code::kInvalidArgument) << bad[0];
  }
}

// What a script does with nccl-tests: runs one, takes lines that are no comments, reads columns.
std::vector<Words> rows_of(const std::string& command, std::string* text) {
  std::vector<Words> rows;
  const std::string folder =
      std::string(GOSSAMER_COMMAND).substr(0, std::string(GOSSAMER_COMMAND).find_last_of('/') + 1);
  std::FILE* pipe = ::popen((folder + command + " 2>&1").c_str(), "r");
  std::array<char, 1024> line{};
  while (pipe != nullptr && std::fgets(line.data(), line.size(), pipe) != nullptr) {
    *text += line.data();
    std::istringstream words{std::string(line.data())};
    Words row;
    for (std::string word; words >> word;) row.push_back(word);
    if (!row.empty() && row[0][0] != '#') rows.push_back(row);
  }
  EXPECT_EQ(pipe != nullptr ? ::pclose(pipe) : -1, 0) << *text;
  return rows;
}

TEST(NcclColumns, EveryNameRunsAndHasThem) {
  for (const char* name : {"all_reduce", "all_gather", "alltoall", "broadcast", "gather", "reduce",
                           "reduce_scatter", "scatter", "sendrecv", "hypercube"}) {
    std::string text;
    const auto rows = rows_of(std::string(name) + "_perf -b 64 -e 256 -f 4 -g 2 -n 2", &text);
    ASSERT_EQ(rows.size(), 2U) << text;
    const std::string call = name;
    for (const Words& row : rows) {
      ASSERT_EQ(row.size(), 13U) << text;
      EXPECT_EQ(row[2], "float");
      EXPECT_EQ(row[8], "0") << text;
      const bool in_place = call != "alltoall" && call != "sendrecv";
      EXPECT_EQ(row[12], in_place ? "0" : "N/A") << text;
    }
    EXPECT_EQ(rows[0][0], "64");
    EXPECT_NE(text.find("# Out of bounds values : 0 OK"), std::string::npos) << text;
    EXPECT_NE(text.find("# Avg bus bandwidth    : "), std::string::npos) << text;
  }
}

TEST(NcclColumns, TypesOperationsAndRoots) {
  std::string text;
  EXPECT_EQ(rows_of("reduce_perf -b 64 -e 64 -g 2 -n 2 -o all -d half -r all", &text).size(), 12U)
      << text;
}

}  // namespace
}  // namespace gossamer
