// What every transport must do. A transport's test file is one instantiation:
//
//   #include "tests/transport_suite.h"
//   INSTANTIATE_TEST_SUITE_P(Shm, TransportSuite, testing::Values(TransportCase{
//       .name = "shm", .create = shm_transport.create}), case_name);
//
// The fields of TransportCase say where transports may differ. The tests drive all ranks from one
// thread (see transport_ranks.h), those whose name says "Threads" from one thread per rank. The
// cases that take longest are in transport_suite_long.h, included below.

#pragma once

#include <dirent.h>
#include <poll.h>

#include <thread>

#include "tests/transport_ranks.h"

namespace gossamer::suite {

struct TransportCase {
  std::string name;
  Create create;
  bool threads = true;         // ranks may run on different threads
  bool sleeps = true;          // wait_fd() is a real descriptor
  bool authenticates = false;  // a rank with another key cannot join
  uint64_t huge_bytes = 64u << 20;
};

inline std::string case_name(const testing::TestParamInfo<TransportCase>& info) {
  return info.param.name;
}
inline void PrintTo(const TransportCase& c, std::ostream* out) {
  *out << c.name;
}

class TransportSuite : public testing::TestWithParam<TransportCase> {
 protected:
  Ranks make(Rank size) { return Ranks(GetParam().create, size); }
};

inline int open_files() {
  int count = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (::readdir(dir) != nullptr) ++count;
  ::closedir(dir);
  return count;
}

TEST_P(TransportSuite, DeliversToASinkPostedBefore) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(1000, 1);
  std::vector<std::byte> got(1000);
  ASSERT_EQ(ranks.recv(1, 0, 0, sink_of(got), 5), Code::kPending);
  const Code code = ranks.send(0, 1, 0, message_of(sent), 9);
  ASSERT_TRUE(code == Code::kOk || code == Code::kPending);
  ranks.drive([&] { return ranks.has(1, 5) && ranks.has(0, 9); });
  EXPECT_EQ(got, sent);
  EXPECT_EQ(ranks.tokens(0).size(), 1u);
  EXPECT_EQ(ranks.tokens(1).size(), 1u);
}

TEST_P(TransportSuite, DeliversToASinkPostedAfter) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(1000, 2);
  std::vector<std::byte> got(1000);
  const Code code = ranks.send(1, 0, 0, message_of(sent), 9);
  ASSERT_TRUE(code == Code::kOk || code == Code::kPending);
  for (int i = 0; i < 200; ++i) ranks.step();
  EXPECT_TRUE(ranks.tokens(0).empty());
  const Code posted = ranks.recv(0, 1, 0, sink_of(got), 5);
  ASSERT_TRUE(posted == Code::kOk || posted == Code::kPending);
  ranks.drive([&] { return ranks.has(0, 5) && ranks.has(1, 9); });
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, KeepsOrderWithinALane) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  constexpr uint32_t kCount = 500;
  std::vector<std::vector<std::byte>> sent;
  std::vector<std::vector<std::byte>> got;
  for (uint32_t i = 0; i < kCount; ++i) {
    sent.push_back(pattern(1 + i * 37 % 5000, i));
    got.emplace_back(sent.back().size());
  }
  uint32_t next_send = 0;
  uint32_t next_recv = 0;
  ranks.drive([&] {
    while (next_send < kCount) {
      if (ranks.send(0, 1, 0, message_of(sent[next_send], next_send), next_send) == Code::kAgain)
        break;
      ++next_send;
    }
    while (next_recv < kCount) {
      if (ranks.recv(1, 0, 0, sink_of(got[next_recv], next_recv), next_recv) == Code::kAgain) break;
      ++next_recv;
    }
    return ranks.tokens(0).size() == kCount && ranks.tokens(1).size() == kCount;
  });
  EXPECT_EQ(got, sent);
  for (uint32_t i = 0; i < kCount; ++i) ASSERT_EQ(ranks.tokens(1)[i], i);
}

TEST_P(TransportSuite, RefusesMoreThanTheWindowAndRecovers) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const uint32_t window = ranks[0].limits().window;
  ASSERT_GE(window, 1u);
  std::vector<std::vector<std::byte>> got(window + 1, std::vector<std::byte>(64));
  uint32_t posted = 0;
  while (posted <= window) {
    const Code code = ranks.recv(1, 0, 0, sink_of(got[posted], posted), posted);
    if (code == Code::kAgain) break;
    ASSERT_EQ(code, Code::kPending);
    ++posted;
  }
  ASSERT_EQ(posted, window) << "the window is what limits() says";
  const auto sent = pattern(64, 4);
  uint32_t next = 0;
  ranks.drive([&] {
    if (next <= window && ranks.send(0, 1, 0, message_of(sent, next), next) != Code::kAgain) ++next;
    if (posted == window &&
        ranks.recv(1, 0, 0, sink_of(got[posted], posted), posted) != Code::kAgain) {
      ++posted;
    }
    return ranks.tokens(1).size() == window + 1u;
  });
  for (const auto& g : got) EXPECT_EQ(g, sent);
}

TEST_P(TransportSuite, CarriesZeroBytes) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  std::vector<std::byte> nothing;
  const auto sent = pattern(3, 4);
  std::vector<std::byte> got(3);
  Fold fold(0, 1);
  (void)ranks.send(0, 1, 0, message_of(nothing, 1), 1);
  (void)ranks.send(0, 1, 0, message_of(sent, 2), 2);
  (void)ranks.send(0, 1, 0, message_of(nothing, 3), 3);
  (void)ranks.recv(1, 0, 0, sink_of(nothing, 1), 1);
  (void)ranks.recv(1, 0, 0, sink_of(got, 2), 2);
  (void)ranks.recv(1, 0, 0, fold.sink(8, 3), 3);
  ranks.drive([&] { return ranks.tokens(0).size() == 3 && ranks.tokens(1).size() == 3; });
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, CarriesOddSizesBothWaysAtOnce) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  for (const uint64_t bytes :
       {1u, 7u, 63u, 64u, 65u, 4095u, 4097u, 65535u, 65537u, 131071u, 262145u, 1000003u}) {
    const auto a = pattern(bytes, 1);
    const auto b = pattern(bytes, 2);
    std::vector<std::byte> at0(bytes);
    std::vector<std::byte> at1(bytes);
    ranks.tokens(0).clear();
    ranks.tokens(1).clear();
    (void)ranks.recv(0, 1, 0, sink_of(at0), 1);
    (void)ranks.recv(1, 0, 0, sink_of(at1), 1);
    (void)ranks.send(0, 1, 0, message_of(a), 2);
    (void)ranks.send(1, 0, 0, message_of(b), 2);
    ranks.drive([&] { return ranks.tokens(0).size() == 2 && ranks.tokens(1).size() == 2; });
    ASSERT_EQ(at0, b) << bytes;
    ASSERT_EQ(at1, a) << bytes;
  }
}

TEST_P(TransportSuite, FoldsInWholeGranulesInOrder) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  for (const uint32_t granule : {1u, 2u, 8u, 12u}) {
    for (const uint64_t count : {1u, 100u, 5461u, 43691u, 174763u}) {
      const uint64_t bytes = granule * count;
      const auto sent = pattern(bytes, count);
      Fold fold(bytes, count + 1);
      ranks.tokens(0).clear();
      ranks.tokens(1).clear();
      (void)ranks.send(0, 1, 0, message_of(sent), 2);
      (void)ranks.recv(1, 0, 0, fold.sink(granule), 1);
      ranks.drive([&] { return ranks.has(1, 1) && ranks.has(0, 2); });
      EXPECT_TRUE(fold.in_order);
      EXPECT_TRUE(fold.whole_granules);
      EXPECT_EQ(fold.next, bytes);
      ASSERT_TRUE(fold.holds(sent)) << granule << " x " << count;
    }
  }
}

TEST_P(TransportSuite, MixesPlainAndFoldedMessagesOfManySizes) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  constexpr uint32_t kCount = 120;
  std::vector<std::vector<std::byte>> sent;
  std::vector<std::vector<std::byte>> plain;
  std::vector<std::unique_ptr<Fold>> folds;
  for (uint32_t i = 0; i < kCount; ++i) {
    const uint64_t bytes = 4 * ((i * i * 131) % (i % 5 == 0 ? 60000 : 300));
    sent.push_back(pattern(bytes, i));
    plain.emplace_back(i % 2 == 0 ? bytes : 0);
    folds.push_back(std::make_unique<Fold>(i % 2 == 1 ? bytes : 0, i));
  }
  uint32_t next_send = 0;
  uint32_t next_recv = 0;
  ranks.drive([&] {
    while (next_send < kCount &&
           ranks.send(0, 1, 0, message_of(sent[next_send], next_send), next_send) != Code::kAgain)
      ++next_send;
    if (next_recv < kCount) {
      const Sink sink = next_recv % 2 == 0 ? sink_of(plain[next_recv], next_recv)
                                           : folds[next_recv]->sink(4, next_recv);
      if (ranks.recv(1, 0, 0, sink, next_recv) != Code::kAgain) ++next_recv;
    }
    return ranks.tokens(1).size() == kCount && ranks.tokens(0).size() == kCount;
  });
  for (uint32_t i = 0; i < kCount; ++i) {
    if (i % 2 == 0) {
      EXPECT_EQ(plain[i], sent[i]) << i;
    } else {
      EXPECT_TRUE(folds[i]->holds(sent[i])) << i;
    }
  }
}

TEST_P(TransportSuite, LanesAreIndependent) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const uint8_t lanes = ranks[0].limits().lanes;
  ASSERT_GE(lanes, 1);
  std::vector<std::vector<std::byte>> sent;
  std::vector<std::vector<std::byte>> got(lanes, std::vector<std::byte>(70000));
  for (uint8_t lane = 0; lane < lanes; ++lane) sent.push_back(pattern(70000, lane));
  for (uint8_t lane = 0; lane < lanes; ++lane) {
    (void)ranks.send(0, 1, lane, message_of(sent[lane], lane), lane);
  }
  for (int lane = lanes - 1; lane >= 0; --lane) {  // the last lane first: none waits for another
    const auto i = static_cast<uint8_t>(lane);
    (void)ranks.recv(1, 0, i, sink_of(got[i], i), i);
    ranks.drive([&] { return ranks.has(1, i); });
  }
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, FourRanksTalkAllToAll) {
  Ranks ranks = make(4);
  ranks.open_all();
  std::vector<std::vector<std::byte>> got;
  for (int i = 0; i < 16; ++i) got.emplace_back(20000);
  const auto sent_by = [](Rank a, Rank b) {
    return pattern(20000, static_cast<uint64_t>(a * 4 + b));
  };
  std::vector<std::vector<std::byte>> sent;
  for (Rank a = 0; a < 4; ++a) {
    for (Rank b = 0; b < 4; ++b) sent.push_back(sent_by(a, b));
  }
  for (Rank a = 0; a < 4; ++a) {
    for (Rank b = 0; b < 4; ++b) {
      if (a == b) continue;
      const auto i = static_cast<size_t>(a * 4 + b);
      (void)ranks.send(a, b, 0, message_of(sent[i]), static_cast<Token>(i));
      (void)ranks.recv(b, a, 0, sink_of(got[i]), static_cast<Token>(100 + i));
    }
  }
  ranks.drive([&] {
    for (Rank r = 0; r < 4; ++r) {
      if (ranks.tokens(r).size() != 6) return false;
    }
    return true;
  });
  for (size_t i = 0; i < 16; ++i) {
    if (i / 4 != i % 4) {
      EXPECT_EQ(got[i], sent[i]);
    }
  }
}

TEST_P(TransportSuite, AWrongLengthIsAMismatchThatNamesThePeer) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(100, 1);
  std::vector<std::byte> got(96);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  (void)ranks.send(0, 1, 0, message_of(sent), 1);
  ranks.drive([&] { return ranks.fault(1).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(1).code, Code::kMismatch);
  EXPECT_EQ(ranks.fault(1).rank, 0);
  EXPECT_NE(std::string(ranks.fault(1).text.data()).find("rank 0"), std::string::npos);
  EXPECT_EQ(got, std::vector<std::byte>(96)) << "nothing may be written";
  EXPECT_TRUE(ranks.tokens(1).empty());
}

TEST_P(TransportSuite, AWrongFingerprintIsAMismatchOnBothSides) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(64, 1);
  std::vector<std::byte> got(64);
  (void)ranks.recv(1, 0, 0, sink_of(got, 8), 1);
  (void)ranks.send(0, 1, 0, message_of(sent, 7), 1);
  ranks.drive([&] { return ranks.fault(1).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(1).code, Code::kMismatch);
  EXPECT_EQ(got, std::vector<std::byte>(64));
  ranks[1].notify(ranks.fault(1));
  ranks.drive([&] { return ranks.fault(0).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(0).code, Code::kMismatch);
  EXPECT_STREQ(ranks.fault(0).text.data(), ranks.fault(1).text.data());
}

TEST_P(TransportSuite, NotifyReachesEveryPeerWithItsText) {
  Ranks ranks = make(3);
  ranks.open(0, 1);
  ranks.open(0, 2);
  Fault fault;
  fault.set(Code::kAborted, 0, "rank 0 gave up on %s", "purpose");
  ranks[0].notify(fault);
  ranks.drive([&] { return ranks.fault(1).code != Code::kOk && ranks.fault(2).code != Code::kOk; });
  for (Rank r = 1; r < 3; ++r) {
    EXPECT_EQ(ranks.fault(r).code, Code::kAborted);
    EXPECT_EQ(ranks.fault(r).rank, 0);
    EXPECT_STREQ(ranks.fault(r).text.data(), "rank 0 gave up on purpose");
  }
}

TEST_P(TransportSuite, ANoticeTakesPrecedenceOverLeaving) {
  Ranks ranks = make(4);
  ranks.open(0, 1);
  std::vector<std::byte> got(64);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  Fault fault;
  fault.set(Code::kTimeout, 3, "the original reason");
  ranks[0].notify(fault);
  ranks.destroy(0);
  ranks.drive([&] { return ranks.fault(1).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(1).code, Code::kTimeout);
  EXPECT_EQ(ranks.fault(1).rank, 3);
}

TEST_P(TransportSuite, APeerThatLeftFailsTheReceiveThatNeedsIt) {
  Ranks ranks = make(3);
  ranks.open_all();
  std::vector<std::byte> got(64);
  (void)ranks.recv(2, 1, 0, sink_of(got), 1);
  ranks.step();
  ranks.destroy(1);
  ranks.drive([&] { return ranks.fault(2).code != Code::kOk; });
  EXPECT_EQ(ranks.fault(2).code, Code::kPeerLost);
  EXPECT_EQ(ranks.fault(2).rank, 1);
  EXPECT_NE(std::string(ranks.fault(2).text.data()).find("rank 1"), std::string::npos);
}

TEST_P(TransportSuite, APeerThatLeftDoesNotDisturbTheOthers) {
  Ranks ranks = make(3);
  ranks.open_all();
  const auto sent = pattern(5000, 3);
  std::vector<std::byte> last_words(5000);
  std::vector<std::byte> got(5000);
  (void)ranks.recv(0, 1, 0, sink_of(last_words), 1);
  (void)ranks.send(1, 0, 0, message_of(sent), 1);
  ranks.drive([&] { return ranks.has(1, 1) && ranks.has(0, 1); });
  ranks.destroy(1);
  for (int i = 0; i < 3000; ++i) ranks.step();
  (void)ranks.recv(0, 2, 0, sink_of(got), 2);
  (void)ranks.send(2, 0, 0, message_of(sent), 2);
  ranks.drive([&] { return ranks.has(0, 2); });
  EXPECT_EQ(last_words, sent);
  EXPECT_EQ(got, sent);
  EXPECT_EQ(ranks.fault(0).code, Code::kOk) << ranks.fault(0).text.data();
}

TEST_P(TransportSuite, CompletedSendsOutliveTheirSender) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  const auto sent = pattern(256, 3);
  std::vector<std::byte> got(256);
  (void)ranks.send(0, 1, 0, message_of(sent), 1);
  for (int i = 0; i < 1000 && !ranks.has(0, 1); ++i) ranks.step(0);
  if (!ranks.has(0, 1)) GTEST_SKIP() << "this transport completes no send before it is received";
  ranks.destroy(0);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  ranks.drive([&] { return ranks.has(1, 1); });
  EXPECT_EQ(got, sent);
}

TEST_P(TransportSuite, AbandonStopsTouchingBuffers) {
  Ranks ranks = make(2);
  ranks.open(0, 1);
  std::vector<std::byte> got(1 << 20);
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  ranks.step();
  ranks[1].abandon();
  std::vector<std::byte> sent = pattern(1 << 20, 1);
  (void)ranks.send(0, 1, 0, message_of(sent), 1);
  for (int i = 0; i < 2000; ++i) ranks.step();
  EXPECT_EQ(got, std::vector<std::byte>(1 << 20));
  EXPECT_TRUE(ranks.tokens(1).empty());
  ranks[0].abandon();
  sent.clear();
  sent.shrink_to_fit();  // a sanitizer tells whether anyone still reads it
  for (int i = 0; i < 200; ++i) ranks.step();
}

}  // namespace gossamer::suite

#include "tests/transport_suite_long.h"  // IWYU pragma: export
