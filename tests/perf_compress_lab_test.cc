// gossamer compress-lab on the command line, and the times that it predicts.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>

#include "perf/compress_lab.h"
#include "tests/gossamer_command.h"

namespace gossamer {
namespace {

class CompressLab : public CommandTest {
 protected:
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  Outcome lab(const std::string& arguments) const { return run("compress-lab " + arguments); }
};

TEST_F(CompressLab, ComparesAllCodecsAndDrawsThem) {
  const Outcome all = lab("--count 100000 --svg " + path("lab.svg"));
  EXPECT_EQ(all.code, 0) << all.text();
  const std::string svg = read(path("lab.svg"));
  EXPECT_TRUE(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
  for (const CodecInfo& info : codecs()) {
    EXPECT_TRUE(all.says("\n" + std::string(info.name))) << info.name;
    EXPECT_NE(svg.find(">" + std::string(info.name)), std::string::npos) << info.name;
  }
  EXPECT_TRUE(all.says("none")) << all.text();
}

TEST_F(CompressLab, KnowsRatioAndError) {
  const Outcome some =
      lab("--count 1000000 --data gaussian -c fp16 -c int8:block=256 -c sign:block=0 --ranks 8 "
          "--link 100Mbit");
  EXPECT_EQ(some.code, 0) << some.text();
  EXPECT_TRUE(some.says("8 ranks at 100Mbit")) << some.text();
  EXPECT_TRUE(some.says("2.00    4.3e-08")) << some.text();
  EXPECT_TRUE(some.says("3.94   4.8")) << some.text();
  EXPECT_TRUE(some.says(" 32.00      0.36")) << some.text();
  EXPECT_FALSE(some.says("bf16")) << some.text();
}

TEST_F(CompressLab, ReadsAFileOfFloats) {
  std::string floats(4000, '\0');
  const float value = 0.25F;
  for (size_t i = 0; i < 500; ++i)
    floats.replace(i * 8, 4, reinterpret_cast<const char*>(&value), 4);
  const Outcome some = lab("-c int8 --file " + write("gradients", floats));
  EXPECT_EQ(some.code, 0) << some.text();
  EXPECT_TRUE(some.says("1000 values of")) << some.text();
  const float nan = NAN;
  floats.replace(0, 4, reinterpret_cast<const char*>(&nan), 4);
  const Outcome strange = lab("-c int8 --file " + write("strange", floats));
  EXPECT_TRUE(strange.says("1 values are not finite")) << strange.text();
}

TEST_F(CompressLab, SaysWhatIsWrong) {
  const auto refused = [&](const std::string& arguments, const std::string& part, int code = 2) {
    const Outcome outcome = lab(arguments);
    EXPECT_EQ(outcome.code, code) << outcome.text();
    EXPECT_TRUE(outcome.says("gossamer: ") && outcome.says(part)) << outcome.text();
  };
  refused("-c int9", "no codec is called 'int9'; there are fp16");
  refused("-c int8:block=x", "block=\"x\"");
  refused("--data normal", "there are gaussian, laplace and gradient");
  refused("--link fast", "'fast' is no speed of a link");
  refused("--link 1GB", "100Mbit");
  refused("--link -1Gbit", "no speed");
  refused("--ranks 1", "--ranks is 2 to");
  refused("--count 0", "--count is 1 to");
  refused("--latency nan", "--latency");
  refused("--file " + path("absent"), "cannot read", 1);
  refused("--file " + write("empty", ""), "is empty");
  refused("--file " + write("odd", "12345"), "5 bytes, which are no whole number");
  refused("--file /tmp", "is a folder");
  refused("-c fp16 --count 10 --svg /nonexistent/x.svg", "cannot write", 1);
}

// 8 MiB of fp32 among 4 ranks, whose ring moves 12.58 MB per rank: .105 s at the goodput of 1
// Gbit/s.
TEST(CompressLabTimes, AreThoseOfTheFormulas) {
  const LabLink link = {125e6, 0, 4};
  constexpr double kCount = 2 << 20;
  EXPECT_NEAR(dense_row().all_reduce_seconds(kCount, link), .105, .001);
  LabRow row;
  row.codec = "int8:block=256";
  row.bytes = 1 + 4.0 / 256;
  EXPECT_NEAR(row.all_reduce_seconds(kCount, link), .0267, .0001);
  row.bytes = 1.0 / 8;
  EXPECT_NEAR(row.all_reduce_seconds(kCount, link), .0033, .0001);
  // Encoded once and a quarter, added once, decoded once.
  row.encode = 1e-9;
  row.add = 2e-9;
  row.decode = 4e-9;
  EXPECT_NEAR(row.all_reduce_seconds(kCount, link), .0033 + kCount * (1.25e-9 + 6e-9), .0001);
  row.gathered = true;
  EXPECT_NEAR(row.all_reduce_seconds(kCount, link), 3 * kCount / 8 / 119.6e6 + kCount * 9e-9,
              .0001);
}

TEST(CompressLabTimes, LinksHaveUnits) {
  EXPECT_EQ(*parse_link("1Gbit"), 125e6);
  EXPECT_EQ(*parse_link("2.5Gbit"), 312.5e6);
  EXPECT_EQ(*parse_link("100Mbit"), 12.5e6);
  for (const char* text : {"", "Gbit", "1", "1 Gbit", "1gbit", "0Gbit", "infGbit", "nanGbit"}) {
    EXPECT_FALSE(parse_link(text)) << text;
  }
}

}  // namespace
}  // namespace gossamer
