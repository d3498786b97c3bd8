// C-12: groups of calls, on one communicator and on several of one thread.

#include <gtest/gtest.h>

#include <array>

#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

TEST(NcclC12Groups, NestedAndEmpty) {
  on_threads(3, [](ncclComm_t comm, int) {
    float x = 1;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclGroupEnd());
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclGroupEnd());
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(x, 1) << "an inner end must start nothing";
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(x, 3);
    NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
  });
}

TEST(NcclC12Groups, CollectivesOfAllKindsTogether) {
  on_threads(4, [](ncclComm_t comm, int rank) {
    const auto mine = static_cast<float>(rank);
    std::array<float, 4> gathered{};
    std::array<float, 4> parts{1, 2, 3, 4};
    float sum = 0;
    float largest = 0;
    float part = 0;
    float word = rank == 2 ? 42.0F : 0.0F;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclAllReduce(&mine, &sum, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_OK(ncclAllReduce(&mine, &largest, 1, ncclFloat, ncclMax, comm, nullptr));
    NCCL_OK(ncclAllGather(&mine, gathered.data(), 1, ncclFloat, comm, nullptr));
    NCCL_OK(ncclReduceScatter(parts.data(), &part, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_OK(ncclBcast(&word, 1, ncclFloat, 2, comm, nullptr));
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(sum, 6);
    EXPECT_EQ(largest, 3);
    EXPECT_EQ(gathered, (std::array<float, 4>{0, 1, 2, 3}));
    EXPECT_EQ(part, 4 * static_cast<float>(rank + 1));
    EXPECT_EQ(word, 42);
  });
}

TEST(NcclC12Groups, ARingOfMessages) {
  for (const size_t count : {size_t{0}, size_t{1}, size_t{5000}, size_t{300'000}}) {
    on_threads(4, [count](ncclComm_t comm, int rank) {
      const std::vector<int> out(count, rank);
      std::vector<int> in(count, -1);
      NCCL_OK(ncclGroupStart());
      NCCL_OK(ncclSend(out.data(), count, ncclInt, (rank + 1) % 4, comm, nullptr));
      NCCL_OK(ncclRecv(in.data(), count, ncclInt, (rank + 3) % 4, comm, nullptr));
      NCCL_OK(ncclGroupEnd());
      for (const int value : in) ASSERT_EQ(value, (rank + 3) % 4);
    });
  }
}

// As torch.distributed's all-to-all: every pair, oneself, and lengths that differ and may be 0.
void uneven_all_to_all(ncclComm_t comm, int rank, int size) {
  const auto length = [](int from, int to) { return static_cast<size_t>((from * 3 + to) % 5); };
  std::vector<std::vector<int>> out(static_cast<size_t>(size));
  std::vector<std::vector<int>> in(static_cast<size_t>(size));
  NCCL_OK(ncclGroupStart());
  for (int peer = 0; peer < size; ++peer) {
    std::vector<int>& to = out[static_cast<size_t>(peer)];
    std::vector<int>& from = in[static_cast<size_t>(peer)];
    to.assign(length(rank, peer), rank * 100 + peer);
    from.assign(length(peer, rank), -1);
    NCCL_OK(ncclSend(to.data(), to.size(), ncclInt, peer, comm, nullptr));
    NCCL_OK(ncclRecv(from.data(), from.size(), ncclInt, peer, comm, nullptr));
  }
  NCCL_OK(ncclGroupEnd());
  for (int peer = 0; peer < size; ++peer) {
    for (const int value : in[static_cast<size_t>(peer)]) ASSERT_EQ(value, peer * 100 + rank);
  }
}

TEST(NcclC12Groups, AllToAllWithOneselfAndEmptyMessages) {
  on_threads(5, [](ncclComm_t comm, int rank) {
    for (int i = 0; i < 20; ++i) uneven_all_to_all(comm, rank, 5);
  });
  on_processes(3, [](ncclComm_t comm, int rank) { uneven_all_to_all(comm, rank, 3); });
}

TEST(NcclC12Groups, SeveralMessagesToOneselfInOrder) {
  on_threads(1, [](ncclComm_t comm, int) {
    const std::array<int, 2> out{7, 8};
    std::array<int, 2> in{};
    NCCL_OK(ncclGroupStart());
    for (size_t i = 0; i < 2; ++i) {
      NCCL_OK(ncclRecv(&in.at(i), 1, ncclInt, 0, comm, nullptr));
      NCCL_OK(ncclSend(&out.at(i), 1, ncclInt, 0, comm, nullptr));
    }
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(in, out);
  });
}

TEST(NcclC12Groups, MessagesOutsideOfGroups) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    for (int i = 0; i < 50; ++i) {
      int value = rank == 0 ? i : -1;
      NCCL_OK(rank == 0 ? ncclSend(&value, 1, ncclInt, 1, comm, nullptr)
                        : ncclRecv(&value, 1, ncclInt, 0, comm, nullptr));
      ASSERT_EQ(value, i);
    }
  });
}

TEST(NcclC12Groups, UnevenBroadcastsWithDifferentRoots) {
  on_threads(4, [](ncclComm_t comm, int rank) {
    std::vector<std::vector<double>> parts(4);
    NCCL_OK(ncclGroupStart());
    for (int root = 0; root < 4; ++root) {
      std::vector<double>& part = parts[static_cast<size_t>(root)];
      part.assign(static_cast<size_t>(root) * 10 + 1, rank == root ? root : -1);
      NCCL_OK(ncclBroadcast(rank == root ? part.data() : nullptr, part.data(), part.size(),
                            ncclDouble, root, comm, nullptr));
    }
    NCCL_OK(ncclGroupEnd());
    for (int root = 0; root < 4; ++root) {
      for (const double value : parts[static_cast<size_t>(root)]) ASSERT_EQ(value, root);
    }
  });
}

// All ranks of a group in one thread: nothing completes unless all of them go on together.
TEST(NcclC12Groups, SeveralCommunicatorsOfOneThread) {
  constexpr size_t kSize = 4;
  std::array<ncclComm_t, kSize> comms{};
  NCCL_OK(ncclCommInitAll(comms.data(), kSize, nullptr));
  for (const size_t count : {size_t{1}, size_t{100}, size_t{200'000}}) {
    std::vector<std::vector<float>> x(kSize, std::vector<float>(count, 1.0F));
    std::vector<std::vector<float>> y(kSize, std::vector<float>(count));
    NCCL_OK(ncclGroupStart());
    for (size_t r = 0; r < kSize; ++r) {
      NCCL_OK(
          ncclAllReduce(x[r].data(), x[r].data(), count, ncclFloat, ncclSum, comms.at(r), nullptr));
      NCCL_OK(ncclSend(x[r].data(), 0, ncclFloat, static_cast<int>((r + 1) % kSize), comms.at(r),
                       nullptr));
      NCCL_OK(ncclRecv(y[r].data(), 0, ncclFloat, static_cast<int>((r + 3) % kSize), comms.at(r),
                       nullptr));
    }
    NCCL_OK(ncclGroupEnd());
    for (size_t r = 0; r < kSize; ++r) {
      for (const float value : x[r]) ASSERT_EQ(value, kSize);
    }
  }
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC12Groups, InitInsideAGroup) {
  constexpr int kSize = 3;
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  std::array<ncclComm_t, kSize> comms{};
  NCCL_OK(ncclGroupStart());
  for (int r = 0; r < kSize; ++r) {
    NCCL_OK(ncclCommInitRank(&comms.at(static_cast<size_t>(r)), kSize, id, r));
  }
  NCCL_OK(ncclGroupEnd());
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC12Groups, AnOperationDestroyedBeforeTheEnd) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    float x = 10;
    float factor = static_cast<float>(rank + 1);
    ncclRedOp_t op;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclRedOpCreatePreMulSum(&op, &factor, ncclFloat, ncclScalarHostImmediate, comm));
    factor = 99;
    NCCL_OK(ncclAllReduce(&x, &x, 1, ncclFloat, op, comm, nullptr));
    NCCL_OK(ncclRedOpDestroy(op, comm));
    NCCL_OK(ncclGroupEnd());
    EXPECT_EQ(x, 30);
  });
}

TEST(NcclC12Groups, AnErrorDropsTheGroup) {
  on_threads(2, [](ncclComm_t comm, int) {
    float x = 1;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclBcast(&x, 1, ncclFloat, 9, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclGroupEnd());
    EXPECT_EQ(x, 1);
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    // found at the end only, when the buffers are looked at
    NCCL_OK(ncclAllReduce(nullptr, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclGroupEnd());
    EXPECT_EQ(x, 1);
    expect_sum(comm, 2);
  });
}

TEST(NcclC12Groups, SetUpAndUseDoNotMix) {
  on_threads(1, [](ncclComm_t comm, int) {
    ncclUniqueId id;
    NCCL_OK(ncclGetUniqueId(&id));
    ncclComm_t other = nullptr;
    float x = 1;
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclCommInitRank(&other, 1, id, 0));
    NCCL_OK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
    EXPECT_EQ(other, nullptr);
  });
}

TEST(NcclC12Groups, ASimulatedEndRunsNothingAndSaysHowLongItTakes) {
  on_threads(2, [](ncclComm_t comm, int) {
    std::vector<float> x(1 << 20, 1.0F);
    std::array<float, 2> estimates{};
    for (size_t i = 0; i < 2; ++i) {
      ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
      NCCL_OK(ncclGroupStart());
      NCCL_OK(ncclAllReduce(x.data(), x.data(), i == 0 ? 1 : x.size(), ncclFloat, ncclSum, comm,
                            nullptr));
      NCCL_OK(ncclGroupSimulateEnd(&info));
      estimates.at(i) = info.estimatedTime;
      EXPECT_EQ(x[0], 1);
    }
    EXPECT_GT(estimates[0], 0);
    EXPECT_GT(estimates[1], estimates[0]);
    expect_sum(comm, 2);
  });
}

}  // namespace
}  // namespace gossamer::nccl_test
