// C-16: communicators made from others, and what is left of a revoked one.

#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

int rank_of(ncclComm_t comm) {
  int rank = -1;
  EXPECT_EQ(ncclCommUserRank(comm, &rank), ncclSuccess);
  return rank;
}
int size_of(ncclComm_t comm) {
  int size = -1;
  EXPECT_EQ(ncclCommCount(comm, &size), ncclSuccess);
  return size;
}

TEST(NcclC16Children, ASplitOrdersByKeyThenByRank) {
  on_threads(6, [](ncclComm_t comm, int rank) {
    ncclComm_t child = nullptr;
    NCCL_OK(ncclCommSplit(comm, rank % 2, -rank, &child, nullptr));
    EXPECT_EQ(size_of(child), 3);
    EXPECT_EQ(rank_of(child), 2 - rank / 2);
    expect_sum(child, 3);
    NCCL_OK(ncclCommDestroy(child));
    NCCL_OK(ncclCommSplit(comm, 7, 0, &child, nullptr));
    EXPECT_EQ(rank_of(child), rank);
    expect_sum(child, 6);
    expect_sum(comm, 6);
    NCCL_OK(ncclCommDestroy(child));
  });
}

TEST(NcclC16Children, NoColorNoChild) {
  on_threads(3, [](ncclComm_t comm, int rank) {
    auto* const untouched = reinterpret_cast<ncclComm_t>(&rank);
    ncclComm_t child = untouched;
    NCCL_OK(ncclCommSplit(comm, rank == 1 ? NCCL_SPLIT_NOCOLOR : 0, rank, &child, nullptr));
    EXPECT_EQ(child == nullptr, rank == 1);
    if (child != nullptr) expect_sum(child, 2);
    NCCL_OK(ncclCommDestroy(child));
    NCCL_IS(ncclInvalidArgument, ncclCommSplit(comm, -5, 0, &child, nullptr));
    NCCL_IS(ncclInvalidArgument, ncclCommSplit(comm, 0, 0, nullptr, nullptr));
    expect_sum(comm, 3);
  });
}

TEST(NcclC16Children, AChildOutlivesItsParent) {
  on_processes(4, [](ncclComm_t comm, int rank) {
    ncclComm_t child = nullptr;
    ncclComm_t grandchild = nullptr;
    NCCL_OK(ncclCommSplit(comm, rank / 2, rank, &child, nullptr));
    NCCL_OK(ncclCommSplit(child, 0, -rank, &grandchild, nullptr));
    NCCL_OK(ncclCommDestroy(child));
    expect_sum(grandchild, 2);
    NCCL_OK(ncclCommDestroy(grandchild));
    expect_sum(comm, 4);
  });
}

TEST(NcclC16Children, AChildInheritsWhatItsConfigDoesNotSay) {
  on_threads(
      2,
      [](ncclComm_t comm, int) {
        ncclComm_t child = nullptr;
        NCCL_OK(ncclCommSplit(comm, 0, 0, &child, nullptr));
        float x = 0;
        NCCL_IS(ncclInvalidArgument, ncclBcast(&x, 1, ncclFloat, 9, child, nullptr));
        NCCL_OK(ncclCommDestroy(child));
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.minCTAs = -1;
        NCCL_IS(ncclInvalidArgument, ncclCommSplit(comm, 0, 0, &child, &config));
        expect_sum(comm, 2);
      },
      [](ncclConfig_t& config) { config.commName = "parent"; });
}

TEST(NcclC16Children, SplitsOfSeveralCommunicatorsInAGroup) {
  constexpr size_t kSize = 4;
  std::array<ncclComm_t, kSize> comms{};
  std::array<ncclComm_t, kSize> children{};
  NCCL_OK(ncclCommInitAll(comms.data(), kSize, nullptr));
  NCCL_OK(ncclGroupStart());
  for (size_t r = 0; r < kSize; ++r) {
    NCCL_OK(ncclCommSplit(comms.at(r), static_cast<int>(r % 2), 0, &children.at(r), nullptr));
  }
  NCCL_OK(ncclGroupEnd());
  for (size_t r = 0; r < kSize; ++r) {
    EXPECT_EQ(size_of(children.at(r)), 2);
    NCCL_OK(ncclCommDestroy(children.at(r)));
    NCCL_OK(ncclCommDestroy(comms.at(r)));
  }
}

TEST(NcclC16Children, AShrunkGroupClosesUp) {
  on_threads(5, [](ncclComm_t comm, int rank) {
    expect_sum(comm, 5);
    if (rank == 1 || rank == 3) return;
    std::array<int, 2> excluded{3, 1};  // in any order
    ncclComm_t child = nullptr;
    NCCL_OK(ncclCommShrink(comm, excluded.data(), 2, &child, nullptr, NCCL_SHRINK_DEFAULT));
    EXPECT_EQ(size_of(child), 3);
    EXPECT_EQ(rank_of(child), rank / 2);
    expect_sum(child, 3);
    NCCL_OK(ncclCommDestroy(child));
  });
}

TEST(NcclC16Children, ShrinkChecksItsArguments) {
  on_threads(2, [](ncclComm_t comm, int rank) {
    ncclComm_t child = nullptr;
    int other = 1 - rank;
    int own = rank;
    int nobody = 2;
    NCCL_IS(ncclInvalidArgument, ncclCommShrink(comm, nullptr, 0, &child, nullptr, 0));
    NCCL_IS(ncclInvalidArgument, ncclCommShrink(comm, &own, 1, &child, nullptr, 0));
    NCCL_IS(ncclInvalidArgument, ncclCommShrink(comm, &nobody, 1, &child, nullptr, 0));
    NCCL_IS(ncclInvalidArgument, ncclCommShrink(comm, &other, 1, &child, nullptr, 5));
    NCCL_IS(ncclInvalidArgument, ncclCommShrink(comm, &other, 1, nullptr, nullptr, 0));
    expect_sum(comm, 2);
  });
}

TEST(NcclC16Children, ShrinkAfterARankHasDied) {
  Processes ranks(4, [](Board& board, int rank) {
    ncclComm_t comm = joined(board, rank, 4);
    // Nobody dies while another still needs it for that sum.
    board.stage.fetch_add(1);
    board.await(4);
    if (rank == 2) ::raise(SIGKILL);
    float x = 1;
    NCCL_IS(ncclRemoteError, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    int dead = 2;
    ncclComm_t child = nullptr;
    NCCL_OK(ncclCommShrink(comm, &dead, 1, &child, nullptr, NCCL_SHRINK_ABORT));
    NCCL_OK(ncclCommAbort(comm));
    EXPECT_EQ(size_of(child), 3);
    expect_sum(child, 3);
    board.stage.fetch_add(1);
    board.await(4 + 3);
    NCCL_OK(ncclCommDestroy(child));
  });
  for (const int rank : {0, 1, 3}) EXPECT_TRUE(ranks.join(rank)) << rank;
}

TEST(NcclC16Children, ARevokedOneMayBeSplitAndDestroyedOnly) {
  std::atomic<int> summed{0};
  on_threads(3, [&](ncclComm_t comm, int) {
    expect_sum(comm, 3);
    // A revocation ends what other ranks have in flight too.
    summed.fetch_add(1);
    while (summed.load() < 3) nap(1);
    NCCL_IS(ncclInvalidArgument, ncclCommRevoke(comm, 1));
    NCCL_OK(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
    float x = 1;
    NCCL_IS(ncclInvalidUsage, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    ncclResult_t state = ncclInternalError;
    NCCL_OK(ncclCommGetAsyncError(comm, &state));
    EXPECT_EQ(state, ncclSuccess);
    ncclComm_t child = nullptr;
    NCCL_OK(ncclCommSplit(comm, 0, 0, &child, nullptr));
    expect_sum(child, 3);
    NCCL_OK(ncclCommDestroy(child));
  });
}

TEST(NcclC16Children, RevokeEndsWhatIsInFlight) {
  std::array<ncclComm_t, 2> comms{};
  NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
  std::thread blocked([&] {
    float x = 1;
    EXPECT_NE(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comms[0], nullptr), ncclSuccess);
  });
  nap(20);
  NCCL_OK(ncclCommRevoke(comms[0], 0));
  blocked.join();
  NCCL_OK(ncclCommRevoke(comms[1], 0));
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

}  // namespace
}  // namespace gossamer::nccl_test
