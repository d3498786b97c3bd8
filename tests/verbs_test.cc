// ctest: TIMEOUT 300
//
// Needs RDMA devices: `./dev test --rdma` brings some (tests/rdma-vm). There a missing device is a
// failure; elsewhere what needs one is skipped, and says why.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "src/memory_watch.h"
#include "tests/transport_suite.h"
#include "transports/list.h"
#include "transports/verbs/layout.h"
#include "transports/verbs/queue_pair.h"
#include "transports/verbs/selection.h"
#include "transports/verbs/settings.h"

namespace gossamer::suite {

namespace {

// Rank i on device i, as on two machines.
const bool kSpread = ::setenv("GOSSAMER_IB_SPREAD", "rank", 0) == 0;

// Why verbs cannot be used here; empty: it can.
std::string missing() {
  const auto made = verbs_transport.create(make_config(0, 1));
  return made.is_ok() ? "" : made.status().message();
}

}  // namespace

class VerbsDevice : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = missing();
    if (why.empty()) return;
    ASSERT_EQ(std::getenv("RDMA_VM"), nullptr) << why;
    GTEST_SKIP() << why;
  }
};

// The suite's cases come without a fixture of ours: without a device none is made but one that
// says so.
std::vector<TransportCase> cases() {
  if (!missing().empty()) return {};
  return {TransportCase{.name = "verbs",
                        .create = verbs_transport.create,
                        .authenticates = true,
                        .huge_bytes = 32u << 20}};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportSuite);
INSTANTIATE_TEST_SUITE_P(Verbs, TransportSuite, testing::ValuesIn(cases()), case_name);

TEST_F(VerbsDevice, TheSuiteRuns) {
  EXPECT_EQ(cases().size(), 1u);
}

// One message each way of each kind; returns what rank 0 counted for it.
Traffic exchange_once(Ranks* ranks, const std::vector<std::byte>& sent, std::vector<std::byte>* got,
                      Fold* fold) {
  const Traffic before = (*ranks)[0].traffic();
  for (auto& tokens : ranks->done) tokens.clear();
  fold->next = 0;
  (void)ranks->recv(1, 0, 0, sink_of(*got, 1), 1);
  (void)ranks->recv(0, 1, 0, fold->sink(8, 2), 2);
  (void)ranks->send(0, 1, 0, message_of(sent, 1), 3);
  (void)ranks->send(1, 0, 0, message_of(sent, 2), 4);
  ranks->drive([&] { return ranks->tokens(0).size() == 2 && ranks->tokens(1).size() == 2; });
  EXPECT_EQ(*got, sent);
  EXPECT_TRUE(fold->holds(sent));
  const Traffic after = (*ranks)[0].traffic();
  return {.copies = after.copies - before.copies,
          .bytes_copied = after.bytes_copied - before.bytes_copied,
          .registrations = after.registrations - before.registrations,
          .exchanges = after.exchanges - before.exchanges,
          .inline_messages = after.inline_messages - before.inline_messages,
          .staged_messages = after.staged_messages - before.staged_messages,
          .direct_messages = after.direct_messages - before.direct_messages};
}

TEST_F(VerbsDevice, TheSecondTimeNothingIsCopiedRegisteredOrNamed) {
  Ranks ranks(verbs_transport.create, 2);
  ranks.open(0, 1);
  const uint64_t bytes = 1 << 20;
  const auto sent = pattern(bytes, 1);
  std::vector<std::byte> got(bytes);
  Fold fold(bytes, 2);
  const bool watched = MemoryWatch::instance().unavailable().empty();
  if (std::getenv("RDMA_VM") != nullptr) {
    ASSERT_TRUE(watched) << MemoryWatch::instance().unavailable();
  }
  if (!watched) {  // then memory is used in place only if its owner vouches for it
    for (Rank r = 0; r < 2; ++r) {
      ASSERT_TRUE(ranks[r].pin(std::span(const_cast<std::byte*>(sent.data()), bytes)).is_ok());
      ASSERT_TRUE(ranks[r].pin(got).is_ok());
    }
  }
  (void)exchange_once(&ranks, sent, &got, &fold);
  for (int round = 0; round < 3; ++round) {
    std::fill(got.begin(), got.end(), std::byte{0});
    const Traffic second = exchange_once(&ranks, sent, &got, &fold);
    EXPECT_EQ(second.copies, 0u);
    EXPECT_EQ(second.registrations, 0u);
    EXPECT_EQ(second.exchanges, 0u);
    EXPECT_EQ(second.direct_messages, 1u);
  }
}

TEST_F(VerbsDevice, MemoryThatWasUnmappedAndMappedAgainIsNotWrittenInItsOldPlace) {
  if (!MemoryWatch::instance().unavailable().empty()) {
    GTEST_SKIP() << MemoryWatch::instance().unavailable();
  }
  Ranks ranks(verbs_transport.create, 2);
  ranks.open(0, 1);
  const uint64_t bytes = 1 << 20;
  for (Token round = 0; round < 5; ++round) {
    // Large enough that the allocator maps and unmaps it, at the same address again and again.
    std::vector<std::byte> sent = pattern(bytes, round);
    std::vector<std::byte> got(bytes);
    (void)ranks.recv(1, 0, 0, sink_of(got, round), round);
    (void)ranks.send(0, 1, 0, message_of(sent, round), round);
    ranks.drive([&] { return ranks.has(1, round) && ranks.has(0, round); });
    ASSERT_TRUE(got == sent) << round;
  }
}

// A rank in a process of its own, killed at a random moment of an exchange.
TEST_F(VerbsDevice, AKilledProcessIsNoticedByItsPeer) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    std::array<int, 2> down{};
    std::array<int, 2> up{};
    ASSERT_EQ(::pipe(down.data()), 0);
    ASSERT_EQ(::pipe(up.data()), 0);
    TransportConfig config = make_config(0, 2);
    const auto read_address = [](int fd) {
      std::string text;
      for (char c = 0; ::read(fd, &c, 1) == 1 && c != '\n';) text += c;
      return text;
    };
    const auto write_address = [](int fd, const std::string& text) {
      const std::string line = text + "\n";
      return ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    };
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {  // devices are opened after fork(), never shared across it
      config.rank = 1;
      auto made = verbs_transport.create(config);
      if (!made.is_ok() || !write_address(up[1], (*made)->address())) _exit(1);
      const std::string other = read_address(down[0]);
      (void)(*made)->start({other, (*made)->address()});
      Fault fault;
      std::vector<Token> done;
      std::vector<std::byte> bytes(1 << 18);
      while ((*made)->open(0, &fault) == Code::kAgain) (void)(*made)->poll(&done, &fault);
      for (;;) {
        (void)(*made)->send(0, 0, message_of(bytes), 1, &fault);
        (void)(*made)->poll(&done, &fault);
      }
    }
    auto made = verbs_transport.create(config);
    ASSERT_TRUE(made.is_ok()) << made.status().message();
    Transport& self = **made;
    ASSERT_TRUE(write_address(down[1], self.address()));
    ASSERT_TRUE(self.start({self.address(), read_address(up[0])}).is_ok());
    Fault fault;
    std::vector<Token> done;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (self.open(1, &fault) == Code::kAgain && std::chrono::steady_clock::now() < end) {
      (void)self.poll(&done, &fault);
    }
    std::vector<std::byte> got(1 << 18);
    for (unsigned i = 0; i < 1 + seed; ++i) {
      done.clear();
      ASSERT_EQ(self.recv(1, 0, sink_of(got), 1, &fault), Code::kPending) << fault.text.data();
      while (i < seed && done.empty() && fault.code == Code::kOk) (void)self.poll(&done, &fault);
    }
    ::kill(child, SIGKILL);
    const auto before = std::chrono::steady_clock::now();
    while (fault.code == Code::kOk && std::chrono::steady_clock::now() < end) {
      done.clear();
      (void)self.poll(&done, &fault);
      if (!done.empty()) (void)self.recv(1, 0, sink_of(got), 1, &fault);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
    EXPECT_EQ(fault.code, Code::kPeerLost);
    EXPECT_EQ(fault.rank, 1);
    ::waitpid(child, nullptr, 0);
    for (const int fd : {down[0], down[1], up[0], up[1]}) ::close(fd);
  }
}

// Takes rank 1's link down while messages go both ways.
TEST_F(VerbsDevice, ALinkThatGoesDownIsAnErrorThatNamesPeerAndDevice) {
  if (std::getenv("RDMA_VM") == nullptr) GTEST_SKIP() << "would cut this machine's own network";
  Ranks ranks(verbs_transport.create, 2);
  ranks.open(0, 1);
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::vector<std::byte>> got(2, std::vector<std::byte>(sent.size()));
  uint64_t exchanged = 0;
  const auto go_on = [&] {
    for (Rank r = 0; r < 2; ++r) {
      auto& tokens = ranks.tokens(r);
      if (ranks.fault(r).code != Code::kOk || tokens.size() < 2) continue;
      tokens.clear();
      ++exchanged;
      (void)ranks.recv(r, 1 - r, 0, sink_of(got[static_cast<size_t>(r)]), 1);
      (void)ranks.send(r, 1 - r, 0, message_of(sent), 2);
    }
  };
  ranks.tokens(0) = ranks.tokens(1) = {1, 2};
  ranks.drive([&] {
    go_on();
    return exchanged > 10;
  });
  ASSERT_EQ(std::system("ip link set rx1 down"), 0);
  const auto before = std::chrono::steady_clock::now();
  ranks.drive([&] {
    go_on();
    return ranks.fault(0).code != Code::kOk || ranks.fault(1).code != Code::kOk;
  });
  // Who finds out tells the other, as a communicator does.
  const Rank first = ranks.fault(0).code != Code::kOk ? 0 : 1;
  ranks[first].notify(ranks.fault(first));
  ranks.drive([&] { return ranks.fault(1 - first).code != Code::kOk; });
  const auto took = std::chrono::steady_clock::now() - before;
  ASSERT_EQ(std::system("ip link set rx1 up"), 0);
  EXPECT_LT(took, std::chrono::seconds(10));
  const std::string text = ranks.fault(first).text.data();
  EXPECT_EQ(ranks.fault(first).rank, 1 - first);
  EXPECT_NE(text.find(first == 0 ? "rxe0" : "rxe1"), std::string::npos) << text;
  EXPECT_NE(text.find("rank " + std::to_string(1 - first)), std::string::npos) << text;
  for (Rank r = 0; r < 2; ++r) EXPECT_EQ(ranks.fault(r).code, Code::kPeerLost);
}

// Who only waits for what a peer with a dead link will send finds out as well.
TEST_F(VerbsDevice, ARankThatOnlyReceivesFindsOutThatALinkIsDown) {
  if (std::getenv("RDMA_VM") == nullptr) GTEST_SKIP() << "would cut this machine's own network";
  Ranks ranks(verbs_transport.create, 2);
  ranks.open(0, 1);
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::byte> got(sent.size());
  (void)ranks.recv(0, 1, 0, sink_of(got), 1);
  (void)ranks.send(1, 0, 0, message_of(sent), 2);
  ranks.drive([&] { return ranks.has(0, 1) && ranks.has(1, 2); });
  ASSERT_EQ(std::system("ip link set rx1 down"), 0);
  const auto before = std::chrono::steady_clock::now();
  (void)ranks.recv(0, 1, 0, sink_of(got), 3);
  ranks.drive([&] { return ranks.fault(0).code != Code::kOk; });
  const auto took = std::chrono::steady_clock::now() - before;
  ASSERT_EQ(std::system("ip link set rx1 up"), 0);
  EXPECT_LT(took, std::chrono::seconds(10));
  const std::string text = ranks.fault(0).text.data();
  EXPECT_EQ(ranks.fault(0).code, Code::kPeerLost) << text;
  EXPECT_EQ(ranks.fault(0).rank, 1) << text;
  EXPECT_NE(text.find("rxe0"), std::string::npos) << text;
}

// Ranks with two ports each: rank 0 on the first two devices, rank 1 on the next two.
Result<std::unique_ptr<Transport>> create_on_two_ports(const TransportConfig& config) {
  ::setenv("GOSSAMER_IB_HCA", config.rank == 0 ? "=rxe0,rxe1" : "=rxe2,rxe3", 1);
  ::setenv("GOSSAMER_IB_SPREAD", "lane", 1);
  auto made = verbs_transport.create(config);
  ::setenv("GOSSAMER_IB_SPREAD", "rank", 1);
  ::unsetenv("GOSSAMER_IB_HCA");
  return made;
}

class VerbsPorts : public VerbsDevice {
 protected:
  void SetUp() override {
    VerbsDevice::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const char* const devices = std::getenv("RDMA_VM_DEVICES");
    if (devices == nullptr || std::string(devices).find("rxe3") == std::string::npos) {
      GTEST_SKIP() << "takes links down: needs tests/rdma-vm with --devices 4";
    }
  }
  void TearDown() override {
    if (IsSkipped()) return;  // also where there is no such link
    for (const char* link : {"rx0", "rx1", "rx2", "rx3"}) set_link(link, "up");
  }
  static void set_link(const std::string& link, const char* to) {
    EXPECT_EQ(std::system(("ip link set " + link + " " + to).c_str()), 0);
  }
};

// Both lanes, both ways, all kinds of messages: short, long into plain memory, long and folded.
// `at` is called with the number of each round.
void exchange_over_two_lanes(Ranks* ranks, int rounds, const std::function<void(int)>& at) {
  constexpr uint64_t kLong = 1 << 20;
  constexpr uint64_t kShort = 3000;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::vector<std::byte>> sent;
    std::vector<std::vector<std::byte>> got;
    std::vector<std::unique_ptr<Fold>> folds;
    for (auto& tokens : ranks->done) tokens.clear();
    const size_t awaited = 24;  // twelve sends, twelve receives
    for (uint64_t n = 0; n < 12; ++n) {
      sent.push_back(pattern(n % 3 == 0 ? kShort : kLong, static_cast<uint64_t>(round) * 100 + n));
      got.emplace_back(sent.back().size());
      folds.push_back(std::make_unique<Fold>(sent.back().size(), n));
    }
    Token token = 1;
    for (size_t n = 0; n < sent.size(); ++n) {
      const auto to = static_cast<Rank>(n / 6);
      const auto lane = static_cast<Lane>(n % 2);
      const Fingerprint print = n + 1;
      const Sink sink = n % 3 == 2 ? folds[n]->sink(8, print) : sink_of(got[n], print);
      (void)ranks->recv(to, 1 - to, lane, sink, token++);
      (void)ranks->send(1 - to, to, lane, message_of(sent[n], print), token++);
      if (n == 5) at(round);
    }
    ranks->drive([&] {
      return ranks->tokens(0).size() + ranks->tokens(1).size() == awaited ||
             ranks->fault(0).code != Code::kOk || ranks->fault(1).code != Code::kOk;
    });
    ASSERT_EQ(ranks->tokens(0).size() + ranks->tokens(1).size(), awaited) << "round " << round;
    ASSERT_EQ(ranks->fault(0).code, Code::kOk) << ranks->fault(0).text.data();
    ASSERT_EQ(ranks->fault(1).code, Code::kOk) << ranks->fault(1).text.data();
    for (size_t n = 0; n < sent.size(); ++n) {
      if (n % 3 == 2) {
        EXPECT_TRUE(folds[n]->holds(sent[n])) << "round " << round << ", message " << n;
      } else {
        EXPECT_TRUE(got[n] == sent[n]) << "round " << round << ", message " << n;
      }
    }
  }
}

TEST_F(VerbsPorts, ALaneWhosePortFailsGoesOnOverAnotherAndLosesNothing) {
  Ranks ranks(create_on_two_ports, 2);
  ranks.open(0, 1);
  ASSERT_EQ(ranks[0].limits().lanes, 2);
  exchange_over_two_lanes(&ranks, 24, [](int round) {
    if (round == 4) set_link("rx0", "down");  // rank 0's first
    if (round == 10) set_link("rx0", "up");
    if (round == 13) set_link("rx3", "down");  // rank 1's second, which carries both lanes now
    if (round == 18) set_link("rx3", "up");
  });
}

TEST_F(VerbsPorts, WithoutAnyPortLeftThePeerIsLost) {
  Ranks ranks(create_on_two_ports, 2);
  ranks.open(0, 1);
  exchange_over_two_lanes(&ranks, 1, [](int) {});
  set_link("rx2", "down");
  set_link("rx3", "down");
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::byte> got(sent.size());
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  (void)ranks.send(0, 1, 0, message_of(sent), 2);
  const auto before = std::chrono::steady_clock::now();
  ranks.drive([&] { return ranks.fault(0).code != Code::kOk || ranks.fault(1).code != Code::kOk; });
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
  const Rank first = ranks.fault(0).code != Code::kOk ? 0 : 1;
  EXPECT_EQ(ranks.fault(first).code, Code::kPeerLost) << ranks.fault(first).text.data();
  EXPECT_EQ(ranks.fault(first).rank, 1 - first);
}

}  // namespace gossamer::suite

namespace gossamer::verbs {

namespace {

bool takes(const std::string& setting, const std::string& device, int port) {
  const Result<Selection> selection = Selection::parse(setting);
  EXPECT_TRUE(selection.is_ok()) << setting;
  return selection.is_ok() && selection->takes(device, port);
}

TEST(VerbsSettings, RefuseWhatIsOutOfRange) {
  const std::pair<const char*, const char*> bad[] = {{"GOSSAMER_IB_TIMEOUT", "0"},
                                                     {"GOSSAMER_IB_TIMEOUT", "32"},
                                                     {"GOSSAMER_IB_RETRY_CNT", "8"},
                                                     {"GOSSAMER_IB_SL", "16"},
                                                     {"GOSSAMER_IB_TC", "256"},
                                                     {"GOSSAMER_IB_TC", "high"},
                                                     {"GOSSAMER_IB_PCI_RELAXED_ORDERING", "3"}};
  for (const auto& [name, value] : bad) {
    ::setenv(name, value, 1);
    const Result<Settings> read = Settings::read();
    ::unsetenv(name);
    ASSERT_FALSE(read.is_ok()) << name << "=" << value;
    EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
    EXPECT_NE(read.status().message().find(name), std::string::npos) << read.status().message();
  }
  ::setenv("GOSSAMER_IB_TC", "104", 1);
  const Result<Settings> read = Settings::read();
  ::unsetenv("GOSSAMER_IB_TC");
  ASSERT_TRUE(read.is_ok());
  EXPECT_EQ(read->traffic_class, 104);
  EXPECT_EQ(read->timeout, 16);
}

TEST(VerbsLayout, AMoveSurvivesTheWireAndAShorterOneDoesNot) {
  Move move;
  move.lane = 3;
  move.ready = true;
  move.attempt = 7;
  move.taken = uint64_t{1} << 40;
  move.consumed = 12345;
  move.setup.notes.number = 42;
  const std::vector<std::byte> bytes = encode_move(move);
  Move got;
  ASSERT_TRUE(decode_move(bytes, &got));
  EXPECT_EQ(got.lane, move.lane);
  EXPECT_TRUE(got.ready);
  EXPECT_EQ(got.attempt, move.attempt);
  EXPECT_EQ(got.taken, move.taken);
  EXPECT_EQ(got.consumed, move.consumed);
  EXPECT_EQ(got.setup.notes.number, 42u);
  EXPECT_FALSE(decode_move(std::span(bytes).first(bytes.size() - 1), &got));
}

TEST(VerbsRequestId, SurvivesACompletion) {
  const RequestId id{0xFFFF, 63, true, false, RequestId::kNumberMask};
  const RequestId got = RequestId::unpack(id.pack());
  EXPECT_EQ(got.pair, id.pair);
  EXPECT_EQ(got.attempt, id.attempt);
  EXPECT_TRUE(got.notes);
  EXPECT_FALSE(got.received);
  EXPECT_EQ(got.number, id.number);
}

TEST(VerbsSelection, ReadsNamesAsNcclDoes) {
  EXPECT_TRUE(takes("", "mlx5_0", 1));
  EXPECT_TRUE(takes("mlx5", "mlx5_3", 2));
  EXPECT_FALSE(takes("mlx5", "rxe0", 1));
  EXPECT_TRUE(takes("mlx5_1", "mlx5_10", 1)) << "a prefix";
  EXPECT_FALSE(takes("=mlx5_1", "mlx5_10", 1));
  EXPECT_TRUE(takes("=mlx5_1", "mlx5_1", 1));
  EXPECT_TRUE(takes("mlx5_0:2,rxe", "mlx5_0", 2));
  EXPECT_FALSE(takes("mlx5_0:2,rxe", "mlx5_0", 1));
  EXPECT_TRUE(takes("mlx5_0:2,rxe", "rxe1", 1));
  EXPECT_FALSE(takes("^mlx5_0", "mlx5_0", 1));
  EXPECT_TRUE(takes("^mlx5_0", "mlx5_1", 1));
  EXPECT_TRUE(takes("^=mlx5_1:1", "mlx5_10", 1));
  EXPECT_FALSE(takes("^=mlx5_1:1", "mlx5_1", 1));
  EXPECT_TRUE(takes("^=mlx5_1:1", "mlx5_1", 2));
}

TEST(VerbsSelection, RefusesWhatIsNoList) {
  for (const char* setting : {"^", "=", "a,,b", "a:", "a:0", "a:x", ":1", "a:256", "a,"}) {
    const Result<Selection> selection = Selection::parse(setting);
    ASSERT_FALSE(selection.is_ok()) << setting;
    EXPECT_EQ(selection.status().code(), Code::kInvalidArgument);
    EXPECT_NE(selection.status().message().find("GOSSAMER_IB_HCA"), std::string::npos);
  }
}

TEST(VerbsLayout, ASetupSurvivesTheWireAndNothingElseDoes) {
  PairSetup pair;
  pair.data.number = 0x123456;
  pair.data.first_packet = 0xABCDEF;
  pair.notes = {0x654321, 0xFEDCBA};
  pair.lid = 77;
  pair.mtu = 5;
  pair.ethernet = true;
  pair.gid_type = 2;
  pair.gid[15] = std::byte{9};
  pair.ring_address = 0x0123456789ABCDEF;
  pair.ring_key = 0xFEDCBA98;
  const std::vector<PairSetup> sent{pair, PairSetup{}};
  const std::vector<std::byte> bytes = encode_setup(1 << 19, sent);
  ASSERT_EQ(bytes.size(), setup_bytes(2));
  std::vector<PairSetup> got;
  ASSERT_TRUE(decode_setup(bytes, 1 << 19, &got).is_ok());
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].data.number, pair.data.number);
  EXPECT_EQ(got[0].data.first_packet, pair.data.first_packet);
  EXPECT_EQ(got[0].notes.number, pair.notes.number);
  EXPECT_EQ(got[0].notes.first_packet, pair.notes.first_packet);
  EXPECT_EQ(got[0].lid, pair.lid);
  EXPECT_EQ(got[0].mtu, pair.mtu);
  EXPECT_TRUE(got[0].ethernet);
  EXPECT_EQ(got[0].gid_type, pair.gid_type);
  EXPECT_EQ(got[0].gid, pair.gid);
  EXPECT_EQ(got[0].ring_address, pair.ring_address);
  EXPECT_EQ(got[0].ring_key, pair.ring_key);
  EXPECT_FALSE(decode_setup(bytes, 1 << 18, &got).is_ok()) << "another ring";
  EXPECT_FALSE(decode_setup(std::span(bytes).first(bytes.size() - 1), 1 << 19, &got).is_ok());
  for (const size_t at : {size_t{0}, size_t{4}, size_t{6}, size_t{7}}) {
    auto broken = bytes;
    broken[at] ^= std::byte{1};
    EXPECT_FALSE(decode_setup(broken, 1 << 19, &got).is_ok()) << at;
  }
}

}  // namespace

}  // namespace gossamer::verbs
