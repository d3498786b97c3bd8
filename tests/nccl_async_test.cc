// C-13 and C-14: communicators that do not block, and what ncclCommGetAsyncError() says.

#include <gtest/gtest.h>

#include <array>

#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

void on_polling_threads(int size, const RankBody& body) {
  on_threads(size, body, not_blocking);
}

TEST(NcclC13NonBlocking, InitIsInProgressAndMayNotBeUsedUntilItSucceeds) {
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  std::array<ncclComm_t, 2> comms{};
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  not_blocking(config);
  NCCL_IS(ncclInProgress, ncclCommInitRankConfig(comms.data(), 2, id, 0, &config));
  ncclResult_t state = ncclSuccess;
  NCCL_OK(ncclCommGetAsyncError(comms[0], &state));
  EXPECT_EQ(state, ncclInProgress);
  float x = 1;
  int rank = -1;
  NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comms[0], nullptr));
  NCCL_IS(ncclInvalidArgument, ncclCommUserRank(comms[0], &rank));
  NCCL_IS(ncclInProgress, ncclCommInitRankConfig(&comms[1], 2, id, 1, &config));
  for (ncclComm_t comm : comms) NCCL_IS(ncclSuccess, settle(comm));
  NCCL_OK(ncclGroupStart());
  for (ncclComm_t comm : comms) {
    NCCL_OK(ncclBcast(&x, 0, ncclFloat, 0, comm, nullptr));
  }
  NCCL_OK(ncclGroupEnd());
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC13NonBlocking, CallsAndFinalize) {
  on_polling_threads(3, [](ncclComm_t comm, int) {
    expect_sum(comm, 3);
    NCCL_IS(ncclInProgress, ncclCommFinalize(comm));
    NCCL_IS(ncclSuccess, settle(comm));
    float x = 1;
    NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclCommFinalize(comm));
  });
}

TEST(NcclC13NonBlocking, ABlockingFinalizeHappensOnce) {
  on_threads(2, [](ncclComm_t comm, int) {
    expect_sum(comm, 2);
    NCCL_OK(ncclCommFinalize(comm));
    NCCL_IS(ncclInvalidArgument, ncclCommFinalize(comm));
  });
}

// PyTorch waits for the parent and then takes the child's handle as it is.
TEST(NcclC13NonBlocking, ASplitShowsItsChildBeforeItSucceeds) {
  on_polling_threads(4, [](ncclComm_t comm, int rank) {
    for (int i = 0; i < 10; ++i) {
      ncclComm_t child = nullptr;
      NCCL_IS(ncclInProgress, ncclCommSplit(comm, rank % 2, rank, &child, nullptr));
      NCCL_IS(ncclSuccess, settle(comm));
      ASSERT_NE(child, nullptr);
      NCCL_IS(ncclSuccess, settle(child));
      expect_sum(child, 2);
      NCCL_OK(ncclCommDestroy(child));
    }
  });
}

TEST(NcclC13NonBlocking, AGroupIsOfOneKind) {
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  ncclComm_t blocking = nullptr;
  ncclComm_t other = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclCommInitRankConfig(&blocking, 2, id, 0, &config));
  not_blocking(config);
  NCCL_IS(ncclInvalidArgument, ncclCommInitRankConfig(&other, 2, id, 1, &config));
  NCCL_IS(ncclInvalidArgument, ncclGroupEnd());
  EXPECT_EQ(blocking, nullptr);
  EXPECT_EQ(other, nullptr);
}

TEST(NcclC13NonBlocking, AFailedInitIsToldByTheAsyncError) {
  ncclUniqueId id{};
  id.internal[0] = 'x';
  ncclComm_t comm = nullptr;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  not_blocking(config);
  NCCL_IS(ncclInProgress, ncclCommInitRankConfig(&comm, 2, id, 0, &config));
  NCCL_IS(ncclInvalidArgument, settle(comm));
  NCCL_OK(ncclCommAbort(comm));
}

TEST(NcclC14AsyncErrors, SuccessWhileAnOperationRuns) {
  std::atomic<bool> started{false};
  std::atomic<bool> asked{false};
  on_threads(2, [&](ncclComm_t comm, int rank) {
    if (rank == 1) {  // comes late, so that rank 0's call is under way for a while
      while (!asked.load()) nap(1);
      return expect_sum(comm, 2);
    }
    std::thread watchdog([&] {
      while (!started.load()) nap(1);
      nap(20);
      for (int i = 0; i < 100; ++i) {
        ncclResult_t state = ncclInternalError;
        NCCL_IS(ncclSuccess, ncclCommGetAsyncError(comm, &state));
        EXPECT_EQ(state, ncclSuccess);
      }
      asked.store(true);
    });
    started.store(true);
    expect_sum(comm, 2);
    watchdog.join();
  });
}

TEST(NcclC14AsyncErrors, AKilledPeerIsARemoteErrorForAllOthers) {
  for (const char* shm_disabled : {"0", "1"}) {
    const Setting transport("NCCL_SHM_DISABLE", shm_disabled);
    Processes ranks(4, [](Board& board, int rank) {
      ncclComm_t comm = joined(board, rank, 4);
      board.stage.fetch_add(1);
      if (rank == 3) nap(60'000);  // killed meanwhile
      const auto start = now();
      std::vector<float> x(100'000, 1.0F);
      NCCL_IS(ncclRemoteError,
              ncclAllReduce(x.data(), x.data(), x.size(), ncclFloat, ncclSum, comm, nullptr));
      EXPECT_LT(since(start).count(), 15'000);
      EXPECT_NE(std::string(ncclGetLastError(comm)), "");
      ncclResult_t state = ncclSuccess;
      NCCL_OK(ncclCommGetAsyncError(comm, &state));
      EXPECT_EQ(state, ncclRemoteError);
      NCCL_OK(ncclCommAbort(comm));
    });
    ranks.board().await(4);
    nap(50);
    ranks.signal(3, SIGKILL);
    for (int rank = 0; rank < 3; ++rank) EXPECT_TRUE(ranks.join(rank)) << rank;
  }
}

TEST(NcclC14AsyncErrors, AStoppedPeerIsARemoteErrorWhenTheTimeIsUp) {
  const Setting timeout("GOSSAMER_TIMEOUT_MS", "3000");  // also to join
  Processes ranks(2, [](Board& board, int rank) {
    ncclComm_t comm = joined(board, rank, 2);
    board.stage.fetch_add(1);
    board.await(3);
    float x = 1;
    const auto start = now();
    NCCL_IS(ncclRemoteError, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    EXPECT_GT(since(start).count(), 2'500);
    EXPECT_LT(since(start).count(), 20'000);
    NCCL_OK(ncclCommAbort(comm));
  });
  ranks.board().await(2);
  ranks.signal(1, SIGSTOP);
  ranks.board().stage.fetch_add(1);
  EXPECT_TRUE(ranks.join(0));
}

TEST(NcclC14AsyncErrors, DifferentCallsAreNamedNotMixed) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    std::array<float, 8> x{};
    const ncclResult_t result =
        ncclAllReduce(x.data(), x.data(), rank == 0 ? 4 : 8, ncclFloat, ncclSum, comm, nullptr);
    EXPECT_TRUE(result == ncclInvalidUsage || result == ncclRemoteError) << result;
  });
}

}  // namespace
}  // namespace gossamer::nccl_test
