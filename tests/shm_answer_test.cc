// Shared memory: messages that are answered while they are folded, over slots and over windows.

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "gossamer/memory.h"
#include "tests/transport_ranks.h"
#include "transports/list.h"

namespace gossamer::suite {
namespace {

// What an element-wise sum of two ranks exchanges: half `a` of rank 0's buffer is folded by rank 1,
// which answers it.
class Answered {
 public:
  Answered(uint64_t bytes, bool windows) : bytes_(bytes), fold_(bytes, 1), ranks_(create(), 2) {
    if (windows) {
      const Result<void*> made = allocate_memory(bytes);
      EXPECT_TRUE(made) << made.status().message();
      window_ = made ? static_cast<std::byte*>(*made) : nullptr;
    } else {
      plain_.resize(bytes);
      window_ = plain_.data();
    }
    sent_ = pattern(bytes, 2);
    std::memcpy(window_, sent_.data(), bytes);
    ranks_.open(0, 1);
  }
  ~Answered() {
    if (plain_.empty()) {
      EXPECT_TRUE(free_memory(window_));
    }
  }
  static Create create() { return shm_transport.create; }

  // Rank 0 sends; rank 1 folds and answers; rank 0 receives the answer where the message lay.
  void run(uint64_t bytes) {
    fold_.next = 0;
    Message message;
    message.data = window_;
    message.bytes = bytes;
    message.fingerprint = 7;
    message.answer = window_;
    (void)ranks_.send(0, 1, 0, message, 1);
    Sink sink = fold_.sink(4);
    sink.bytes = bytes;
    sink.may_answer = true;
    (void)ranks_.recv(1, 0, 0, sink, 2);
    ASSERT_TRUE(ranks_.drive([&] { return ranks_.has(0, 1) && ranks_.has(1, 2); }));
    Message answer;
    answer.data = fold_.target.data();
    answer.bytes = bytes;
    answer.fingerprint = 7;
    (void)ranks_.send(1, 0, 0, answer, 3);
    Sink into;
    into.target = window_;
    into.bytes = bytes;
    into.fingerprint = 7;
    (void)ranks_.recv(0, 1, 0, into, 4);
    ASSERT_TRUE(ranks_.drive([&] { return ranks_.has(0, 4) && ranks_.has(1, 3); }));
    ranks_.tokens(0).clear();
    ranks_.tokens(1).clear();
  }
  bool right(uint64_t bytes) const {
    for (uint64_t i = 0; i < bytes; ++i) {
      const auto sum = static_cast<std::byte>(static_cast<unsigned>(fold_.operand[i]) +
                                              static_cast<unsigned>(sent_[i]));
      if (fold_.target[i] != sum || window_[i] != sum) return false;
    }
    return true;
  }
  void refill() { std::memcpy(window_, sent_.data(), bytes_); }
  Ranks& ranks() { return ranks_; }
  std::byte* window() const { return window_; }
  Fold& fold() { return fold_; }

 private:
  uint64_t bytes_;
  Fold fold_;
  Ranks ranks_;
  std::vector<std::byte> plain_;
  std::vector<std::byte> sent_;
  std::byte* window_ = nullptr;
};

// Of any number of runs: of those that all travel, and of more than there may be travelling, whose
// later ones lie in other slots.
TEST(ShmAnswer, ComesFromSlotsWhateverTheLength) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "slots travel with a core per rank";
  constexpr uint64_t kSlot = 64 * 1024;
  Answered both(40 * kSlot, false);
  for (const uint64_t bytes : {kSlot, 2 * kSlot, 15 * kSlot + 8, 16 * kSlot, 17 * kSlot, 31 * kSlot,
                               32 * kSlot, 40 * kSlot}) {
    for (int round = 0; round < 3; ++round) {
      both.refill();
      both.run(bytes);
      ASSERT_TRUE(both.right(bytes)) << bytes;
    }
  }
}

TEST(ShmAnswer, IsWrittenIntoTheWindow) {
  constexpr uint64_t kBytes = 1 << 20;
  Answered both(kBytes, true);
  for (const uint64_t bytes : {uint64_t{8192}, uint64_t{12'340}, uint64_t{65'536}, kBytes}) {
    both.refill();
    const Traffic before = both.ranks()[1].traffic();
    both.run(bytes);
    ASSERT_TRUE(both.right(bytes)) << bytes;
    const Traffic after = both.ranks()[1].traffic();
    EXPECT_EQ(after.direct_messages, before.direct_messages + 1) << bytes;
    EXPECT_EQ(after.copies, before.copies);
    EXPECT_EQ(both.ranks()[0].traffic().copies, 0U);
  }
  EXPECT_EQ(both.ranks()[0].traffic().exchanges, 1U);
  EXPECT_EQ(both.ranks()[1].traffic().registrations, 1U);
}

// The folding rank's own sends that wait go first: then there is no answer in place.
TEST(ShmAnswer, KeepsTheOrderOfTheLane) {
  constexpr uint64_t kBytes = 1 << 20;
  Answered both(kBytes, true);
  Ranks& ranks = both.ranks();
  // More than all cells and slots hold.
  const auto before = pattern(16 << 20, 9);
  (void)ranks.send(1, 0, 0, message_of(before), 9);
  ASSERT_FALSE(ranks.has(1, 9));
  Message message;
  message.data = both.window();
  message.bytes = kBytes;
  message.fingerprint = 7;
  message.answer = both.window();
  (void)ranks.send(0, 1, 0, message, 1);
  Sink sink = both.fold().sink(4);
  sink.may_answer = true;
  (void)ranks.recv(1, 0, 0, sink, 2);
  ASSERT_TRUE(ranks.drive([&] { return ranks.has(0, 1) && ranks.has(1, 2); }));
  std::vector<std::byte> got(before.size());
  (void)ranks.recv(0, 1, 0, sink_of(got), 10);
  ASSERT_TRUE(ranks.drive([&] { return ranks.has(0, 10) && ranks.has(1, 9); }));
  EXPECT_EQ(got, before);
}

// After abandon() a peer that is late writes nothing into the caller's memory.
TEST(ShmAnswer, IsNotWrittenOnceAbandoned) {
  constexpr uint64_t kBytes = 1 << 20;
  Answered both(kBytes, true);
  Ranks& ranks = both.ranks();
  Message message;
  message.data = both.window();
  message.bytes = kBytes;
  message.fingerprint = 7;
  message.answer = both.window();
  ASSERT_EQ(ranks.send(0, 1, 0, message, 1), Code::kPending);
  ranks[0].abandon();
  const std::vector<std::byte> mine(both.window(), both.window() + kBytes);
  Sink sink = both.fold().sink(4);
  sink.may_answer = true;
  (void)ranks.recv(1, 0, 0, sink, 2);
  for (int i = 0; i < 100; ++i) ranks.step(1);
  EXPECT_EQ(std::memcmp(mine.data(), both.window(), kBytes), 0);
}

}  // namespace
}  // namespace gossamer::suite
