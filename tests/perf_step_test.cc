// gossamer step: what a step of ResNet-18's size sends, counted.

#include <gtest/gtest.h>

#include "perf/step_run.h"
#include "tests/gossamer_command.h"
#include "tests/group_threads.h"

namespace gossamer {
namespace {

double bytes_sent(const StepOptions& options) {
  double sent = 0;
  run_group(4, "tcp", [&](Communicator& comm) {
    const Result<StepTiming> timing = measure_steps(comm, options);
    ASSERT_TRUE(timing) << timing.status().to_string();
    if (comm.rank() == 0) sent = timing->bytes_sent;
  });
  return sent;
}

StepOptions one_step() {
  StepOptions options;
  options.compute_ms = 0;
  options.steps = 1;
  options.warmup = 1;
  return options;
}

// Deep gradient compression at 99.9 %: a few codes of each matrix, and vectors, which would be a
// quarter of all that is sent, as bf16.
TEST(Step, OfDeepGradientCompressionSends270TimesLess) {
  const double dense = bytes_sent(one_step());
  EXPECT_GE(dense, 2 * 3 * 11'173'962.0);  // 2 (p - 1) / p of all elements
  StepOptions compressed = one_step();
  compressed.codec = "topk:ratio=0.001,index=rice";
  compressed.feedback = "dgc:momentum=0.9";
  compressed.rest_codec = "bf16";
  const double sparse = bytes_sent(compressed);
  EXPECT_GT(sparse, 0);
  EXPECT_GE(dense, 270 * sparse) << dense << " / " << sparse;
}

TEST(Step, SendsAsMuchFromTheHooksMemory) {
  StepOptions options = one_step();
  options.codec = "fp16";
  options.warmup = 2;  // past the step in which gradients move
  const double copied = bytes_sent(options);
  options.in_place = true;
  EXPECT_EQ(bytes_sent(options), copied);
}

TEST(Step, RefusesWhatIsNoModelAndNoCodec) {
  StepOptions options = one_step();
  run_group(1, "tcp", [&](Communicator& comm) {
    options.model = "resnet19";
    EXPECT_EQ(measure_steps(comm, options).status().code(), Code::kInvalidArgument);
    options.model = "resnet50";
    options.rest_codec = "bf17";
    EXPECT_EQ(measure_steps(comm, options).status().code(), Code::kInvalidArgument);
  });
}

using StepCommand = CommandTest;

TEST_F(StepCommand, SaysWhatItMeasured) {
  const Outcome one = run(
      "step --ranks 2 --steps 1 --warmup 1 --compute-ms 0 --codec int8 --rest-codec bf16 --csv " +
      path("out.csv"));
  EXPECT_EQ(one.code, 0) << one.text();
  EXPECT_TRUE(one.says("int8, rest bf16 ")) << one.text();
  EXPECT_TRUE(read(path("out.csv")).starts_with("method,ranks,ms_per_step,bytes_sent,"));
  const Outcome wrong = run("step --feedback ef14");
  EXPECT_EQ(wrong.code, 2) << wrong.text();
  EXPECT_TRUE(wrong.says("--feedback goes with --codec")) << wrong.text();
}

}  // namespace
}  // namespace gossamer
