// The transport suite over UCX's tcp, its shared memory and, where there are devices, RDMA.
//
// ctest: TIMEOUT 900

#include "transports/ucx/ucx.h"

#include <cstdlib>
#include <filesystem>

#include "tests/transport_suite.h"
#include "topology/machine.h"
#include "transports/list.h"

namespace gossamer::suite {

namespace {

#if defined(__SANITIZE_THREAD__)
// UCX patches the calls that map memory, as the thread sanitizer does: one of the two crashes.
[[maybe_unused]] const int kNoHooks = ::setenv("UCX_MEM_EVENTS", "no", 1);
#endif

constexpr const char* kTcp = "tcp,self";
constexpr const char* kRdma = "rc_verbs,ud_verbs,self";
constexpr const char* kSharedMemory = "posix,sysv,cma,self";

TransportCase over(const char* name, const ucx::Options& options) {
  return {.name = name,
          .create = [options](const TransportConfig& c) { return ucx::create(c, options); },
          .authenticates = true};
}

// Why these tests cannot run, or nothing.
std::string unavailable() {
  const auto made = ucx::create(make_config(0, 1), {});
  return made.is_ok() ? "" : made.status().message();
}

std::vector<TransportCase> cases() {
  if (!unavailable().empty()) return {};
  std::vector<TransportCase> all = {over("tcp", {.tls = kTcp}),
                                    over("tcp_puts", {.tls = kTcp, .emulated_puts = true}),
                                    over("shm", {.tls = kSharedMemory})};
  // Only where there are RDMA devices, such as in tests/rdma-vm.
  std::error_code none;
  const std::filesystem::directory_iterator devices("/sys/class/infiniband", none);
  if (!none && devices != std::filesystem::directory_iterator()) {
    all.push_back(over("rc", {.tls = kRdma}));
  }
  return all;
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportSuite);
INSTANTIATE_TEST_SUITE_P(Ucx, TransportSuite, testing::ValuesIn(cases()), case_name);

TEST(Ucx, IsThereOrSaysWhatToInstall) {
  const std::string why = unavailable();
  if (why.empty()) return;
  EXPECT_NE(why.find("libucx"), std::string::npos) << why;
  GTEST_SKIP() << "skipped: " << why;
}

TEST(Ucx, AnUnknownTransportOfUcxIsUnavailableAndSaysWhereToLook) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  const auto made = ucx::create(make_config(0, 1), {.tls = "nosuchthing"});
  ASSERT_FALSE(made.is_ok());
  EXPECT_EQ(made.status().code(), Code::kUnavailable);
  EXPECT_NE(made.status().message().find("UCX_TLS"), std::string::npos) << made.status().message();
}

// Shared memory and tcp's loopback want different algorithms.
TEST(Ucx, IsPricedAsWhatItUses) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  Ranks within(over("", {.tls = kSharedMemory}).create, 2);
  EXPECT_STREQ(within[0].priced_as(), "ucx+shm");
  EXPECT_STREQ(within[1].priced_as(), "ucx+shm");
  Ranks beyond(over("", {.tls = kTcp}).create, 2);
  EXPECT_STREQ(beyond[0].priced_as(), "ucx");
  EXPECT_LT(default_machine(2, "ucx+shm").same_host.overhead_us,
            default_machine(2, "ucx").same_host.overhead_us);
}

// --- what messages cost once memory is known -----------------------------------------------------

// Sends `sent` from rank 0 into `sink` of rank 1, which is posted before or after.
void pass(Ranks* ranks, const std::vector<std::byte>& sent, const Sink& sink, bool posted_before) {
  ranks->tokens(0).clear();
  ranks->tokens(1).clear();
  if (posted_before) (void)ranks->recv(1, 0, 0, sink, 1);
  (void)ranks->send(0, 1, 0, message_of(sent), 1);
  for (int i = 0; i < 20; ++i) ranks->step();
  if (!posted_before) (void)ranks->recv(1, 0, 0, sink, 1);
  ranks->drive([&] { return ranks->has(1, 1) && ranks->has(0, 1); });
}

Traffic both(Ranks* ranks) {
  Traffic sum = (*ranks)[0].traffic();
  sum += (*ranks)[1].traffic();
  return sum;
}

// Over each way that UCX may be told to take: memory is described once, and long messages are
// copied only where they leave a landing area for a sink that does not fold.
TEST(UcxCost, LongMessagesThatRepeatDescribeAndRegisterNothing) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  for (const TransportCase& way : cases()) {
    Ranks ranks(way.create, 2);
    ranks.open(0, 1);
    for (const uint64_t bytes : {uint64_t{10000}, uint64_t{300'000}, uint64_t{5} << 20}) {
      const auto sent = pattern(bytes, bytes);
      std::vector<std::byte> got(bytes);
      Fold fold(bytes, 1);
      ASSERT_TRUE(ranks[1].pin(got));
      const auto round = [&](bool posted_before) {
        std::fill(got.begin(), got.end(), std::byte{0});
        pass(&ranks, sent, sink_of(got), posted_before);
        ASSERT_EQ(got, sent) << way.name << ", " << bytes;
        fold.next = 0;
        pass(&ranks, sent, fold.sink(8), posted_before);
        ASSERT_TRUE(fold.holds(sent)) << way.name << ", " << bytes;
      };
      round(true);
      const Traffic before = both(&ranks);
      for (int i = 0; i < 5; ++i) round(true);
      const Traffic posted = both(&ranks);
      EXPECT_EQ(posted.exchanges, before.exchanges) << way.name << ", " << bytes;
      EXPECT_EQ(posted.registrations, before.registrations) << way.name << ", " << bytes;
      EXPECT_EQ(posted.direct_messages - before.direct_messages, 10U);
      const bool lands = way.name == "shm";
      EXPECT_EQ(posted.bytes_copied - before.bytes_copied, lands ? 5 * bytes : 0) << way.name;
      for (int i = 0; i < 3; ++i) round(false);
      EXPECT_EQ(both(&ranks).exchanges, before.exchanges) << way.name << ", " << bytes;
      ranks[1].unpin(got);
    }
  }
}

// Where a device of UCX's writes the receiver's memory, here an emulated one, it is named once;
// other memory costs one more exchange.
TEST(UcxCost, NewMemoryCostsOneExchange) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  Ranks ranks(over("", {.tls = kTcp, .emulated_puts = true}).create, 2);
  ranks.open(0, 1);
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::byte> first(sent.size()), second(sent.size());
  ASSERT_TRUE(ranks[1].pin(first));
  ASSERT_TRUE(ranks[1].pin(second));
  const auto exchanges = [&](std::vector<std::byte>& into) {
    const uint64_t before = both(&ranks).exchanges;
    pass(&ranks, sent, sink_of(into), true);
    EXPECT_EQ(into, sent);
    return both(&ranks).exchanges - before;
  };
  EXPECT_EQ(exchanges(first), 1U);
  EXPECT_EQ(exchanges(first), 0U);
  EXPECT_EQ(exchanges(second), 1U);
  EXPECT_EQ(exchanges(second), 0U);
  EXPECT_EQ(exchanges(first), 0U);
  ranks[1].unpin(second);
  ranks[1].unpin(first);
}

// A receiver that has not called yet, or calls something else, must not be waited for in vain.
TEST(UcxCost, ALongMessageThatIsNotExpectedIsAMismatch) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  for (const TransportCase& way : cases()) {
    Ranks ranks(way.create, 2);
    ranks.open(0, 1);
    const auto sent = pattern(1 << 20, 1);
    std::vector<std::byte> got(64);
    (void)ranks.recv(1, 0, 0, sink_of(got), 1);
    (void)ranks.send(0, 1, 0, message_of(sent), 1);
    ranks.drive([&] { return ranks.fault(1).code != Code::kOk; });
    EXPECT_EQ(ranks.fault(1).code, Code::kMismatch) << way.name;
    EXPECT_EQ(ranks.fault(1).arrived_bytes, sent.size()) << way.name;
  }
}

}  // namespace gossamer::suite
