// C-12 on streams: calls given a gossamerStream_t are asynchronous and in order.

#include <gtest/gtest.h>

#include <array>

#include "gossamer/gossamer.h"
#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

// A stream of libgossamer.so, as NCCL's calls take it.
class HostStream {
 public:
  HostStream() { EXPECT_EQ(gossamerStreamCreate(&stream_), gossamerSuccess); }
  HostStream(const HostStream&) = delete;
  HostStream& operator=(const HostStream&) = delete;
  ~HostStream() { EXPECT_EQ(gossamerStreamDestroy(stream_), gossamerSuccess); }

  cudaStream_t get() const { return reinterpret_cast<cudaStream_t>(stream_); }
  void synchronize() const { EXPECT_EQ(gossamerStreamSynchronize(stream_), gossamerSuccess); }
  // Holds up what comes after it until *open.
  void hold(std::atomic<bool>* open) const {
    const auto wait = [](void* flag) {
      while (!static_cast<std::atomic<bool>*>(flag)->load()) nap(1);
    };
    EXPECT_EQ(gossamerStreamCall(stream_, wait, open), gossamerSuccess);
  }

 private:
  gossamerStream_t stream_ = nullptr;
};

TEST(NcclC12Streams, CallsReturnBeforeTheyRunAndRunInOrder) {
  std::array<ncclComm_t, 2> comms{};
  NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
  std::array<HostStream, 2> streams;
  std::array<float, 2> x{1, 2};
  std::atomic<bool> open{false};
  streams[0].hold(&open);
  for (int i = 0; i < 10; ++i) {  // one thread, both ranks, no groups: nothing may block
    for (size_t r = 0; r < 2; ++r) {
      NCCL_OK(ncclAllReduce(&x.at(r), &x.at(r), 1, ncclFloat, ncclSum, comms.at(r),
                            streams.at(r).get()));
    }
  }
  nap(20);
  EXPECT_EQ(x, (std::array<float, 2>{1, 2}));
  ncclResult_t state = ncclInternalError;
  NCCL_OK(ncclCommGetAsyncError(comms[1], &state));
  EXPECT_EQ(state, ncclSuccess);
  open.store(true);
  for (const HostStream& stream : streams) stream.synchronize();
  EXPECT_EQ(x, (std::array<float, 2>{1536, 1536}));
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

// Ranks give their calls to streams of different speed; the calls are matched in their own order.
TEST(NcclC12Streams, OneCommunicatorOnTwoStreams) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    const HostStream slow;
    const HostStream fast;
    std::atomic<bool> open{rank == 1};
    slow.hold(&open);
    std::array<float, 2> x{1, 10};
    NCCL_OK(ncclAllReduce(&x[0], &x[0], 1, ncclFloat, ncclSum, comm, slow.get()));
    NCCL_OK(ncclAllReduce(&x[1], &x[1], 1, ncclFloat, ncclSum, comm, fast.get()));
    nap(5);
    open.store(true);
    slow.synchronize();
    fast.synchronize();
    EXPECT_EQ(x, (std::array<float, 2>{2, 20}));
    // and a call that runs at once waits for its turn behind them
    std::atomic<bool> again{false};
    slow.hold(&again);
    NCCL_OK(ncclAllReduce(&x[0], &x[0], 1, ncclFloat, ncclSum, comm, slow.get()));
    std::thread opener([&] {
      nap(5);
      again.store(true);
    });
    NCCL_OK(ncclAllReduce(&x[1], &x[1], 1, ncclFloat, ncclSum, comm, nullptr));
    opener.join();
    slow.synchronize();
    EXPECT_EQ(x, (std::array<float, 2>{4, 40}));
  });
}

TEST(NcclC12Streams, AGroupOfSeveralCommunicatorsAndStreams) {
  constexpr size_t kSize = 4;
  std::array<ncclComm_t, kSize> comms{};
  NCCL_OK(ncclCommInitAll(comms.data(), kSize, nullptr));
  std::array<HostStream, kSize> streams;
  std::array<float, kSize> x{1, 1, 1, 1};
  std::atomic<bool> open{false};
  streams[2].hold(&open);
  NCCL_OK(ncclGroupStart());
  for (size_t r = 0; r < kSize; ++r) {
    NCCL_OK(
        ncclAllReduce(&x.at(r), &x.at(r), 1, ncclFloat, ncclSum, comms.at(r), streams.at(r).get()));
  }
  NCCL_OK(ncclGroupEnd());
  open.store(true);
  for (const HostStream& stream : streams) stream.synchronize();
  EXPECT_EQ(x, (std::array<float, kSize>{4, 4, 4, 4}));
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC12Streams, SplitAndFinalizeTakeTheirPlaceBehindEarlierCalls) {
  on_threads(2, [](ncclComm_t comm, int) {
    const HostStream stream;
    std::vector<float> x(100'000, 1.0F);
    for (int i = 0; i < 5; ++i) {
      NCCL_OK(ncclAllReduce(x.data(), x.data(), x.size(), ncclFloat, ncclSum, comm, stream.get()));
    }
    ncclComm_t child = nullptr;
    NCCL_OK(ncclCommSplit(comm, 0, 0, &child, nullptr));
    NCCL_OK(ncclCommDestroy(child));
    NCCL_OK(ncclAllReduce(x.data(), x.data(), x.size(), ncclFloat, ncclSum, comm, stream.get()));
    NCCL_OK(ncclCommFinalize(comm));
    EXPECT_EQ(x.back(), 64);
  });
}

TEST(NcclC12Streams, AbortEndsWhatStandsInStreams) {
  for (int i = 0; i < 20; ++i) {
    std::array<ncclComm_t, 2> comms{};
    NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
    const HostStream stream;
    std::array<float, 3> x{};
    for (float& value : x) {  // rank 1 never calls
      NCCL_OK(ncclAllReduce(&value, &value, 1, ncclFloat, ncclSum, comms[0], stream.get()));
    }
    if (i % 2 == 0) nap(2);
    const auto start = now();
    NCCL_OK(ncclCommAbort(comms[0]));
    EXPECT_LT(since(start).count(), 5'000);
    stream.synchronize();  // it drains
    NCCL_OK(ncclCommAbort(comms[1]));
  }
}

TEST(NcclC12Streams, AFailureIsTheAsyncErrorOfTheCommunicator) {
  on_threads(1, [](ncclComm_t comm, int) {
    const HostStream stream;
    float x = 1;
    NCCL_OK(ncclAllReduce(nullptr, &x, 1, ncclFloat, ncclSum, comm, stream.get()));
    stream.synchronize();
    ncclResult_t state = ncclSuccess;
    NCCL_OK(ncclCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, ncclInvalidArgument);
    EXPECT_NE(std::string(ncclGetLastError(comm)).find("null"), std::string::npos);
  });
}

TEST(NcclC12Streams, ADestroyedStreamIsRefused) {
  on_threads(1, [](ncclComm_t comm, int) {
    cudaStream_t gone = nullptr;
    {
      const HostStream stream;
      gone = stream.get();
    }
    float x = 1;
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, gone));
    expect_sum(comm, 1);
  });
}

}  // namespace
}  // namespace gossamer::nccl_test
