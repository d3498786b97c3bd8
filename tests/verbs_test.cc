// ctest: TIMEOUT 300

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "src/memory_watch.h"
#include "tests/transport_suite.h"
#include "tests/verbs_device.h"

namespace gossamer::suite {

// The suite's cases come without a fixture of ours: without a device none is made but one that
// says so.
std::vector<TransportCase> cases() {
  if (!missing().empty()) return {};
  const TransportCase writing{.name = "verbs",
                              .create = verbs_transport.create,
                              .authenticates = true,
                              .huge_bytes = 32u << 20};
  TransportCase reading = writing;
  reading.name = "verbs_reading";
  reading.create = create_reading;
  return {writing, reading};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportSuite);
INSTANTIATE_TEST_SUITE_P(Verbs, TransportSuite, testing::ValuesIn(cases()), case_name);

TEST_F(VerbsDevice, TheSuiteRuns) {
  EXPECT_EQ(cases().size(), 2u);
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

void expect_nothing_new_the_second_time(const Create& create) {
  Ranks ranks(create, 2);
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

TEST_F(VerbsDevice, TheSecondTimeNothingIsCopiedRegisteredOrNamed) {
  expect_nothing_new_the_second_time(verbs_transport.create);
}

TEST_F(VerbsDevice, TheSecondTimeNothingIsCopiedRegisteredOrNamedWhenRead) {
  expect_nothing_new_the_second_time(create_reading);
}

// A sender whose memory no device may read announces, and is told how to send.
TEST_F(VerbsDevice, MessagesFromUnregisteredMemoryAreSentThoughTheLinkReads) {
  Ranks ranks(create_reading, 2);
  ranks.open(0, 1);
  const uint64_t bytes = 1 << 20;
  const auto sent = pattern(bytes, 1);
  // Read-only pages: no device may write them, so they cannot be registered.
  void* const pages =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  std::memcpy(pages, sent.data(), bytes);
  ASSERT_EQ(::mprotect(pages, bytes, PROT_READ), 0);
  const std::span from(static_cast<const std::byte*>(pages), bytes);
  std::vector<std::byte> got(bytes);
  Fold fold(bytes, 2);
  const uint64_t staged = ranks[0].traffic().staged_messages;
  (void)ranks.send(0, 1, 0, {.data = from.data(), .bytes = bytes, .fingerprint = 1}, 3);
  (void)ranks.send(0, 1, 0, {.data = from.data(), .bytes = bytes, .fingerprint = 2}, 4);
  (void)ranks.send(0, 1, 0, message_of(sent, 3), 5);  // and one that is offered, behind them
  (void)ranks.recv(1, 0, 0, sink_of(got, 1), 1);
  (void)ranks.recv(1, 0, 0, fold.sink(8, 2), 2);
  ranks.drive([&] { return ranks.has(1, 1) && ranks.has(1, 2); });
  EXPECT_TRUE(got == sent);
  EXPECT_TRUE(fold.holds(sent));
  std::fill(got.begin(), got.end(), std::byte{0});
  (void)ranks.recv(1, 0, 0, sink_of(got, 3), 6);
  ranks.drive([&] { return ranks.has(1, 6) && ranks.has(0, 5); });
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(ranks[0].traffic().staged_messages - staged, 2u);
  ::munmap(pages, bytes);
}

// Ends that differ in whether they read write.
TEST_F(VerbsDevice, ALinkReadsOnlyWhereBothEndsSaySo) {
  Ranks ranks(
      [](const TransportConfig& config) {
        return config.rank == 0 ? create_reading(config) : verbs_transport.create(config);
      },
      2);
  ranks.open(0, 1);
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::byte> got(sent.size());
  Fold fold(sent.size(), 2);
  (void)exchange_once(&ranks, sent, &got, &fold);
  const Traffic again = exchange_once(&ranks, sent, &got, &fold);
  EXPECT_EQ(again.direct_messages, 1u);
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

}  // namespace gossamer::suite
