// The suite over shared memory, and what only this transport does.
// ctest: TIMEOUT 900

#include <sys/mman.h>

#include "gossamer/memory.h"
#include "src/window.h"
#include "tests/transport_suite.h"
#include "transports/list.h"

namespace gossamer::suite {

// As between processes: ranks do not read each other's memory, which is this process's too.
Result<std::unique_ptr<Transport>> create_apart(const TransportConfig& config) {
  setenv("GOSSAMER_SHM_READ", "0", 1);
  auto made = shm_transport.create(config);
  unsetenv("GOSSAMER_SHM_READ");
  return made;
}

INSTANTIATE_TEST_SUITE_P(ShmApart, TransportSuite,
                         testing::Values(TransportCase{
                             .name = "shm", .create = create_apart, .authenticates = true}),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Shm, TransportSuite,
                         testing::Values(TransportCase{
                             .name = "shm", .create = shm_transport.create, .authenticates = true}),
                         case_name);

namespace {

// A message at `data`, part of a buffer of `whole_bytes`.
Message part_of(const std::byte* data, uint64_t bytes, uint64_t whole_bytes) {
  Message message;
  message.data = data;
  message.bytes = bytes;
  message.fingerprint = 7;
  message.whole_bytes = whole_bytes;
  return message;
}

Sink plain_sink(std::byte* target, uint64_t bytes) {
  Sink sink;
  sink.target = target;
  sink.bytes = bytes;
  sink.fingerprint = 7;
  return sink;
}

void add_bytes(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; ++i) {
    sink.target[offset + i] = static_cast<std::byte>(static_cast<int>(sink.operand[offset + i]) +
                                                     static_cast<int>(arrived[i]));
  }
}

constexpr uint64_t kWindowBytes = 4 << 20;

TEST(Shm, SendsFromAWindowWithoutCopyingAndCompletesWhenConsumed) {
  Result<void*> memory = allocate_memory(kWindowBytes);
  ASSERT_TRUE(memory.is_ok()) << memory.status().message();
  auto* const window = static_cast<std::byte*>(*memory);
  const auto data = pattern(kWindowBytes, 3);
  std::memcpy(window, data.data(), data.size());
  Ranks ranks(shm_transport.create, 2);
  ranks.open(0, 1);
  ASSERT_EQ(ranks.send(0, 1, 0, part_of(window, kWindowBytes, kWindowBytes), 1), Code::kPending);
  // Not copied: what is written until the receive shows there.
  window[kWindowBytes - 1] = std::byte{42};
  for (int i = 0; i < 100; ++i) ranks.step();
  EXPECT_FALSE(ranks.has(0, 1)) << "complete although nobody has read it";
  std::vector<std::byte> got(kWindowBytes);
  (void)ranks.recv(1, 0, 0, plain_sink(got.data(), got.size()), 2);
  ranks.drive([&] { return ranks.has(0, 1) && ranks.has(1, 2); });
  EXPECT_EQ(got.back(), std::byte{42});
  EXPECT_TRUE(std::equal(got.begin(), got.end() - 1, data.begin()));
  EXPECT_TRUE(free_memory(window).is_ok());
}

TEST(Shm, ARankThatIsStoppedWhileItConnectsIsNotLost) {
  Ranks ranks(shm_transport.create, 2);
  EXPECT_EQ(ranks[0].open(1, &ranks.fault(0)), Code::kAgain);
  // Rank 0 stands still; rank 1 gives up on whoever that was.
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(5'500);
  while (std::chrono::steady_clock::now() < end) {
    ranks.step(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ranks.open(0, 1);
}

TEST(Shm, ForgetsFreedWindowsAndReadsNewOnesAtTheSameAddress) {
  Ranks ranks(shm_transport.create, 2);
  ranks.open(0, 1);
  Token token = 1;
  for (int round = 0; round < 20; ++round) {
    Result<void*> memory = allocate_memory(kWindowBytes);
    ASSERT_TRUE(memory.is_ok()) << memory.status().message();
    auto* const window = static_cast<std::byte*>(*memory);
    std::memset(window, round + 1, kWindowBytes);
    (void)ranks.send(0, 1, 0, part_of(window, kWindowBytes, kWindowBytes), ++token);
    std::vector<std::byte> got(kWindowBytes);
    (void)ranks.recv(1, 0, 0, plain_sink(got.data(), got.size()), token);
    ranks.drive([&] { return ranks.has(0, token) && ranks.has(1, token); });
    EXPECT_EQ(got.front(), static_cast<std::byte>(round + 1));
    EXPECT_EQ(got.back(), static_cast<std::byte>(round + 1));
    EXPECT_TRUE(free_memory(window).is_ok());
  }
}

TEST(Shm, StagesOnceWhatSeveralPeersAreSent) {
  // 3 peers x 16 slots of 64 KiB would not fit the pool; shared, they do without a receive.
  constexpr uint64_t kBytes = 16 * 64 * 1024;
  Ranks ranks(create_apart, 4);
  ranks.open_all();
  const auto data = pattern(kBytes, 9);
  Message message = part_of(data.data(), kBytes, 0);
  message.share = 5;
  for (Rank to = 1; to < 4; ++to) {
    EXPECT_EQ(ranks.send(0, to, 0, message, static_cast<Token>(to)), Code::kOk);
  }
  for (Rank to = 1; to < 4; ++to) {
    std::vector<std::byte> got(kBytes);
    (void)ranks.recv(to, 0, 0, plain_sink(got.data(), kBytes), 9);
    ranks.drive([&] { return ranks.has(to, 9); });
    EXPECT_EQ(got, data);
  }
}

// Its memory may be anything by the time that it would be read.
TEST(Shm, WhatAFailedRankLentIsNotTaken) {
  Ranks ranks(shm_transport.create, 2);
  ranks.open(0, 1);
  std::vector<std::byte> lent(kWindowBytes, std::byte{1});
  ASSERT_EQ(ranks.send(0, 1, 0, part_of(lent.data(), lent.size(), 0), 1), Code::kPending);
  ranks[0].abandon();
  std::vector<std::byte> got(kWindowBytes);
  EXPECT_EQ(ranks.recv(1, 0, 0, plain_sink(got.data(), got.size()), 2), Code::kPending);
  for (int i = 0; i < 100; ++i) ranks.step(1);
  EXPECT_FALSE(ranks.has(1, 2));
  ranks.destroy(0);
  ranks.drive([&] { return ranks.fault(1).code == Code::kPeerLost; });
}

// Who looks for a free slot looks at all links, and so finds there what other messages wait for.
TEST(Shm, ASendFromAWindowCompletesWhoeverSeesThatItWasConsumed) {
  Result<void*> memory = allocate_memory(kWindowBytes);
  ASSERT_TRUE(memory.is_ok()) << memory.status().message();
  auto* const window = static_cast<std::byte*>(*memory);
  Ranks ranks(create_apart, 3);
  ranks.open_all();
  ASSERT_EQ(ranks.send(0, 1, 0, part_of(window, kWindowBytes, kWindowBytes), 1), Code::kPending);
  std::vector<std::byte> got(kWindowBytes);
  (void)ranks.recv(1, 0, 0, plain_sink(got.data(), got.size()), 2);
  while (!ranks.has(1, 2)) ranks.step(1);
  // More than all slots, and nobody reads it.
  const auto data = pattern(2 * kWindowBytes, 1);
  EXPECT_EQ(ranks.send(0, 2, 0, part_of(data.data(), data.size(), 0), 3), Code::kPending);
  ranks.drive([&] { return ranks.has(0, 1); });
  EXPECT_TRUE(free_memory(window).is_ok());
}

TEST(Shm, APeerThatDoesNotReadStarvesNobody) {
  constexpr uint64_t kBytes = 8 << 20;  // more than all slots
  Ranks ranks(shm_transport.create, 3);
  ranks.open_all();
  const auto data = pattern(kBytes, 1);
  EXPECT_EQ(ranks.send(0, 1, 0, part_of(data.data(), kBytes, 0), 1), Code::kPending);
  for (int i = 0; i < 100; ++i) ranks.step();
  (void)ranks.send(0, 2, 0, part_of(data.data(), kBytes, 0), 2);
  std::vector<std::byte> got(kBytes);
  (void)ranks.recv(2, 0, 0, plain_sink(got.data(), kBytes), 3);
  ranks.drive([&] { return ranks.has(2, 3) && ranks.has(0, 2); });
  EXPECT_EQ(got, data);
  EXPECT_FALSE(ranks.has(0, 1));
}

// Two ranks swap halves of a sum: fold what arrives, answer with the result.
void swap_sums(uint64_t bytes, bool both_answer) {
  Ranks ranks(shm_transport.create, 2);
  ranks.open(0, 1);
  for (int round = 1; round <= 40; ++round) {
    const auto base = static_cast<Token>(round * 10);
    std::vector<std::vector<std::byte>> half(2), other(2), asked(2), expected(2);
    for (size_t r = 0; r < 2; ++r) {
      half[r] = pattern(bytes, r + 1);
      other[r] = pattern(bytes, r + 11);
      asked[r] = other[r];
    }
    for (size_t r = 0; r < 2; ++r) {
      expected[r] = half[r];
      for (uint64_t i = 0; i < bytes; ++i) {
        expected[r][i] = static_cast<std::byte>(static_cast<int>(half[r][i]) +
                                                static_cast<int>(other[1 - r][i]));
      }
    }
    for (Rank r = 0; r < 2; ++r) {
      const auto i = static_cast<size_t>(r);
      const Message ask = part_of(asked[i].data(), bytes, 0);
      (void)ranks.send(r, 1 - r, 0, ask, base + 1);
      Sink fold = plain_sink(half[i].data(), bytes);
      fold.operand = half[i].data();
      fold.combine = add_bytes;
      fold.may_answer = both_answer || r == 0;
      (void)ranks.recv(r, 1 - r, 0, fold, base + 2);
    }
    ranks.drive([&] { return ranks.has(0, base + 2) && ranks.has(1, base + 2); });
    for (Rank r = 0; r < 2; ++r) {
      const auto i = static_cast<size_t>(r);
      (void)ranks.send(r, 1 - r, 0, part_of(half[i].data(), bytes, 0), base + 3);
      Sink answer = plain_sink(other[i].data(), bytes);
      (void)ranks.recv(r, 1 - r, 0, answer, base + 4);
    }
    ranks.drive([&] {
      return ranks.has(0, base + 3) && ranks.has(1, base + 3) && ranks.has(0, base + 4) &&
             ranks.has(1, base + 4);
    });
    for (size_t r = 0; r < 2; ++r) {
      ASSERT_EQ(half[r], expected[r]) << "round " << round;
      ASSERT_EQ(other[r], expected[1 - r]) << "round " << round;
    }
  }
}

TEST(Shm, AnswersInPlace) {
  swap_sums(5000, true);
  swap_sums(64 * 1024, true);
  swap_sums(1000 * 1000, true);
}

TEST(Shm, AnswersTheOrdinaryWayWhereOneSideCannotInPlace) {
  swap_sums(100, false);             // never staged
  swap_sums(100 * 1000, false);      // one side may not
  swap_sums(3 * 1000 * 1000, true);  // longer than may be held
}

TEST(Shm, FindsItsWindowByAnyAddressInsideIt) {
  Result<void*> memory = allocate_memory(100);
  ASSERT_TRUE(memory.is_ok());
  auto* const base = static_cast<std::byte*>(*memory);
  WindowView view;
  EXPECT_NE(view.find(base, 100), nullptr);
  EXPECT_NE(view.find(base + 50, 50), nullptr);
  EXPECT_EQ(view.find(base + 50, 1 << 20), nullptr) << "reaches beyond the window";
  std::byte elsewhere{};
  EXPECT_EQ(view.find(&elsewhere, 1), nullptr);
  EXPECT_TRUE(free_memory(base).is_ok());
  EXPECT_EQ(view.find(base, 100), nullptr);
  EXPECT_TRUE(view.any_gone());
}

TEST(Memory, RefusesNonsenseWithASentence) {
  EXPECT_EQ(allocate_memory(0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(allocate_memory(UINT64_MAX).status().code(), Code::kInvalidArgument);
  int local = 0;
  EXPECT_EQ(free_memory(&local).code(), Code::kInvalidArgument);
  Result<void*> memory = allocate_memory(1);
  ASSERT_TRUE(memory.is_ok());
  EXPECT_TRUE(free_memory(*memory).is_ok());
  EXPECT_EQ(free_memory(*memory).code(), Code::kInvalidArgument) << "freed twice";
}

}  // namespace
}  // namespace gossamer::suite
