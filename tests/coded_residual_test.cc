// Error feedback through compressed collectives: nothing is lost that is not in a residual; and how
// much one encoding, and one at every hop, loses without it.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "gossamer/mixing.h"
#include "tests/coded_calls.h"
#include "tests/group_threads.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

double sum_of(const Floats& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return sum;
}

struct Feedback {
  Floats residual, next;
  explicit Feedback(uint64_t count) : residual(count), next(count, 1e30F) {}
};

// Iterations of one algorithm among `size` ranks: outputs and residuals of the last.
struct Iterated {
  std::vector<Floats> inputs, outputs, before, after;  // per rank
};

Iterated iterate(const char* algorithm, Rank size, const std::string& codec_text, uint64_t count,
                 ReduceOp op, int iterations, Collective collective = Collective::kAllReduce) {
  Iterated run;
  const auto n = static_cast<size_t>(size);
  const uint64_t shares = collective == Collective::kReduceScatter ? n : 1;
  for (size_t r = 0; r < n; ++r) run.inputs.push_back(normal(r + 1, count * shares));
  run.outputs.assign(n, Floats(count * (collective == Collective::kAllGather ? n : 1)));
  run.before.resize(n);
  run.after.resize(n);
  const auto codec = codec_named(codec_text);
  RankGroup group(size, "loopback", algorithm);
  group.each([&](Communicator& comm) {
    const auto r = static_cast<size_t>(comm.rank());
    Compression compression{.codec = codec.get()};
    const CollectiveCall call{.collective = collective,
                              .input = run.inputs[r].data(),
                              .output = run.outputs[r].data(),
                              .count = count,
                              .reduction = op,
                              .compression = &compression};
    Feedback feedback(comm.residual_count(call).value());
    for (int i = 0; i < iterations; ++i) {
      if (i > 0) feedback.residual.swap(feedback.next);
      compression.residual = feedback.residual.data();
      compression.next_residual = feedback.next.data();
      compression.draws.own = static_cast<uint64_t>(i);
      const Status status = comm.run(call);
      EXPECT_TRUE(status) << status.to_string();
    }
    run.before[r] = feedback.residual;
    run.after[r] = feedback.next;
  });
  return run;
}

// What went in, with what was left from before, is what came out and what is left now.
void expect_kept(const Iterated& run, double out, const std::string& what) {
  double in = 0;
  double magnitude = 0;
  double left = 0;
  for (size_t r = 0; r < run.inputs.size(); ++r) {
    in += sum_of(run.inputs[r]) + sum_of(run.before[r]);
    left += sum_of(run.after[r]);
    for (const float x : run.inputs[r]) magnitude += std::abs(static_cast<double>(x));
  }
  EXPECT_NEAR(out + left, in, 1e-6 * magnitude) << what;
}

TEST(Residuals, E16_OfTheAllReducesKeepWhatTheCodesLose) {
  for (const char* algorithm : {"coded_two_shot", "coded_one_shot", "coded_ring"}) {
    for (const Rank size : {2, 3, 4, 7}) {
      for (const char* codec : {"int8:block=64", "int8:block=64,rounding=stochastic", "bf16"}) {
        const Iterated run = iterate(algorithm, size, codec, 3001, ReduceOp::kSum, 3);
        const std::string what = std::string(algorithm) + " x" + std::to_string(size) + " " + codec;
        expect_kept(run, sum_of(run.outputs[0]), what);
        const bool own = std::string(algorithm) == "coded_two_shot";
        uint64_t floats = 0;
        for (const Floats& after : run.after) floats += after.size();
        EXPECT_EQ(floats, 3001U * static_cast<uint64_t>(size) + (own ? 3001U : 0)) << what;
        for (const Floats& after : run.after) {
          for (const float x : after) ASSERT_LT(std::abs(x), 1.0F) << what;
        }
      }
    }
  }
}

// Residual i belongs to element i: it holds element by element, and of every element alone.
TEST(Residuals, OfElementsLieWhereTheElementsDo) {
  for (const char* algorithm : {"coded_one_shot", "coded_ring"}) {
    const Iterated run = iterate(algorithm, 3, "int8:block=64", 2000, ReduceOp::kSum, 2);
    for (size_t i = 0; i < 2000; ++i) {
      double in = 0;
      auto out = static_cast<double>(run.outputs[0][i]);
      for (size_t r = 0; r < 3; ++r) {
        in += static_cast<double>(run.inputs[r][i]) + static_cast<double>(run.before[r][i]);
        out += static_cast<double>(run.after[r][i]);
      }
      ASSERT_NEAR(out, in, 1e-5) << algorithm << " element " << i;
    }
  }
}

TEST(Residuals, OfReduceScatterAndAllGatherKeepWhatTheCodesLose) {
  const Iterated scattered = iterate("coded_reduce_scatter", 3, "int8:block=64", 1000,
                                     ReduceOp::kSum, 3, Collective::kReduceScatter);
  double out = 0;
  for (const Floats& share : scattered.outputs) out += sum_of(share);
  expect_kept(scattered, out, "reduce_scatter");
  const Iterated gathered = iterate("coded_all_gather", 3, "int8:block=64", 1000, ReduceOp::kSum, 3,
                                    Collective::kAllGather);
  expect_kept(gathered, sum_of(gathered.outputs[0]), "all_gather");
}

// An average's second residual counts as averages do.
TEST(Residuals, OfAnAverageCountInWhatIsEncoded) {
  const Rank size = 4;
  Iterated run = iterate("coded_two_shot", size, "int8:block=64", 4000, ReduceOp::kAvg, 3);
  for (auto* all : {&run.before, &run.after}) {
    for (Floats& residual : *all) {
      for (size_t i = 4000; i < residual.size(); ++i) residual[i] *= static_cast<float>(size);
    }
  }
  expect_kept(run, size * sum_of(run.outputs[0]), "average");
}

// What iterations lose does not add up.
TEST(Residuals, MakeUpOverIterationsForWhatEachLoses) {
  const Rank size = 4;
  const int iterations = 50;
  const auto codec = codec_named("int8:block=2048");
  RankGroup group(size, "loopback", "coded_two_shot");
  group.each([&](Communicator& comm) {
    const Floats input = normal(static_cast<uint64_t>(comm.rank()) + 1, 2048);
    Floats exact(input);
    EXPECT_TRUE(comm.all_reduce(std::span<float>(exact)));
    Floats output(2048);
    Compression compression{.codec = codec.get()};
    const CollectiveCall call{
        .input = input.data(), .output = output.data(), .count = 2048, .compression = &compression};
    const auto error_of = [&](bool feeds_back) {
      Feedback feedback(comm.residual_count(call).value());
      std::vector<double> total(2048);
      for (int i = 0; i < iterations; ++i) {
        compression.residual = feeds_back ? feedback.residual.data() : nullptr;
        compression.next_residual = feeds_back ? feedback.next.data() : nullptr;
        EXPECT_TRUE(comm.run(call));
        feedback.residual.swap(feedback.next);
        for (size_t k = 0; k < total.size(); ++k) total[k] += static_cast<double>(output[k]);
      }
      double error = 0;
      for (size_t k = 0; k < total.size(); ++k) {
        const double off = total[k] / iterations - static_cast<double>(exact[k]);
        error += off * off;
      }
      return error;
    };
    EXPECT_LT(error_of(true), 1e-2 * error_of(false));
  });
}

// A gossip rank that sends to nobody in a round keeps all of its residual.
TEST(Residuals, AreCarriedByRanksThatSendNothing) {
  const auto codec = codec_named("int8:block=64");
  const auto graph = make_graph("random_matching", 3, 1);  // one of three has no peer
  ASSERT_TRUE(graph) << graph.status().to_string();
  std::atomic<int> idle = 0;
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    const Floats input = normal(1, 500);
    Floats output(500);
    Compression compression{.codec = codec.get()};
    const CollectiveCall call{.collective = Collective::kNeighborAverage,
                              .input = input.data(),
                              .output = output.data(),
                              .count = 500,
                              .graph = graph->get(),
                              .compression = &compression};
    ASSERT_EQ(comm.residual_count(call).value(), 500U);
    Feedback feedback(500);
    feedback.residual = normal(7, 500);
    compression.residual = feedback.residual.data();
    compression.next_residual = feedback.next.data();
    EXPECT_TRUE(comm.run(call));
    const bool carries = (*graph)->mixing(0)->targets(comm.rank()).empty();
    idle += carries ? 1 : 0;
    EXPECT_EQ(feedback.next == feedback.residual, carries);
  });
  EXPECT_EQ(idle.load(), 1);
}

// --- failures ------------------------------------------------------------------------------------

class ResidualOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, ResidualOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(ResidualOver, E16_OfAnAbortedOperationIsAsItWasBitForBit) {
  const Rank size = 3;
  const auto codec = codec_named("int8:block=64");
  for (const char* algorithm : {"coded_two_shot", "coded_ring", "coded_one_shot"}) {
    RankGroup group(size, GetParam(), algorithm);
    Gate done_once(size);
    group.each([&](Communicator& comm) {
      const uint64_t count = 30'000;
      const Floats input = normal(static_cast<uint64_t>(comm.rank()), count);
      Floats output(count);
      Compression compression{.codec = codec.get()};
      const CollectiveCall call{.input = input.data(),
                                .output = output.data(),
                                .count = count,
                                .compression = &compression};
      Feedback feedback(comm.residual_count(call).value());
      feedback.residual = normal(9, feedback.residual.size());
      const Floats before = feedback.residual;
      compression.residual = feedback.residual.data();
      compression.next_residual = feedback.next.data();
      EXPECT_TRUE(comm.run(call));
      EXPECT_EQ(std::memcmp(before.data(), feedback.residual.data(), before.size() * 4), 0);
      done_once.arrive_and_wait();
      if (comm.rank() == 0) {
        comm.abort();  // instead of the next call, which the others have begun or are about to
      } else {
        EXPECT_EQ(comm.run(call).code(), Code::kAborted);
      }
      EXPECT_EQ(std::memcmp(before.data(), feedback.residual.data(), before.size() * 4), 0);
      EXPECT_EQ(input, normal(static_cast<uint64_t>(comm.rank()), count));
    });
  }
}

TEST_P(ResidualOver, NothingIsLostInProcessesEither) {
  const TemporaryFolder folder;
  const Rank size = 4;
  const auto codec = codec_named("int8:block=64,rounding=stochastic");
  ProcessRanks ranks(size, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(
        options_of(rank, size, folder.place("id"),
                   std::string(GetParam()) == "loopback" ? "auto" : GetParam()));
    ASSERT_TRUE(comm) << comm.status().to_string();
    Floats x = normal(static_cast<uint64_t>(rank) + 1, 100'003);
    Compression compression{.codec = codec.get()};
    const CollectiveCall call{
        .input = x.data(), .output = x.data(), .count = x.size(), .compression = &compression};
    Feedback feedback((*comm)->residual_count(call, true).value());
    compression.next_residual = feedback.next.data();
    const Status status = (*comm)->run(call);
    EXPECT_TRUE(status) << status.to_string();
    uint64_t hash = 0;
    for (const float value : x) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof(bits));
      hash = (hash ^ bits) * 0x100000001B3U;
    }
    report.values[0] = static_cast<int64_t>(hash);
    report.values[1] = std::llround(sum_of(feedback.next) * 1e6);
    report.values[2] = std::llround(sum_of(x) * 1e6);
    report.stage = 1;
  });
  ASSERT_TRUE(ranks.wait_end(milliseconds(60'000)));
  double in = 0;
  double left = 0;
  double magnitude = 0;
  for (Rank r = 0; r < size; ++r) {
    EXPECT_EQ(ranks.report(r).values[0].load(), ranks.report(0).values[0].load());
    const Floats x = normal(static_cast<uint64_t>(r) + 1, 100'003);
    in += sum_of(x);
    for (const float value : x) magnitude += std::abs(static_cast<double>(value));
    left += static_cast<double>(ranks.report(r).values[1].load()) * 1e-6;
  }
  EXPECT_NEAR(static_cast<double>(ranks.report(0).values[2].load()) * 1e-6 + left, in,
              1e-6 * magnitude);
}

TEST(Residuals, TellOfWhatIsNotFiniteAndKeepNoneOfIt) {
  const auto codec = codec_named("int8:block=64");
  RankGroup group(2, "loopback", "coded_one_shot");
  group.each([&](Communicator& comm) {
    Floats input(100, 1.0F);
    if (comm.rank() == 1) {
      input[3] = std::numeric_limits<float>::quiet_NaN();
      input[70] = std::numeric_limits<float>::infinity();
    }
    Floats output(100);
    Floats next(100);
    uint64_t not_finite = 5;
    const Compression compression{
        .codec = codec.get(), .next_residual = next.data(), .not_finite = &not_finite};
    EXPECT_TRUE(comm.run({.input = input.data(),
                          .output = output.data(),
                          .count = 100,
                          .compression = &compression}));
    EXPECT_EQ(not_finite, comm.rank() == 1 ? 7U : 5U);
    for (const float x : next) EXPECT_TRUE(std::isfinite(x));
    for (const float x : output) EXPECT_TRUE(std::isfinite(x));
  });
}

// --- E15 -----------------------------------------------------------------------------------------

// Mean squared error of the average over its mean square.
double error_of(const char* algorithm, Rank size, const std::string& codec_text) {
  const uint64_t count = 65536;
  const auto codec = codec_named(codec_text);
  double error = 0;
  RankGroup group(size, "loopback", algorithm);
  group.each([&](Communicator& comm) {
    const Floats input = normal(static_cast<uint64_t>(comm.rank()) + 1, count);
    const Compression compression{.codec = codec.get()};
    Floats output(count);
    const Status status = comm.run({.input = input.data(),
                                    .output = output.data(),
                                    .count = count,
                                    .reduction = ReduceOp::kAvg,
                                    .compression = &compression});
    ASSERT_TRUE(status) << status.to_string();
    if (comm.rank() != 0) return;
    std::vector<double> exact(count);
    for (Rank r = 0; r < size; ++r) {
      const Floats theirs = normal(static_cast<uint64_t>(r) + 1, count);
      for (size_t i = 0; i < count; ++i) exact[i] += static_cast<double>(theirs[i]) / size;
    }
    double off = 0;
    double square = 0;
    for (size_t i = 0; i < count; ++i) {
      const double difference = static_cast<double>(output[i]) - exact[i];
      off += difference * difference;
      square += exact[i] * exact[i];
    }
    error = off / square;
  });
  return error;
}

TEST(CodedAllReduce, E15_LosesWhatTheTableSays) {
  struct Row {
    Rank size;
    double ring[2], two_shot[2], one_shot[2];  // int8 of 256, int4 of 64
  };
  const Row rows[] = {{4, {1.2e-4, 2.9e-2}, {9.6e-5, 2.3e-2}, {4.8e-5, 1.2e-2}},
                      {8, {2.2e-4, 5.4e-2}, {9.8e-5, 2.4e-2}, {4.9e-5, 1.2e-2}},
                      {16, {4.1e-4, 1.0e-1}, {9.7e-5, 2.3e-2}, {4.8e-5, 1.2e-2}}};
  const char* const codecs[] = {"int8:block=256", "int4:block=64"};
  for (const Row& row : rows) {
    for (size_t c = 0; c < 2; ++c) {
      if (!make_codec(codecs[c])) continue;
      const auto expect = [&](const char* algorithm, double expected) {
        const double got = error_of(algorithm, row.size, codecs[c]);
        EXPECT_NEAR(got, expected, 0.1 * expected)
            << algorithm << " of " << codecs[c] << " among " << row.size;
      };
      expect("coded_ring", row.ring[c]);
      expect("coded_two_shot", row.two_shot[c]);
      expect("coded_one_shot", row.one_shot[c]);
    }
  }
}

}  // namespace
}  // namespace gossamer
