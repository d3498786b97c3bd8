// Votes in collectives: what most ranks say, wherever it is counted.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "tests/coded_calls.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

class CodedVotesOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedVotesOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CodedVotesOver, MajorityIsWhatMostRanksSayAndATieIsOne) {
  const uint64_t count = 5000;
  const auto codec = codec_named("majority");
  for (const Rank size : {3, 4}) {
    RankGroup group(size, GetParam());
    for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
      const std::vector<Floats> inputs = inputs_of(type, size, count * static_cast<uint64_t>(size));
      const auto expected = [&](size_t i) {
        int votes = 0;
        for (const Floats& input : inputs) votes += input[i] < 0 ? -1 : 1;
        return votes < 0 ? -1.0F : 1.0F;
      };
      group.each([&](Communicator& comm) {
        const auto rank = static_cast<size_t>(comm.rank());
        const auto input = elements_of(type, inputs[rank]);
        const Compression compression{.codec = codec.get()};
        for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kAvg}) {
          std::vector<std::byte> output(input.size());
          CollectiveCall call{.input = input.data(),
                              .output = output.data(),
                              .count = count,
                              .type = type,
                              .reduction = op,
                              .compression = &compression};
          EXPECT_EQ(comm.explain(call, false)->algorithm, "coded_two_shot");
          ASSERT_TRUE(comm.run(call));
          Floats got = floats_of(type, output);
          for (size_t i = 0; i < count; ++i) ASSERT_EQ(got[i], expected(i)) << i;
          call.collective = Collective::kReduceScatter;
          EXPECT_EQ(comm.residual_count(call, false).value(),
                    count * static_cast<uint64_t>(size) + count);
          ASSERT_TRUE(comm.run(call));
          got = floats_of(type, output);
          for (size_t i = 0; i < count; ++i) ASSERT_EQ(got[i], expected(rank * count + i)) << i;
        }
      });
    }
  }
}

TEST_P(CodedVotesOver, MajorityIsTheSameAtTheRootOfAReduceInItsOwnBlockToo) {
  const uint64_t count = 1000;
  const auto codec = codec_named("majority");
  RankGroup group(3, GetParam());
  const std::vector<Floats> inputs = inputs_of(DataType::kFloat32, 3, count);
  group.each([&](Communicator& comm) {
    const Compression compression{.codec = codec.get()};
    Floats output(count);
    ASSERT_TRUE(comm.run({.collective = Collective::kReduce,
                          .input = inputs[static_cast<size_t>(comm.rank())].data(),
                          .output = output.data(),
                          .count = count,
                          .root = 1,
                          .compression = &compression}));
    if (comm.rank() != 1) return;
    for (size_t i = 0; i < count; ++i) {
      int votes = 0;
      for (const Floats& input : inputs) votes += input[i] < 0 ? -1 : 1;
      ASSERT_EQ(output[i], votes < 0 ? -1.0F : 1.0F) << i;
    }
  });
}

// A program does the same alone as among others.
TEST(Majority, OfOneRankIsWhatItSays) {
  const auto codec = codec_named("majority");
  RankGroup group(1);
  const Compression compression{.codec = codec.get()};
  for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
    for (const uint64_t count : {0, 1, 5000}) {
      const auto input = elements_of(type, normal(3, count));
      for (const Collective collective :
           {Collective::kAllReduce, Collective::kReduce, Collective::kReduceScatter}) {
        for (const bool in_place : {false, true}) {
          std::vector<std::byte> output = input;
          ASSERT_TRUE(group[0].run({.collective = collective,
                                    .input = in_place ? output.data() : input.data(),
                                    .output = output.data(),
                                    .count = count,
                                    .type = type,
                                    .reduction = ReduceOp::kAvg,
                                    .compression = &compression}));
          const Floats got = floats_of(type, output);
          const Floats had = floats_of(type, input);
          for (size_t i = 0; i < count; ++i) ASSERT_EQ(got[i], had[i] < 0 ? -1.0F : 1.0F);
        }
      }
    }
  }
}

TEST(Majority, HasNoWeightsInAGraph) {
  const auto codec = codec_named("majority");
  const auto graph = make_graph("ring", 3, 1);
  ASSERT_TRUE(graph);
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    Floats x(10, 1.0F);
    const Compression compression{.codec = codec.get()};
    const Status status = comm.run({.collective = Collective::kNeighborAverage,
                                    .input = x.data(),
                                    .output = x.data(),
                                    .count = x.size(),
                                    .graph = graph->get(),
                                    .compression = &compression});
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("votes of majority"), std::string::npos) << status.message();
  });
}

// Heterogeneous quadratics, f_i = (x - c_i)^2 / 2 with c = (1, 1, -10): votes end at the median, 1,
// where the optimum is the mean, -2.67.
TEST(Majority, FindsTheMedianOfWhatRanksWant) {
  const auto codec = codec_named("majority");
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    const float want = comm.rank() == 2 ? -10.0F : 1.0F;
    float x = -5;
    const Compression compression{.codec = codec.get()};
    for (int t = 0; t < 2000; ++t) {
      float step = x - want;
      ASSERT_TRUE(comm.run({.input = &step,
                            .output = &step,
                            .count = 1,
                            .reduction = ReduceOp::kAvg,
                            .compression = &compression}));
      x -= 0.005F * step;
    }
    EXPECT_NEAR(x, 1, 0.02);
  });
}

TEST(Majority, SendsABitPerElementEitherWay) {
  const auto codec = codec_named("majority");
  EXPECT_EQ(codec->bytes_max(1 << 20), (1U << 20) / 8);
  EXPECT_EQ(codec->bytes_max(9), 2U);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    Floats x = normal(1, 1 << 18);
    const Compression compression{.codec = codec.get()};
    const uint64_t before = comm.counters().bytes_sent;
    EXPECT_TRUE(comm.run(
        {.input = x.data(), .output = x.data(), .count = x.size(), .compression = &compression}));
    EXPECT_EQ(comm.counters().bytes_sent - before, 2 * 3 * (x.size() / 4 / 8));
  });
}

}  // namespace
}  // namespace gossamer
