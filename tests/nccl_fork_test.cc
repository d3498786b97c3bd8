// C-17: processes: fork with communicators alive, exit with communicators alive, loading again.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/fork_leaks.h"
#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

constexpr unsigned kLimitS = 60;

// Runs `body` in a forked child. True: it ended by itself, with 0, in time.
bool in_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    is_child = true;
    ::alarm(kLimitS);
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Two ranks of this process, used once so that threads and connections are there.
std::array<ncclComm_t, 2> a_pair() {
  std::array<ncclComm_t, 2> comms{};
  EXPECT_EQ(ncclCommInitAll(comms.data(), 2, nullptr), ncclSuccess) << ncclGetLastError(nullptr);
  return comms;
}

void expect_both_work(const std::array<ncclComm_t, 2>& comms) {
  std::array<float, 2> x{1, 2};
  NCCL_OK(ncclGroupStart());
  for (size_t r = 0; r < 2; ++r) {
    NCCL_OK(ncclAllReduce(&x.at(r), &x.at(r), 1, ncclFloat, ncclSum, comms.at(r), nullptr));
  }
  NCCL_OK(ncclGroupEnd());
  EXPECT_EQ(x, (std::array<float, 2>{3, 3}));
}

TEST(NcclC17Processes, AChildLeavesItsParentsCommunicatorsAlone) {
  const auto comms = a_pair();
  expect_both_work(comms);
  EXPECT_TRUE(in_child([&] {
    float x = 1;
    NCCL_IS(ncclInvalidUsage, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comms[0], nullptr));
    EXPECT_NE(std::strstr(ncclGetLastError(nullptr), "fork"), nullptr);
    ncclComm_t child = nullptr;
    NCCL_IS(ncclInvalidUsage, ncclCommSplit(comms[0], 0, 0, &child, nullptr));
    NCCL_IS(ncclSuccess, ncclCommAbort(comms[0]));
    NCCL_IS(ncclSuccess, ncclCommDestroy(comms[1]));
  }));
  expect_both_work(comms);
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC17Processes, AChildExitsAndRunsOtherPrograms) {
  const auto comms = a_pair();
  EXPECT_TRUE(in_child([] { std::exit(0); }));
  EXPECT_TRUE(in_child([] { ::execl("/bin/true", "true", nullptr); }));
  expect_both_work(comms);
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
TEST(NcclC17Processes, AChildMakesItsOwn) {
  const auto comms = a_pair();
  expect_both_work(comms);
  EXPECT_TRUE(in_child([] {
    const auto own = a_pair();
    expect_both_work(own);
    for (ncclComm_t comm : own) NCCL_OK(ncclCommDestroy(comm));
  }));
  expect_both_work(comms);
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}
#endif

// The meeting point stays in the parent, which is not a member.
TEST(NcclC17Processes, AnIdOfTheParentServesItsChildren) {
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  Processes ranks(3, [&](Board&, int rank) {
    ncclComm_t comm = nullptr;
    NCCL_OK(ncclCommInitRank(&comm, 3, id, rank));
    expect_sum(comm, 3);
    NCCL_OK(ncclCommDestroy(comm));
  });
  ranks.join_all();
}

TEST(NcclC17Processes, ExitWithLiveCommunicators) {
  for (int i = 0; i < 5; ++i) {
    Processes ranks(2, [](Board& board, int rank) {
      is_child = true;
      EXPECT_NE(joined(board, rank, 2), nullptr);
      board.stage.fetch_add(1);
      board.await(2);
      std::exit(0);  // static destructors run, the library's threads too
    });
    ranks.join_all();
  }
}

TEST(NcclC17Processes, ExitWithAnUnusedMeetingPointAndAHalfMadeCommunicator) {
  Processes ranks(1, [](Board&, int) {
    is_child = true;
    EXPECT_NE(half_made(), nullptr);
    nap(20);
    std::exit(0);
  });
  ranks.join_all();
}

TEST(NcclC17Processes, LoadedUnloadedAndLoadedAgain) {
  for (int i = 0; i < 3; ++i) {
    void* library = ::dlopen(GOSSAMER_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << ::dlerror();
    auto* version = reinterpret_cast<ncclResult_t (*)(int*)>(::dlsym(library, "ncclGetVersion"));
    int value = 0;
    EXPECT_EQ(version(&value), ncclSuccess);
    EXPECT_EQ(value, 22809);
    ::dlclose(library);
  }
}

}  // namespace
}  // namespace gossamer::nccl_test
