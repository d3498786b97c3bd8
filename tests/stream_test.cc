// Streams: asynchronous, in order, also across communicators and threads.

#include "gossamer/stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "gossamer/group.h"
#include "tests/process_ranks.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

class StreamOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, StreamOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(StreamOver, CallsReturnAtOnceAndGoInOrder) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    Stream stream;
    EXPECT_TRUE(stream.query());
    EXPECT_TRUE(stream.synchronize());
    std::atomic<bool> open{false};
    std::vector<int> order;
    std::vector<int64_t> values(100, 1), arrived(100);
    stream.call([&] {
      while (!open) std::this_thread::sleep_for(milliseconds(1));
      order.push_back(1);
    });
    {
      const Stream::Use on(stream);
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(comm.all_reduce(std::span(values)));
      ASSERT_TRUE(group_start());
      ASSERT_TRUE(comm.send(values.data(), 100, DataType::kInt64, 1 - comm.rank()));
      ASSERT_TRUE(comm.recv(arrived.data(), 100, DataType::kInt64, 1 - comm.rank()));
      ASSERT_TRUE(group_end());
    }
    stream.call([&] { order.push_back(static_cast<int>(arrived[0])); });
    std::this_thread::sleep_for(milliseconds(20));
    EXPECT_FALSE(stream.query());
    EXPECT_EQ(values[0], 1);
    open = true;
    ASSERT_TRUE(stream.synchronize());
    EXPECT_TRUE(stream.query());
    EXPECT_EQ(values, std::vector<int64_t>(100, 8));
    EXPECT_EQ(arrived, values);
    EXPECT_EQ(order, (std::vector<int>{1, 8}));
  });
}

// On one communicator the order is that of the calls, whatever stream is faster.
TEST_P(StreamOver, TwoStreamsOnOneCommunicatorKeepTheOrderOfTheCalls) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    Stream a, b;
    for (int round = 0; round < 30; ++round) {
      std::vector<int64_t> x(100, 1), y(200, 1);
      if (comm.rank() == round % 2) a.call([] { std::this_thread::sleep_for(milliseconds(1)); });
      {
        const Stream::Use on(a);
        ASSERT_TRUE(comm.all_reduce(std::span(x)));
      }
      {
        const Stream::Use on(b);
        ASSERT_TRUE(comm.all_reduce(std::span(y)));
      }
      ASSERT_TRUE(comm.all_reduce(std::span(y)));  // after both
      EXPECT_EQ(x[0], 2);
      EXPECT_EQ(y[0], 4);
      ASSERT_TRUE(b.synchronize());
      ASSERT_TRUE(a.synchronize());
    }
  });
}

TEST_P(StreamOver, ManyStreamsManyCommunicatorsManyThreads) {
  std::vector<std::unique_ptr<RankGroup>> comms;
  for (int i = 0; i < 3; ++i) comms.push_back(std::make_unique<RankGroup>(2, GetParam()));
  on_threads(2, [&](Rank r) {
    std::vector<Stream> streams(2);
    std::vector<std::vector<int64_t>> data(60, std::vector<int64_t>(500, 1));
    for (size_t i = 0; i < data.size(); ++i) {
      const Stream::Use on(streams[i / 3 % 2]);
      ASSERT_TRUE((*comms[i % 3])[r].all_reduce(std::span(data[i])));
    }
    for (Stream& stream : streams) ASSERT_TRUE(stream.synchronize());
    for (const auto& values : data) EXPECT_EQ(values, std::vector<int64_t>(500, 2));
  });
}

TEST_P(StreamOver, AGroupMaySpanStreamsAndCommunicators) {
  RankGroup a(2, GetParam()), b(2, GetParam());
  on_threads(2, [&](Rank r) {
    Stream one, two;
    for (int round = 0; round < 20; ++round) {
      std::vector<int64_t> x(100, 1), y(100, 1), z(100, 1);
      ASSERT_TRUE(group_start());
      {
        const Stream::Use on(one);
        ASSERT_TRUE(a[r].all_reduce(std::span(x)));
      }
      {
        const Stream::Use on(two);
        ASSERT_TRUE(b[r].all_reduce(std::span(y)));
      }
      ASSERT_TRUE(a[r].all_reduce(std::span(z)));  // of the caller: done when the group ends
      ASSERT_TRUE(group_end());
      EXPECT_EQ(z[0], 2);
      ASSERT_TRUE(one.synchronize() && two.synchronize());
      EXPECT_EQ(x[0] + y[0], 4);
    }
  });
}

TEST_P(StreamOver, FailuresAreToldBySynchronizeOnce) {
  RankGroup group(2, GetParam(), "", milliseconds(2'000));  // also to join
  Stream stream;
  std::vector<int64_t> values(100, 1);
  {
    const Stream::Use on(stream);
    // Bad arguments are told at once, and nothing is given to the stream.
    EXPECT_EQ(group[0].send(nullptr, 3, DataType::kInt64, 1).code(), Code::kInvalidArgument);
    EXPECT_TRUE(stream.query());
    ASSERT_TRUE(group[0].recv(values.data(), 100, DataType::kInt64, 1));
  }
  EXPECT_EQ(stream.synchronize().code(), Code::kTimeout);
  EXPECT_TRUE(stream.synchronize());
}

TEST_P(StreamOver, TheEndOfACommunicatorEndsItsCalls) {
  RankGroup group(2, GetParam());
  Stream stream;
  std::vector<int64_t> values(100, 1);
  {
    const Stream::Use on(stream);
    ASSERT_TRUE(group[0].all_reduce(std::span(values)));
    ASSERT_TRUE(group[0].recv(values.data(), 100, DataType::kInt64, 1));
  }
  std::this_thread::sleep_for(milliseconds(20));
  group.leave(0);
  EXPECT_EQ(stream.synchronize().code(), Code::kAborted);
}

TEST(Stream, ItsEndFinishesWhatIsInIt) {
  std::atomic<int> ran{0};
  {
    Stream stream;
    for (int i = 0; i < 10; ++i) {
      stream.call([&] {
        std::this_thread::sleep_for(milliseconds(1));
        ++ran;
      });
    }
  }
  EXPECT_EQ(ran, 10);
}

TEST(Stream, UseNestsAndNullMeansTheCaller) {
  RankGroup group(1);
  Stream outer;
  std::vector<int64_t> values(100, 1);
  std::atomic<bool> open{false};
  outer.call([&] {
    while (!open) std::this_thread::sleep_for(milliseconds(1));
  });
  const Stream::Use on(outer);
  {
    const Stream::Use none(nullptr);
    ASSERT_TRUE(group[0].all_reduce(std::span(values)));  // at once, although `outer` is busy
  }
  ASSERT_TRUE(group[0].all_reduce(std::span(values)));
  EXPECT_FALSE(outer.query());
  open = true;
  EXPECT_TRUE(outer.synchronize());
}

}  // namespace
}  // namespace gossamer
