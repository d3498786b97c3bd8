// Compressed all-reduces among ranks on several hosts, as tests/hosts_test.cc makes them: codes
// between hosts, elements inside.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/coded_calls.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

constexpr Rank kRanks = 4;  // on two hosts
constexpr uint64_t kCount = 40'007;

std::vector<Floats> inputs() {
  std::vector<Floats> all;
  for (Rank r = 0; r < kRanks; ++r) all.push_back(normal(static_cast<uint64_t>(r) + 1, kCount));
  return all;
}

// Sums inside hosts, then two shots between them, of each rank's block.
Floats reference_of(const Codec& codec, uint32_t pieces) {
  const auto x = inputs();
  const Reference cut{codec, DataType::kFloat32, true, kRanks, pieces};
  Floats result(kCount);
  for (uint32_t p = 0; p < pieces; ++p) {
    const Slice piece = cut.block_of(kCount, static_cast<Rank>(pieces), static_cast<Rank>(p));
    for (Rank place : {0, 1}) {
      const Slice block = cut.block_of(piece.count, 2, place);
      for (Rank host : {0, 1}) {
        const Slice part = cut.block_of(block.count, 2, host);
        const uint64_t first = piece.first + block.first + part.first;
        const auto sum_of_host = [&](size_t a, size_t b) {
          Floats sum(part.count);
          for (uint64_t i = 0; i < part.count; ++i) sum[i] = x[a][first + i] + x[b][first + i];
          return decoded(codec, sum);
        };
        Floats sum = Reference::added(sum_of_host(0, 1), sum_of_host(2, 3));
        for (float& value : sum) value /= static_cast<float>(kRanks);
        sum = decoded(codec, sum);
        std::copy(sum.begin(), sum.end(), result.begin() + static_cast<ptrdiff_t>(first));
      }
    }
  }
  return result;
}

TEST(CodedHosts, LoseNothingInsideThem) {
  const TemporaryFolder folder;
  const auto codec = codec_named("int8:block=64");
  ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
    setenv("GOSSAMER_HOSTID", rank < 2 ? "a" : "b", 1);
    setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
    Communicator::Options options = options_of(rank, kRanks, folder.place("id"), "auto");
    options.algorithm = "coded_hierarchical";
    auto comm = Communicator::create(options);
    ASSERT_TRUE(comm) << comm.status().to_string();
    const Floats input = inputs()[static_cast<size_t>(rank)];
    for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
      auto x = elements_of(type, input);
      Compression compression{.codec = codec.get()};
      const CollectiveCall call{.input = x.data(),
                                .output = x.data(),
                                .count = kCount,
                                .type = type,
                                .reduction = ReduceOp::kAvg,
                                .compression = &compression};
      const auto choice = (*comm)->explain(call, true);
      ASSERT_TRUE(choice) << choice.status().to_string();
      EXPECT_EQ(choice->algorithm, "coded_hierarchical");
      Floats next((*comm)->residual_count(call, true).value(), 1e30F);
      compression.next_residual = next.data();
      const Status status = (*comm)->run(call);
      ASSERT_TRUE(status) << status.to_string();
      for (const float left : next) ASSERT_LT(std::abs(left), 1.0F);
      const Floats expected = reference_of(*codec, choice->pieces);
      if (type == DataType::kFloat32) {
        EXPECT_EQ(floats_of(type, x), expected);
      } else {
        const Floats got = floats_of(type, x);
        for (uint64_t i = 0; i < kCount; ++i) ASSERT_NEAR(got[i], expected[i], 0.1) << i;
      }
      uint64_t hash = 0;
      for (const std::byte b : x) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001B3U;
      report.values[static_cast<size_t>(type) % 8] = static_cast<int64_t>(hash);
    }
  });
  ASSERT_TRUE(ranks.wait_end(milliseconds(60'000)));
  for (Rank r = 1; r < kRanks; ++r) {
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(ranks.report(r).values[i].load(), ranks.report(0).values[i].load());
    }
  }
}

}  // namespace
}  // namespace gossamer
