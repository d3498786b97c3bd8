// What calls compute, compared bit for bit with the serial result.
// ctest: TIMEOUT 1800

#include "gossamer/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gossamer/schedule.h"
#include "tests/exact_calls.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

const std::vector<Rank> kSizes = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                  11, 12, 13, 14, 15, 16, 17, 24, 31, 33};

std::vector<uint64_t> awkward_counts(Rank size) {
  const auto n = static_cast<uint64_t>(size);
  return {0, 1, n - 1, n, n + 1, 1000};
}

// All counts x all collectives; types, operations, roots, places and memory take turns, so that a
// few sizes see every combination. `turn` differs from call to call of this.
std::vector<ExactCall> calls_in_turn(Rank size, uint64_t turn, bool shared_too) {
  std::vector<ExactCall> calls;
  uint64_t k = turn;
  for (const uint64_t count : awkward_counts(size)) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      ++k;
      ExactCall call;
      call.type = static_cast<DataType>(k % kDataTypeCount);
      call.op = static_cast<ReduceOp>((k / 2) % kReduceOpCount);
      call.count = count;
      call.in_place = k % 3 == 0;
      call.shared = shared_too && k % 4 == 1;
      call.shift = k % 5 == 0 ? 3 : 0;
      call.seed = k;
      calls.push_back(call);
    }
    for (int other = 1; other < kCollectiveCount; ++other) {
      ExactCall call = calls.back();
      call.collective = static_cast<Collective>(other);
      if (!reduces(call.collective)) call.op = ReduceOp::kSum;
      call.in_place = (k + static_cast<uint64_t>(other)) % 2 == 0;
      call.root = static_cast<Rank>(k + static_cast<uint64_t>(other) / 2);
      call.seed += 100;
      calls.push_back(call);
    }
  }
  return calls;
}

// Every collective and type with every operation, in and out of place.
std::vector<ExactCall> all_calls(uint64_t count) {
  std::vector<ExactCall> calls;
  for (int type = 0; type < kDataTypeCount; ++type) {
    for (int c = 0; c < kCollectiveCount; ++c) {
      const auto collective = static_cast<Collective>(c);
      for (int op = 0; op < (reduces(collective) ? kReduceOpCount : 1); ++op) {
        ExactCall call;
        call.collective = collective;
        call.type = static_cast<DataType>(type);
        call.op = static_cast<ReduceOp>(op);
        call.count = count;
        call.root = static_cast<Rank>(type + op);
        call.seed = static_cast<uint64_t>(type * 10 + op + c);
        for (const bool in_place : {false, true}) {
          call.in_place = in_place;
          calls.push_back(call);
        }
      }
    }
  }
  return calls;
}

// Three turns of the algorithm's collective; none of algorithms that send codes or need a graph,
// which have tests of their own.
std::vector<ExactCall> calls_of(const Algorithm& algorithm, Rank size, uint64_t turn,
                                bool shared_too) {
  std::vector<ExactCall> calls;
  if (algorithm.codes || has_graph(algorithm.collective)) return calls;
  for (uint64_t repeat = 0; repeat < 3; ++repeat) {
    for (const ExactCall& call : calls_in_turn(size, turn + 7 * repeat, shared_too)) {
      if (call.collective == algorithm.collective) calls.push_back(call);
    }
  }
  return calls;
}

std::vector<std::string> all_reduce_names() {
  std::vector<std::string> names;
  for (const Algorithm* algorithm : algorithms()) {
    if (algorithm->collective != Collective::kAllReduce || algorithm->codes) continue;
    names.emplace_back(algorithm->name);
  }
  return names;
}

void check_by_name(const std::string& transport, const std::vector<Rank>& sizes, bool shared_too) {
  uint64_t turn = 0;
  for (const Algorithm* algorithm : algorithms()) {
    for (const Rank size : sizes) {
      const std::vector<ExactCall> calls = calls_of(*algorithm, size, turn += 23, shared_too);
      if (calls.empty()) break;
      RankGroup group(size, transport, algorithm->name);
      check_calls(group, calls);
    }
  }
}

TEST(Communicator, E1_AllSizesByPriceOverLoopback) {
  for (const Rank size : kSizes) {
    RankGroup group(size, "loopback");
    check_calls(group, calls_in_turn(size, static_cast<uint64_t>(size) * 29, false));
  }
}

TEST(Communicator, E1_AllSizesByPriceOverSharedMemory) {
  for (const Rank size : kSizes) {
    RankGroup group(size, "shm");
    check_calls(group, calls_in_turn(size, static_cast<uint64_t>(size) * 31, true));
  }
}

TEST(Communicator, E1_SomeSizesByPriceOverTcp) {
  for (const Rank size : {2, 3, 5, 8}) {
    RankGroup group(size, "tcp");
    check_calls(group, calls_in_turn(size, static_cast<uint64_t>(size) * 37, true));
  }
}

TEST(Communicator, E1_EveryAlgorithmByNameOverLoopback) {
  check_by_name("loopback", {2, 3, 6, 7, 8, 13, 17, 33}, false);
}

TEST(Communicator, E1_EveryAlgorithmByNameOverSharedMemory) {
  check_by_name("shm", {2, 3, 4, 9, 16}, true);
}

TEST(Communicator, E1_EveryTypeAndOperation) {
  for (const std::string name : {"", "ring", "two_shot", "one_shot", "recursive_doubling"}) {
    for (const Rank size : {1, 2, 5}) {
      RankGroup group(size, "shm", name);
      check_calls(group, all_calls(41));
    }
  }
}

TEST(Communicator, E1_AMillionElements) {
  constexpr uint64_t kCount = 1'000'007;
  uint64_t turn = 0;
  for (const std::string transport : {"loopback", "shm", "tcp"}) {
    for (const std::string name : {"", "ring", "two_shot"}) {
      for (const Rank size : {2, 5}) {
        RankGroup group(size, transport, name);
        std::vector<ExactCall> calls;
        for (const bool shared : {false, true}) {
          ++turn;
          ExactCall call;
          call.type = std::vector{DataType::kFloat32, DataType::kBfloat16, DataType::kInt64,
                                  DataType::kUint8}[turn % 4];
          call.op = turn % 3 == 0 ? ReduceOp::kAvg : ReduceOp::kSum;
          call.count = kCount;
          call.in_place = turn % 2 == 0;
          call.shared = shared;
          calls.push_back(call);
          call.collective = Collective::kAllGather;
          call.op = ReduceOp::kSum;
          calls.push_back(call);
        }
        check_calls(group, calls);
      }
    }
  }
}

// Ranks may differ in whether a call is in place.
TEST(Communicator, RanksMayDifferInPlaceAndMemory) {
  for (const std::string& name : all_reduce_names()) {
    for (const auto& [transport, size] :
         {std::pair("loopback", 4), std::pair("shm", 4), std::pair("shm", 2)}) {
      RankGroup group(size, transport, name);
      for (const uint64_t count : {5, 40'000, 150'001}) {
        ExactCall call;
        call.count = count;
        ExactCall in_place = call;
        in_place.in_place = true;
        in_place.shared = true;
        const ExactData apart(call, size);
        const ExactData together(in_place, size);
        group.each([&](Communicator& comm) {
          (comm.rank() % 2 == 0 ? apart : together).check(comm);
          (comm.rank() % 3 == 0 ? together : apart).check(comm);
        });
      }
    }
  }
}

// All ranks hold the same bits also where the sum is not exact.
TEST(Communicator, E1_SameBitsOnAllRanksWhenSumsRound) {
  for (const std::string& name : all_reduce_names()) {
    RankGroup group(7, "loopback", name);
    for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat8E4M3}) {
      for (const uint64_t count : {3, 1000}) {
        std::vector<std::vector<std::byte>> results(7);
        group.each([&](Communicator& comm) {
          auto& mine = results[static_cast<size_t>(comm.rank())];
          mine.resize(count * size_of(type));
          for (uint64_t i = 0; i < count; ++i) {
            const auto random = scramble(i * 7 + static_cast<uint64_t>(comm.rank()));
            const float value = static_cast<float>(random % 1000) / 777.0F;
            if (type == DataType::kFloat32) {
              put(&mine[i * 4], value);
            } else {
              narrow_one(type, value, &mine[i * size_of(type)]);
            }
          }
          EXPECT_TRUE(comm.all_reduce(mine.data(), mine.data(), count, type, ReduceOp::kAvg));
        });
        for (const auto& result : results) EXPECT_EQ(result, results[0]) << name;
      }
    }
  }
}

// The same plan run many times in a row, so that what one call leaves behind meets the next.
TEST(Communicator, ManyCallsOfOneShape) {
  for (const Rank size : {2, 3}) {
    for (const std::string transport : {"loopback", "shm", "tcp"}) {
      RankGroup group(size, transport);
      std::vector<ExactCall> calls;
      for (const uint64_t count : {1, 12, 1000, 10'000, 60'000, 120'000}) {
        for (uint64_t seed = 0; seed < 4; ++seed) {
          ExactCall call;
          call.count = count;
          call.in_place = true;
          call.seed = seed;
          calls.push_back(call);
        }
      }
      for (int round = 0; round < 3; ++round) check_calls(group, calls);
    }
  }
}

// Relative RMS error of one all-reduce of N(0,1) among `size` ranks.
double rounding_error(Rank size, DataType type, const std::string& algorithm) {
  constexpr uint64_t kCount = 20'000;
  const uint32_t element = size_of(type);
  std::mt19937_64 random(18);
  std::normal_distribution<float> normal;
  std::vector<std::vector<std::byte>> data(static_cast<size_t>(size),
                                           std::vector<std::byte>(kCount * element));
  std::vector<double> exact(kCount);
  for (auto& input : data) {
    for (uint64_t i = 0; i < kCount; ++i) {
      narrow_one(type, normal(random), &input[i * element]);
      exact[i] += widen_one(type, &input[i * element]);
    }
  }
  RankGroup group(size, "loopback", algorithm);
  group.each([&](Communicator& comm) {
    std::byte* const mine = data[static_cast<size_t>(comm.rank())].data();
    EXPECT_TRUE(comm.all_reduce(mine, mine, kCount, type, ReduceOp::kSum));
  });
  double wrong = 0, right = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double error = widen_one(type, &data[0][i * element]) - exact[i];
    wrong += error * error;
    right += exact[i] * exact[i];
  }
  return std::sqrt(wrong / right);
}

TEST(Communicator, E18_RoundingAmongSixtyFourRanks) {
  EXPECT_NEAR(rounding_error(64, DataType::kBfloat16, "ring"), 9.6e-3, 0.15 * 9.6e-3);
  EXPECT_NEAR(rounding_error(64, DataType::kBfloat16, "two_shot"), 1.7e-3, 0.15 * 1.7e-3);
  EXPECT_NEAR(rounding_error(64, DataType::kFloat16, "ring"), 1.2e-3, 0.15 * 1.2e-3);
  EXPECT_NEAR(rounding_error(64, DataType::kFloat16, "two_shot"), 2.1e-4, 0.15 * 2.1e-4);
}

TEST(Communicator, E1_MoreThan2To31Elements) {
  if (std::getenv("GOSSAMER_SOAK") == nullptr) GTEST_SKIP() << "set GOSSAMER_SOAK=1; takes 9 GB";
  constexpr uint64_t kCount = (uint64_t{1} << 31) + 4099;
  RankGroup group(2, "shm");
  std::vector<std::vector<int8_t>> data(2, std::vector<int8_t>(kCount));
  group.each([&](Communicator& comm) {
    auto& mine = data[static_cast<size_t>(comm.rank())];
    for (uint64_t i = 0; i < kCount; ++i) mine[i] = static_cast<int8_t>(i % 61 + comm.rank());
    EXPECT_TRUE(comm.all_reduce(std::span<int8_t>(mine)));
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < kCount; ++i) wrong += mine[i] != static_cast<int8_t>(2 * (i % 61) + 1);
    EXPECT_EQ(wrong, 0U);
  });
}

}  // namespace
}  // namespace gossamer
