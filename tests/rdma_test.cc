// All collectives over RDMA transports, each rank a process with a device of its own: rank i uses
// rxe<i mod n>, so that what is sent crosses links. Needs tests/rdma-vm: `./dev test --rdma`.
//
// ctest: TIMEOUT 300

#include <cstdlib>
#include <filesystem>

#include "gossamer/transport.h"
#include "tests/exact_calls.h"
#include "tests/process_ranks.h"
#include "tests/share_calls.h"

namespace gossamer {
namespace {

struct Way {
  const char* name;
  const char* transport;
  const char* tls;  // UCX_TLS
  const char* reads = "0";
};
constexpr Way kVerbs{"verbs", "verbs", ""};
constexpr Way kVerbsReading{"verbs_reading", "verbs", "", "1"};
constexpr Way kUcxRc{"ucx_rc", "ucx", "rc_verbs,ud_verbs,self"};
constexpr Way kUcxUd{"ucx_ud", "ucx", "ud_verbs,self"};

int devices() {
  int count = 0;
  while (std::filesystem::exists("/sys/class/infiniband/rxe" + std::to_string(count))) ++count;
  return count;
}

// Why it cannot be used, found out in a process of its own: ranks are forked from one that has not
// loaded it.
std::string missing(const char* transport) {
  if (devices() == 0) return "there is no device rxe0: tests/rdma-vm brings some";
  const pid_t child = ::fork();
  if (child == 0) {
    const TransportFactory* const factory = find_transport(transport);
    ::_exit(factory != nullptr && factory->create({}).is_ok() ? 0 : 1);
  }
  int status = 0;
  const bool works = ::waitpid(child, &status, 0) == child && status == 0;
  return works ? "" : std::string(transport) + " was not built, or its library is not installed";
}

void choose(const Way& way, Rank rank) {
  const std::string device = "rxe" + std::to_string(rank % devices());
  ::setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  ::setenv("GOSSAMER_IB_HCA", ("=" + device).c_str(), 1);
  ::setenv("GOSSAMER_IB_READ", way.reads, 1);
  if (*way.tls == '\0') return;
  ::setenv("UCX_TLS", way.tls, 1);
  ::setenv("UCX_NET_DEVICES", (device + ":1").c_str(), 1);
}

std::vector<ExactCall> calls_of(Collective collective) {
  std::vector<ExactCall> calls;
  constexpr std::array kTypes = {DataType::kFloat32, DataType::kBfloat16, DataType::kInt64};
  uint64_t turn = 0;
  for (const uint64_t count : {1, 1'000, 9'001, 150'001}) {
    for (const bool in_place : {false, true}) {
      ExactCall call;
      call.collective = collective;
      call.type = kTypes[turn++ % kTypes.size()];
      call.op =
          collective == Collective::kAllReduce && turn % 3 == 0 ? ReduceOp::kAvg : ReduceOp::kSum;
      call.count = count;
      call.in_place = in_place;
      calls.push_back(call);
    }
  }
  return calls;
}

// Every algorithm once for each collective.
void run_all(const Way& way, Rank size) {
  for (const Algorithm* algorithm : algorithms()) {
    if (std::string(algorithm->name).starts_with("hierarchical")) continue;  // needs two hosts
    if (has_graph(algorithm->collective)) continue;  // tests/neighbors_test.cc
    if (algorithm->codes) continue;                  // tests/coded_test.cc
    SCOPED_TRACE(testing::Message() << algorithm->name << " on " << size << " ranks");
    const TemporaryFolder folder;
    const std::vector<ExactCall> calls = calls_of(algorithm->collective);
    ProcessRanks ranks(size, [&](Rank rank, Report& report) {
      choose(way, rank);
      Communicator::Options options =
          options_of(rank, size, folder.place("id"), way.transport, milliseconds(60'000));
      options.algorithm = algorithm->name;
      auto comm = Communicator::create(options);
      ASSERT_TRUE(comm) << comm.status().message();
      for (const ExactCall& call : calls) ExactData(call, size).check(**comm);
      report.stage = 1;
    });
    ASSERT_TRUE(ranks.wait_stage(1, milliseconds(120'000)));
    ranks.wait_end(milliseconds(20'000));
    if (testing::Test::HasFailure()) return;
  }
}

void run_shares(const Way& way, Rank size) {
  const TemporaryFolder folder;
  ProcessRanks ranks(size, [&](Rank rank, Report& report) {
    choose(way, rank);
    auto comm = Communicator::create(
        options_of(rank, size, folder.place("id"), way.transport, milliseconds(60'000)));
    ASSERT_TRUE(comm) << comm.status().message();
    for (const uint64_t unit : {1, 400, 40'000}) ShareCalls(**comm, unit).check();
    report.stage = 1;
  });
  ASSERT_TRUE(ranks.wait_stage(1, milliseconds(120'000)));
  ranks.wait_end(milliseconds(20'000));
}

class Rdma : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    const std::string why = missing(GetParam().transport);
    if (why.empty()) return;
    ASSERT_EQ(std::getenv("RDMA_VM"), nullptr) << why;
    GTEST_SKIP() << "skipped: " << why;
  }
};

TEST_P(Rdma, EveryAlgorithmIsExact) {
  run_all(GetParam(), 2);
  if (!HasFailure()) run_all(GetParam(), 3);
}

TEST_P(Rdma, SharesOfDifferentLengthsArriveWhole) {
  run_shares(GetParam(), 2);
  if (!HasFailure()) run_shares(GetParam(), 3);
}

INSTANTIATE_TEST_SUITE_P(Over, Rdma, testing::Values(kVerbs, kVerbsReading, kUcxRc, kUcxUd),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace gossamer
