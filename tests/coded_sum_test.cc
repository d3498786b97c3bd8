// All-reduces and reduce-scatters whose codes are added as they are: proofs, and runs against what
// a serial reference gives.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gossamer/code_sums.h"
#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "src/plan.h"
#include "src/verify.h"
#include "tests/coded_calls.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr const char* kAdding[] = {"int8_shared:block=64", "thc:block=256", "dct:chunk=8,keep=8",
                                   "count_sketch:rows=3,ratio=1,keep=0.2"};

// --- proofs --------------------------------------------------------------------------------------

TEST(CodedSum, IsProvedWithAndWithoutNumbersToAgreeOn) {
  for (const char* text : {"int8_shared:block=3", "thc:block=64", "dct:dims=1,chunk=4,keep=1",
                           "count_sketch:rows=1"}) {
    const auto codec = codec_named(text);
    for (const Collective collective : {Collective::kAllReduce, Collective::kReduceScatter}) {
      const char* const name =
          collective == Collective::kAllReduce ? "coded_sum" : "coded_sum_reduce_scatter";
      for (Rank size = 1; size <= 64; size += size < 9 ? 1 : 11) {
        const auto n = static_cast<uint64_t>(size);
        for (const uint64_t count : {uint64_t{0}, uint64_t{1}, n - 1, n + 1, 20 * n + 7}) {
          for (const bool in_place : {false, true}) {
            const Call call{.collective = collective,
                            .type = in_place ? DataType::kBfloat16 : DataType::kFloat32,
                            .op = in_place ? ReduceOp::kAvg : ReduceOp::kSum,
                            .count = count,
                            .in_place = in_place,
                            .codec = codec.get()};
            const Verdict v =
                verify(*find_algorithm(collective, name), call, size, {}, in_place ? 3 : 1, 2);
            EXPECT_TRUE(v.proved())
                << text << ", " << size << " ranks, " << count << ": " << v.reason;
          }
        }
      }
    }
  }
}

TEST(CodedSum, ReducesToARootAreProvedOfVotesAndOfCodesThatAreDecoded) {
  const std::pair<const char*, const char*> kinds[] = {{"majority", "coded_two_shot_reduce"},
                                                       {"thc:block=64", "coded_direct_reduce"},
                                                       {"count_sketch", "coded_direct_reduce"}};
  for (const auto& [text, name] : kinds) {
    const auto codec = codec_named(text);
    for (const Rank size : {1, 2, 5, 8}) {
      for (Rank root = 0; root < size; root += 3) {
        for (const uint64_t count : {0, 3, 170}) {
          const Call call{.collective = Collective::kReduce,
                          .op = ReduceOp::kAvg,
                          .count = count,
                          .root = root,
                          .codec = codec.get()};
          const Verdict v = verify(*find_algorithm(call.collective, name), call, size, {}, 1, 2);
          EXPECT_TRUE(v.proved()) << text << ", " << size << " ranks, " << count << ": "
                                  << v.reason;
        }
      }
    }
  }
}

TEST(CodedSum, TakesCodesThatAreAddedAndOthersTakeNone) {
  const auto adding = codec_named("thc");
  const auto votes = codec_named("majority");
  for (const Algorithm* algorithm : algorithms()) {
    if (!algorithm->codes || !reduces(algorithm->collective)) continue;
    const std::string name = algorithm->name;
    const std::vector<Rank> hosts = {0, 0, 1, 1};
    const auto accepts = [&](const Codec* codec, std::span<const Rank> on) {
      return algorithm->accepts({.size = 4, .count = 9, .hosts = on, .codec = codec});
    };
    const bool sums =
        name == "coded_sum" || name == "coded_sum_reduce_scatter" || name == "coded_direct_reduce";
    const bool counts = name == "coded_two_shot" || name == "coded_two_shot_reduce" ||
                        name == "coded_reduce_scatter";
    for (const std::span<const Rank> on : {std::span<const Rank>(), std::span<const Rank>(hosts)}) {
      EXPECT_EQ(accepts(adding.get(), on), sums) << name;
      EXPECT_EQ(accepts(votes.get(), on), counts) << name;
    }
  }
}

// --- runs ----------------------------------------------------------------------------------------

class CodedSumOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedSumOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

// What codecs that draw nothing of their own give, a block after another.
Floats sum_of_codes(const Codec& codec, const std::vector<Floats>& inputs, uint64_t first,
                    uint64_t count, uint64_t element_first) {
  const CodeSums& sums = *codec.sums();
  const auto ranks = static_cast<uint32_t>(inputs.size());
  const auto run_of = [&](const Floats& input) { return std::span(input).subspan(first, count); };
  Floats numbers(sums.agreed_count(count));
  for (const Floats& input : inputs) {
    Floats mine(numbers.size());
    sums.measure(run_of(input), mine);
    for (size_t i = 0; i < mine.size(); ++i) numbers[i] = std::max(numbers[i], mine[i]);
  }
  std::vector<std::byte> sum(sums.sum_bytes(count, ranks));
  for (uint32_t r = 0; r < ranks; ++r) {
    std::vector<std::byte> code(codec.bytes_max(count));
    std::vector<std::byte> workspace(codec.workspace_bytes(count));
    (void)sums.encode_agreed(run_of(inputs[r]), numbers, {.own = 1, .first = element_first}, code,
                             workspace);
    if (r == 0) {
      sums.begin_sum(code, count, ranks, sum);
    } else {
      EXPECT_TRUE(sums.add_code(code, count, ranks, sum));
    }
  }
  Floats values(count);
  sums.decode_sum(sum, ranks, values);
  return values;
}

TEST_P(CodedSumOver, IsWhatASerialReferenceGives) {
  const Rank size = 4;
  for (const char* text : {kAdding[0], kAdding[2], kAdding[3]}) {
    const auto codec = codec_named(text);
    RankGroup group(size, GetParam());
    group.each([&](Communicator& comm) {
      for (const uint64_t count : {0, 1, 3, 1000, 30'011}) {
        for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
          for (const bool in_place : {false, true}) {
            const std::vector<Floats> inputs = inputs_of(type, size, count);
            auto input = elements_of(type, inputs[static_cast<size_t>(comm.rank())]);
            std::vector<std::byte> output(input.size());
            const Compression compression{.codec = codec.get()};
            const CollectiveCall call{.input = input.data(),
                                      .output = in_place ? input.data() : output.data(),
                                      .count = count,
                                      .type = type,
                                      .reduction = in_place ? ReduceOp::kAvg : ReduceOp::kSum,
                                      .compression = &compression};
            const auto choice = comm.explain(call, in_place);
            ASSERT_TRUE(choice) << choice.status().to_string();
            ASSERT_EQ(choice->algorithm, "coded_sum");
            const Status status = comm.run(call);
            ASSERT_TRUE(status) << status.to_string();
            const Reference reference{*codec, type, in_place, size, choice->pieces};
            std::vector<std::byte> expected(input.size());
            reference.for_each_block(count, true, [&](uint64_t first, uint64_t length, Rank) {
              if (length == 0) return;
              reference.settle(sum_of_codes(*codec, inputs, first, length, first),
                               expected.data() + first * size_of(type));
            });
            EXPECT_EQ(in_place ? input : output, expected)
                << text << " " << count << " " << name_of(type);
          }
        }
      }
    });
  }
}

// The same bits on all ranks, near the sum where the codec is near its input, of every type.
TEST_P(CodedSumOver, EveryCodecGivesAllRanksTheSameBits) {
  const Rank size = 4;
  const uint64_t count = 20'011;
  for (const char* text : kAdding) {
    const auto codec = codec_named(text);
    RankGroup group(size, GetParam());
    for (const DataType type :
         {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16, DataType::kFloat64}) {
      const std::vector<Floats> inputs = inputs_of(type, size, count);
      std::vector<std::vector<std::byte>> outputs(size);
      group.each([&](Communicator& comm) {
        const auto rank = static_cast<size_t>(comm.rank());
        auto input = elements_of(type, inputs[rank]);
        outputs[rank].resize(input.size());
        const Compression compression{.codec = codec.get(), .draws = {.own = 5, .shared = 5}};
        const Status status = comm.run({.input = input.data(),
                                        .output = outputs[rank].data(),
                                        .count = count,
                                        .type = type,
                                        .compression = &compression});
        ASSERT_TRUE(status) << status.to_string();
      });
      for (const auto& other : outputs) EXPECT_EQ(other, outputs[0]) << text;
      const Floats sum = floats_of(type, outputs[0]);
      double error = 0;
      double norm = 0;
      for (size_t i = 0; i < count; ++i) {
        double exact = 0;
        for (const Floats& input : inputs) exact += static_cast<double>(input[i]);
        error += (exact - static_cast<double>(sum[i])) * (exact - static_cast<double>(sum[i]));
        norm += exact * exact;
      }
      const std::string name = text;
      const double most = name.starts_with("int8") ? 3e-4 : name.starts_with("thc") ? .03 : 3;
      EXPECT_LT(error, most * norm) << text << " " << name_of(type);
    }
  }
}

TEST_P(CodedSumOver, ReduceScatterIsTheShareOfAnAllReduce) {
  const Rank size = 3;
  const uint64_t count = 1500;
  const auto codec = codec_named("int8_shared:block=64");
  RankGroup group(size, GetParam());
  const std::vector<Floats> inputs = inputs_of(DataType::kFloat32, size, count * size);
  group.each([&](Communicator& comm) {
    const auto rank = static_cast<size_t>(comm.rank());
    Floats share(count);
    const Compression compression{.codec = codec.get()};
    const CollectiveCall call{.collective = Collective::kReduceScatter,
                              .input = inputs[rank].data(),
                              .output = share.data(),
                              .count = count,
                              .compression = &compression};
    const auto choice = comm.explain(call, false);
    ASSERT_TRUE(choice) << choice.status().to_string();
    const Status status = comm.run(call);
    ASSERT_TRUE(status) << status.to_string();
    const Reference reference{*codec, DataType::kFloat32, false, size, choice->pieces};
    reference.for_each_block(count, false, [&](uint64_t first, uint64_t length, Rank) {
      const uint64_t at = rank * count + first;
      const Floats expected = sum_of_codes(*codec, inputs, at, length, at);
      for (size_t i = 0; i < length; ++i) ASSERT_EQ(share[first + i], expected[i]) << i;
    });
  });
}

// (N - 1)/N of the numbers twice, of the codes, and of their sums.
TEST_P(CodedSumOver, SendsCodesUpAndSumsDown) {
  const auto codec = codec_named("thc:block=1024");
  RankGroup group(4, GetParam(), "coded_sum");
  group.each([&](Communicator& comm) {
    Floats x = normal(1, 1 << 16);
    const Compression compression{.codec = codec.get()};
    const CollectiveCall call{
        .input = x.data(), .output = x.data(), .count = x.size(), .compression = &compression};
    const auto choice = comm.explain(call, true);
    ASSERT_TRUE(choice);
    const uint64_t before = comm.counters().bytes_sent;
    EXPECT_TRUE(comm.run(call));
    const uint64_t block = x.size() / 4 / choice->pieces;
    const uint64_t each = 2 * 4 * codec->sums()->agreed_count(block) + codec->bytes_max(block) +
                          codec->sums()->sum_bytes(block, 4);
    EXPECT_EQ(comm.counters().bytes_sent - before, 3 * each * choice->pieces);
  });
}

// E16: what comes out and what is kept are what went in.
TEST_P(CodedSumOver, WhatIsLostIsInTheResiduals) {
  const Rank size = 4;
  const uint64_t count = 5000;
  for (const char* text : {kAdding[0], kAdding[1], kAdding[2]}) {
    const auto codec = codec_named(text);
    RankGroup group(size, GetParam());
    const std::vector<Floats> inputs = inputs_of(DataType::kFloat32, size, count);
    std::vector<Floats> residuals(size, Floats(count));
    std::vector<double> sum(count);
    Floats result(count);
    for (uint64_t turn = 0; turn < 3; ++turn) {
      for (const Floats& input : inputs) {
        for (size_t i = 0; i < count; ++i) sum[i] += static_cast<double>(input[i]);
      }
      group.each([&](Communicator& comm) {
        const auto rank = static_cast<size_t>(comm.rank());
        Floats output(count);
        Floats next(count);
        const Compression compression{.codec = codec.get(),
                                      .residual = residuals[rank].data(),
                                      .next_residual = next.data(),
                                      .draws = {.own = turn, .shared = turn}};
        const CollectiveCall call{.input = inputs[rank].data(),
                                  .output = output.data(),
                                  .count = count,
                                  .compression = &compression};
        ASSERT_EQ(comm.residual_count(call, false).value(), count);
        const Status status = comm.run(call);
        ASSERT_TRUE(status) << status.to_string();
        residuals[rank] = next;
        if (rank == 0) result = output;
      });
      for (size_t i = 0; i < count; ++i) sum[i] -= static_cast<double>(result[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      double kept = 0;
      for (const Floats& residual : residuals) kept += static_cast<double>(residual[i]);
      ASSERT_NEAR(sum[i], kept, 1e-4) << text << " " << i;
    }
  }
}

TEST_P(CodedSumOver, RanksThatDrewOtherSignsAreTold) {
  const auto codec = codec_named("thc:block=256");
  RankGroup group(2, GetParam());
  group.each([&](Communicator& comm) {
    Floats x = normal(1, 1000);
    const Compression compression{.codec = codec.get(),
                                  .draws = {.shared = static_cast<uint64_t>(comm.rank())}};
    const Status status = comm.run(
        {.input = x.data(), .output = x.data(), .count = x.size(), .compression = &compression});
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_GE(status.rank(), 0) << status.to_string();
    EXPECT_NE(status.message().find("Draws::shared"), std::string::npos) << status.to_string();
    EXPECT_EQ(status.message().find("rank -1"), std::string::npos) << status.to_string();
  });
}

}  // namespace
}  // namespace gossamer
