// Messages from one rank to another: what arrives, in which order, and what goes wrong.
//
// ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <numeric>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/process_ranks.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

std::vector<int32_t> numbers(uint64_t count, int32_t first) {
  std::vector<int32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

Status send(Communicator& comm, const std::vector<int32_t>& values, Rank to) {
  return comm.send(values.data(), values.size(), DataType::kInt32, to);
}

Status recv(Communicator& comm, std::vector<int32_t>* values, Rank from) {
  return comm.recv(values->data(), values->size(), DataType::kInt32, from);
}

void all_sum(Communicator& comm) {
  std::vector<float> values(1000, 1.0F);
  ASSERT_TRUE(comm.all_reduce(std::span(values)));
  ASSERT_EQ(values.back(), static_cast<float>(comm.size()));
}

class PointToPointOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, PointToPointOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(PointToPointOver, CarriesMessagesOfAllLengths) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    for (const uint64_t count : {0, 1, 3, 1000, 5000, 70'000, 1'000'003}) {
      const std::vector<int32_t> mine = numbers(count, 7);
      std::vector<int32_t> theirs(count);
      if (comm.rank() == 0) {
        ASSERT_TRUE(send(comm, mine, 1));
        ASSERT_TRUE(recv(comm, &theirs, 1));
      } else {
        ASSERT_TRUE(recv(comm, &theirs, 0));
        ASSERT_TRUE(send(comm, theirs, 0));
      }
      EXPECT_EQ(theirs, mine) << count;
    }
    EXPECT_EQ(comm.counters().messages_sent, 7U);
  });
}

TEST_P(PointToPointOver, ZeroElementsNeedNoBuffer) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    for (int i = 0; i < 3; ++i) {
      if (comm.rank() == 0) {
        ASSERT_TRUE(comm.send(nullptr, 0, DataType::kFloat64, 1));
      } else {
        ASSERT_TRUE(comm.recv(nullptr, 0, DataType::kFloat64, 0));
      }
    }
  });
}

TEST_P(PointToPointOver, ManyUnderWayArriveInTheirOrder) {
  constexpr int kMessages = 300;  // more than a window
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<std::vector<int32_t>> sent, received;
    for (int i = 0; i < kMessages; ++i) {
      sent.push_back(numbers(static_cast<uint64_t>(i) * 37 % 4000, i + 1000 * comm.rank()));
      received.emplace_back(sent.back().size());
    }
    std::vector<Work> works;
    for (int i = 0; i < kMessages; ++i) {
      auto& in = received[static_cast<size_t>(i)];
      const auto& out = sent[static_cast<size_t>(i)];
      const Rank other = 1 - comm.rank();
      works.push_back(comm.start_recv(in.data(), in.size(), DataType::kInt32, other));
      works.push_back(comm.start_send(out.data(), out.size(), DataType::kInt32, other));
    }
    for (Work& work : works) ASSERT_TRUE(work.wait());
    for (int i = 0; i < kMessages; ++i) {
      const auto& in = received[static_cast<size_t>(i)];
      EXPECT_EQ(in, numbers(in.size(), i + 1000 * (1 - comm.rank())));
    }
  });
}

// Both receive first: each receive must let the send behind it go.
TEST_P(PointToPointOver, StartedReceivesDoNotHoldSendsBack) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    for (const uint64_t count : {10, 200'000}) {
      std::vector<int32_t> theirs(count);
      Work arrives = comm.start_recv(theirs.data(), count, DataType::kInt32, 1 - comm.rank());
      const std::vector<int32_t> mine = numbers(count, comm.rank());
      ASSERT_TRUE(send(comm, mine, 1 - comm.rank()));
      ASSERT_TRUE(arrives.wait());
      EXPECT_EQ(theirs, numbers(count, 1 - comm.rank()));
    }
  });
}

TEST_P(PointToPointOver, GoesOnWhileNobodyWaits) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    const uint64_t count = 300'000;
    std::vector<int32_t> values = numbers(count, 5);
    Work work = comm.rank() == 0 ? comm.start_send(values.data(), count, DataType::kInt32, 1)
                                 : comm.start_recv(values.data(), count, DataType::kInt32, 0);
    const int64_t end = now_us() + 20'000'000;
    while (!work.test() && now_us() < end) std::this_thread::sleep_for(milliseconds(1));
    ASSERT_TRUE(work.test());
    EXPECT_EQ(values, numbers(count, 5));
  });
}

// A thread that waits for a message carries those of the other threads along.
TEST_P(PointToPointOver, ThreadsOfOneRankDoNotBlockEachOther) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    const Rank other = 1 - comm.rank();
    for (int round = 0; round < 20; ++round) {
      std::vector<int32_t> first(100), second(100);
      if (comm.rank() == 0) {
        std::thread waits([&] { EXPECT_TRUE(recv(comm, &first, other)); });
        std::this_thread::sleep_for(std::chrono::microseconds(500 * (round % 5)));
        // Rank 1 answers this one, so it must get out although the thread drives.
        ASSERT_TRUE(send(comm, numbers(100, round), other));
        waits.join();
        EXPECT_EQ(first, numbers(100, round + 1));
      } else {
        ASSERT_TRUE(recv(comm, &second, other));
        ASSERT_TRUE(send(comm, numbers(100, second[0] + 1), other));
      }
    }
  });
}

TEST_P(PointToPointOver, RingAmongFive) {
  RankGroup group(5, GetParam());
  group.each([](Communicator& comm) {
    const Rank next = (comm.rank() + 1) % comm.size();
    const Rank prev = (comm.rank() + comm.size() - 1) % comm.size();
    std::vector<int32_t> token = numbers(20'000, comm.rank());
    for (Rank hop = 0; hop < comm.size(); ++hop) {
      std::vector<int32_t> arrived(token.size());
      Work in = comm.start_recv(arrived.data(), arrived.size(), DataType::kInt32, prev);
      Work out = comm.start_send(token.data(), token.size(), DataType::kInt32, next);
      ASSERT_TRUE(out.wait());
      ASSERT_TRUE(in.wait());
      token = arrived;
    }
    EXPECT_EQ(token, numbers(20'000, comm.rank()));
  });
}

TEST_P(PointToPointOver, TakesTurnsWithCollectives) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    for (int round = 0; round < 50; ++round) {
      std::vector<int32_t> values(500);
      Status status;
      if (comm.rank() == 0) status = send(comm, numbers(500, round), 2);
      if (comm.rank() == 2) status = recv(comm, &values, 0);
      ASSERT_TRUE(status) << status.to_string();
      all_sum(comm);
      Work work;
      if (comm.rank() == 2) {
        EXPECT_EQ(values, numbers(500, round));
        work = comm.start_send(values.data(), values.size(), DataType::kInt32, 1);
      }
      if (comm.rank() == 1) work = comm.start_recv(values.data(), 500, DataType::kInt32, 2);
      all_sum(comm);  // the message is under way meanwhile
      ASSERT_TRUE(work.wait());
      EXPECT_EQ(values, comm.rank() == 0 ? std::vector<int32_t>(500) : numbers(500, round));
    }
  });
}

TEST_P(PointToPointOver, ToOneself) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int32_t> a(10), b(20);
    Work first = comm.start_recv(a.data(), 10, DataType::kInt32, comm.rank());
    Work second = comm.start_recv(b.data(), 20, DataType::kInt32, comm.rank());
    ASSERT_TRUE(send(comm, numbers(10, 1), comm.rank()));
    ASSERT_TRUE(send(comm, numbers(20, 2), comm.rank()));
    ASSERT_TRUE(first.wait() && second.wait());
    EXPECT_EQ(a, numbers(10, 1));
    EXPECT_EQ(b, numbers(20, 2));
    const std::vector<int32_t> mine = numbers(30, 3);
    Work sent = comm.start_send(mine.data(), 30, DataType::kInt32, comm.rank());
    std::vector<int32_t> c(30);
    ASSERT_TRUE(recv(comm, &c, comm.rank()));
    EXPECT_EQ(c, mine);
  });
}

TEST_P(PointToPointOver, ToOneselfOfAnotherCountIsAMismatch) {
  RankGroup group(1, GetParam());
  Communicator& comm = group[0];
  const std::vector<int32_t> mine = numbers(30, 3);
  Work sent = comm.start_send(mine.data(), 30, DataType::kInt32, 0);
  std::vector<int32_t> other(31);
  const Status status = recv(comm, &other, 0);
  EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
  EXPECT_EQ(sent.wait().code(), Code::kMismatch);
  EXPECT_NE(status.message().find("30 int32"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("31 int32"), std::string::npos) << status.message();
}

TEST_P(PointToPointOver, FromWhoeverSends) {
  constexpr int kEach = 40;
  RankGroup group(4, GetParam());
  group.each([](Communicator& comm) {
    if (comm.rank() > 0) {
      for (int i = 0; i < kEach; ++i) {
        ASSERT_TRUE(send(comm, numbers(3, i + 100 * comm.rank()), 0));
      }
      all_sum(comm);
      return;
    }
    std::array<int, 4> heard{};
    for (int i = 0; i < 3 * kEach; ++i) {
      std::vector<int32_t> values(3);
      Result<Rank> from = comm.recv_any(values.data(), 3, DataType::kInt32);
      ASSERT_TRUE(from) << from.status().to_string();
      ASSERT_TRUE(*from > 0 && *from < 4);
      EXPECT_EQ(values, numbers(3, heard[static_cast<size_t>(*from)]++ + 100 * *from));
    }
    EXPECT_EQ(heard, (std::array<int, 4>{0, kEach, kEach, kEach}));
    all_sum(comm);
  });
}

TEST_P(PointToPointOver, AReceiveFromAnyHoldsBackTheReceivesAfterIt) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    if (comm.rank() == 1) {
      std::this_thread::sleep_for(milliseconds(300));
      ASSERT_TRUE(send(comm, numbers(5, 1), 0));
      ASSERT_TRUE(send(comm, numbers(5, 2), 0));
      return;
    }
    std::vector<int32_t> any(5), next(5);
    std::atomic<bool> calling{false};
    std::thread waits([&] {
      calling = true;
      Result<Rank> from = comm.recv_any(any.data(), 5, DataType::kInt32);
      EXPECT_TRUE(from && *from == 1) << from.status().to_string();
    });
    while (!calling) std::this_thread::sleep_for(milliseconds(1));
    std::this_thread::sleep_for(milliseconds(100));
    ASSERT_TRUE(recv(comm, &next, 1));
    waits.join();
    EXPECT_EQ(any, numbers(5, 1));
    EXPECT_EQ(next, numbers(5, 2));
  });
}

TEST_P(PointToPointOver, AnotherCountOrTypeIsAMismatchThatNamesBoth) {
  for (const bool type : {false, true}) {
    RankGroup group(2, GetParam());
    std::latch done(2);
    group.each([&](Communicator& comm) {
      std::vector<int32_t> values = numbers(8, 0);
      Status status;
      if (comm.rank() == 0) {
        status = comm.send(values.data(), 8, DataType::kInt32, 1);
        if (status) status = comm.recv(values.data(), 8, DataType::kInt32, 1);  // hears of it
      } else {
        status = type ? comm.recv(values.data(), 8, DataType::kFloat32, 0)
                      : comm.recv(values.data(), 7, DataType::kInt32, 0);
      }
      EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
      for (const std::string part : {"8 int32", type ? "8 float32" : "7 int32", "rank 0 sent"}) {
        EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
      }
      done.arrive_and_wait();
    });
  }
}

// A message where the other rank has made a collective call is no message for it.
TEST_P(PointToPointOver, AMessageInsteadOfACollectiveIsAMismatch) {
  RankGroup group(2, GetParam());
  std::latch done(2);
  group.each([&](Communicator& comm) {
    std::vector<float> values(100, 1.0F);
    Status status = comm.rank() == 0 ? comm.send(values.data(), 100, DataType::kFloat32, 1)
                                     : comm.all_reduce(std::span(values));
    while (status) status = comm.all_reduce(std::span(values));  // it may hear of it later
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_NE(status.message().find("all_reduce of 100 float32"), std::string::npos)
        << status.message();
    done.arrive_and_wait();
  });
}

TEST_P(PointToPointOver, AReceiveThatNobodyAnswersTimesOutAndNamesTheRank) {
  RankGroup group(3, GetParam(), "", milliseconds(2'000));  // also to join
  std::latch done(3);
  group.each([&](Communicator& comm) {
    std::vector<int32_t> values(4);
    if (comm.rank() == 0) {
      const int64_t start = now_us();
      const Status status = recv(comm, &values, 2);
      EXPECT_EQ(status.code(), Code::kTimeout) << status.to_string();
      EXPECT_EQ(status.rank(), 2);
      EXPECT_LT(now_us() - start, 20'000'000);
      EXPECT_GE(now_us() - start, 1'900'000);
    }
    done.arrive_and_wait();
  });
}

TEST_P(PointToPointOver, AStartedReceiveHasADeadlineOfItsOwn) {
  RankGroup group(2, GetParam(), "", milliseconds(2'000));  // also to join
  std::latch done(2);
  group.each([&](Communicator& comm) {
    if (comm.rank() == 0) {
      std::vector<int32_t> values(4);
      Work work = comm.start_recv(values.data(), 4, DataType::kInt32, 1);
      const Status status = work.wait(std::chrono::seconds(20));
      EXPECT_EQ(status.code(), Code::kTimeout) << status.to_string();
      EXPECT_EQ(status.rank(), 1);
    }
    done.arrive_and_wait();
  });
}

TEST_P(PointToPointOver, ARankThatLeavesIsLostToThoseThatWaitForIt) {
  RankGroup group(3, GetParam());
  std::latch ready(3);
  on_threads(3, [&](Rank r) {
    Communicator& comm = group[r];
    all_sum(comm);
    ready.arrive_and_wait();
    if (r == 1) {
      group.leave(1);
      return;
    }
    if (r == 0) {
      std::vector<int32_t> values(4);
      const Status status = recv(comm, &values, 1);
      EXPECT_EQ(status.code(), Code::kPeerLost) << status.to_string();
      EXPECT_EQ(status.rank(), 1);
    }
  });
}

TEST_P(PointToPointOver, AbortEndsWhatIsUnderWay) {
  RankGroup group(2, GetParam());
  std::latch done(2);
  group.each([&](Communicator& comm) {
    std::vector<int32_t> values(4), other(4);
    Work work = comm.start_recv(other.data(), 4, DataType::kInt32, 1 - comm.rank());
    if (comm.rank() == 0) {
      std::thread aborts([&] {
        std::this_thread::sleep_for(milliseconds(30));
        comm.abort();
      });
      const Status status = recv(comm, &values, 1);
      EXPECT_EQ(status.code(), Code::kAborted) << status.to_string();
      aborts.join();
    }
    EXPECT_EQ(work.wait().code(), Code::kAborted) << work.wait().to_string();
    EXPECT_EQ(send(comm, values, 1 - comm.rank()).code(), Code::kAborted);
    done.arrive_and_wait();
  });
}

TEST_P(PointToPointOver, LeavingEndsStartedMessages) {
  RankGroup group(2, GetParam());
  std::vector<int32_t> values(4);
  Work work = group[0].start_recv(values.data(), 4, DataType::kInt32, 1);
  EXPECT_FALSE(work.test());
  group.leave(0);
  EXPECT_TRUE(work.test());
  EXPECT_EQ(work.wait().code(), Code::kAborted) << work.wait().to_string();
}

TEST(PointToPoint, BadArgumentsSayWhatIsWrong) {
  RankGroup group(2);
  Communicator& comm = group[0];
  std::vector<int32_t> values(4);
  const auto expect = [](const Status& status, const std::string& part) {
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  expect(comm.send(values.data(), 4, DataType::kInt32, 2), "no rank 2");
  expect(comm.recv(values.data(), 4, DataType::kInt32, -1), "no rank -1");
  expect(comm.send(nullptr, 4, DataType::kInt32, 1), "null");
  expect(comm.recv(nullptr, 4, DataType::kInt32, 1), "null");
  expect(comm.send(values.data(), 4, static_cast<DataType>(99), 1), "DataType");
  expect(comm.send(values.data(), UINT64_MAX / 2, DataType::kInt32, 1), "overflows");
  expect(comm.start_recv(values.data(), 4, DataType::kInt32, 5).wait(), "no rank 5");
  expect(comm.recv_any(nullptr, 4, DataType::kInt32).status(), "null");
  EXPECT_TRUE(comm.status());
}

}  // namespace
}  // namespace gossamer
