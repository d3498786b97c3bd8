// Every collective, type and operation, bit for bit, among 1 to 8 ranks as threads and as
// processes. ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "tests/exact_calls.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

// Collectives x 12 types x operations x in and out of place; counts, roots and memory take turns.
std::vector<ExactCall> all_calls(Rank size, uint64_t turn) {
  const auto n = static_cast<uint64_t>(size);
  const std::vector<uint64_t> counts = {1, n - 1, n + 1, 61, 0, 3 * n + 2};
  std::vector<ExactCall> calls;
  for (int type = 0; type < kDataTypeCount; ++type) {
    for (int c = 0; c < kCollectiveCount; ++c) {
      const auto collective = static_cast<Collective>(c);
      for (int op = 0; op < (reduces(collective) ? kReduceOpCount : 1); ++op) {
        ++turn;
        ExactCall call;
        call.collective = collective;
        call.type = static_cast<DataType>(type);
        call.op = static_cast<ReduceOp>(op);
        call.count = counts[turn % counts.size()];
        call.root = static_cast<Rank>(turn);
        call.shared = turn % 3 == 0;
        call.shift = turn % 5 == 0 ? 1 : 0;
        call.seed = turn;
        for (const bool in_place : {false, true}) {
          call.in_place = in_place;
          calls.push_back(call);
        }
      }
    }
  }
  return calls;
}

using Where = std::tuple<const char*, Rank>;
std::string name_of_place(const testing::TestParamInfo<Where>& info) {
  return std::string(std::get<0>(info.param)) + std::to_string(std::get<1>(info.param));
}

class Threads : public testing::TestWithParam<Where> {};
INSTANTIATE_TEST_SUITE_P(Over, Threads,
                         testing::Combine(testing::Values("loopback", "shm", "tcp"),
                                          testing::Range(1, 9)),
                         name_of_place);

TEST_P(Threads, GetTheExactResultOfEveryCall) {
  const auto [transport, size] = GetParam();
  RankGroup group(size, transport);
  check_calls(group, all_calls(size, static_cast<uint64_t>(size) * 7));
}

class Processes : public testing::TestWithParam<Where> {};
INSTANTIATE_TEST_SUITE_P(Over, Processes,
                         testing::Combine(testing::Values("shm", "tcp"), testing::Range(2, 9)),
                         name_of_place);

TEST_P(Processes, GetTheExactResultOfEveryCall) {
  const auto [transport, size] = GetParam();
  const TemporaryFolder folder;
  ProcessRanks ranks(size, [&, transport = transport, size = size](Rank rank, Report& report) {
    auto comm = Communicator::create(options_of(rank, size, folder.place("id"), transport));
    ASSERT_TRUE(comm) << comm.status().to_string();
    for (const ExactCall& call : all_calls(size, static_cast<uint64_t>(size) * 11)) {
      ExactData(call, size).check(**comm);
    }
    ASSERT_TRUE((*comm)->barrier());
    report.stage = 1;
  });
  EXPECT_TRUE(ranks.wait_end(milliseconds(200'000)));
  for (Rank r = 0; r < size; ++r) EXPECT_EQ(ranks.report(r).stage.load(), 1) << "rank " << r;
}

}  // namespace
}  // namespace gossamer
