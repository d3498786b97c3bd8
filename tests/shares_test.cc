// Collectives whose shares differ in length, over every transport that needs no device; those that
// do are in rdma_test.
//
// ctest: TIMEOUT 300

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/transport.h"
#include "tests/process_ranks.h"
#include "tests/rank_group.h"
#include "tests/share_calls.h"

namespace gossamer {
namespace {

#if defined(__SANITIZE_THREAD__)
// UCX patches the calls that map memory, as the thread sanitizer does: one of the two crashes.
[[maybe_unused]] const int kNoHooks = ::setenv("UCX_MEM_EVENTS", "no", 1);
#endif

struct Way {
  const char* name;
  const char* transport;
  const char* tls;  // UCX_TLS
};

class SharesOver : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    const TransportFactory* const factory = find_transport(GetParam().transport);
    ASSERT_NE(factory, nullptr);
    if (*GetParam().tls == '\0') return;
    ::setenv("UCX_TLS", GetParam().tls, 1);
    const auto made = factory->create({});
    if (!made) GTEST_SKIP() << "skipped: " << made.status().message();
  }
  void TearDown() override { ::unsetenv("UCX_TLS"); }
};
INSTANTIATE_TEST_SUITE_P(Transports, SharesOver,
                         testing::Values(Way{"loopback", "loopback", ""}, Way{"shm", "shm", ""},
                                         Way{"tcp", "tcp", ""}, Way{"ucx_tcp", "ucx", "tcp,self"},
                                         Way{"ucx_shm", "ucx", "posix,sysv,cma,self"}),
                         [](const auto& way) { return std::string(way.param.name); });

TEST_P(SharesOver, ArriveWhole) {
  for (const Rank size : {1, 2, 5}) {
    RankGroup group(size, GetParam().transport);
    ASSERT_TRUE(group.complete());
    for (const uint64_t unit : {1, 400, 40'000}) {
      SCOPED_TRACE(testing::Message() << size << " ranks, shares of up to " << 4 * unit);
      group.each([&](Communicator& comm) { ShareCalls(comm, unit).check(); });
    }
  }
}

TEST(Shares, ThatDoNotFitAreRefused) {
  RankGroup group(2);
  Communicator& comm = group[0];
  std::vector<int64_t> values(10);
  const std::vector<uint64_t> one = {5}, two = {5, 5}, huge = {0, UINT64_MAX};
  const auto expect = [](const Status& status, const std::string& part) {
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  int64_t* const x = values.data();
  expect(comm.all_gather_v(x, 5, x, {one, two}, DataType::kInt64), "one of each per rank");
  expect(comm.all_gather_v(x, 4, x, {two, two}, DataType::kInt64), "own entry");
  expect(comm.all_gather_v(x, 5, x, {two, huge}, DataType::kInt64), "overflows");
  expect(comm.gather_v(x, 5, x, {two, two}, DataType::kInt64, 2), "no rank 2");
  expect(comm.scatter_v(nullptr, {two, two}, x, 5, DataType::kInt64, 0), "null");
  expect(comm.all_to_all_v(x, {two, two}, x, {}, DataType::kInt64), "one of each per rank");
  EXPECT_TRUE(comm.status());
}

TEST(Shares, ThatDoNotAgreeAreAMismatch) {
  RankGroup group(2, "shm");
  std::atomic<int> left{2};
  group.each([&](Communicator& comm) {
    std::vector<int64_t> in(10), out(10);
    // Rank 1 expects one element more from rank 0 than it sends.
    const std::vector<uint64_t> counts = {comm.rank() == 0 ? 3U : 4U, 3U};
    const std::vector<uint64_t> displacements = {0, 4}, own = {3, 3};
    Status status = comm.all_to_all_v(in.data(), {own, displacements}, out.data(),
                                      {counts, displacements}, DataType::kInt64);
    while (status) status = comm.all_reduce(std::span(in));
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    --left;
    while (left > 0) std::this_thread::sleep_for(milliseconds(1));
  });
}

}  // namespace
}  // namespace gossamer
