// C-15: abort from another thread, at any moment, always returns; the process goes on.
// ctest: TIMEOUT 900

#include <dirent.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>

#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

constexpr int kTimes = 100;
constexpr int kSoonMs = 5'000;  // on a busy machine; it takes 20 ms on a quiet one

int entries(const char* path) {
  int count = 0;
  DIR* folder = ::opendir(path);
  while (folder != nullptr && ::readdir(folder) != nullptr) ++count;
  if (folder != nullptr) ::closedir(folder);
  return count;
}

long resident_kib() {
  std::ifstream file("/proc/self/statm");
  long pages = 0;
  file >> pages >> pages;
  return pages * (::sysconf(_SC_PAGESIZE) / 1024);
}

struct Holdings {
  int descriptors = entries("/proc/self/fd");
  int threads = entries("/proc/self/task");
  int mappings = 0;

  Holdings() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      mappings += line.find("gossamer") != std::string::npos ? 1 : 0;
    }
  }
  bool within(const Holdings& before) const {
    return descriptors <= before.descriptors && threads <= before.threads &&
           mappings <= before.mappings;
  }
};

// Meeting points stay open for some seconds after their group has met.
Holdings settled(const Holdings& before) {
  const auto start = now();
  while (!Holdings().within(before) && since(start).count() < 20'000) nap(20);
  return {};
}

void expect_as_before(const Holdings& before, long resident_before) {
  const Holdings after = settled(before);
  EXPECT_LE(after.descriptors, before.descriptors);
  EXPECT_LE(after.threads, before.threads);
  EXPECT_LE(after.mappings, before.mappings);
  EXPECT_LT(resident_kib(), resident_before + 64 * 1024);
}

// Runs `cycle` once to start everything that stays, then many times.
void many_times(const std::function<void()>& cycle) {
  cycle();
  const Holdings none;
  nap(100);
  const Holdings before = settled(Holdings());
  const long resident_before = resident_kib();
  for (int i = 0; i < kTimes && !::testing::Test::HasFailure(); ++i) cycle();
  expect_as_before(none.within(before) ? none : before, resident_before);
}

void use_a_new_one() {
  on_threads(2, [](ncclComm_t comm, int) { expect_sum(comm, 2, 10); });
}

TEST(NcclC15Abort, DuringInit) {
  many_times([] {
    ncclUniqueId id;
    NCCL_OK(ncclGetUniqueId(&id));
    ncclComm_t comm = nullptr;  // written before the call waits, read by the other thread
    std::thread joining([&] {
      ncclResult_t result = ncclSuccess;
      result = ncclCommInitRank(&comm, 2, id, 0);
      EXPECT_EQ(result, ncclInternalError);
    });
    const auto volatile_handle = [&] { return __atomic_load_n(&comm, __ATOMIC_ACQUIRE); };
    while (volatile_handle() == nullptr) std::this_thread::yield();
    const auto start = now();
    NCCL_OK(ncclCommAbort(volatile_handle()));
    EXPECT_LT(since(start).count(), kSoonMs);
    joining.join();
  });
  use_a_new_one();
}

TEST(NcclC15Abort, DuringANonBlockingInit) {
  for (int i = 0; i < kTimes; ++i) {
    ncclComm_t comm = half_made();
    if (i % 2 == 0) nap(i % 5);
    const auto start = now();
    NCCL_OK(i % 4 == 3 ? ncclCommDestroy(comm) : ncclCommAbort(comm));
    EXPECT_LT(since(start).count(), kSoonMs);
    NCCL_IS(ncclInvalidArgument, ncclCommDestroy(comm));
  }
  use_a_new_one();
}

TEST(NcclC15Abort, DuringABlockedCollective) {
  many_times([] {
    std::array<ncclComm_t, 2> comms{};
    NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
    std::atomic<bool> calling{false};
    std::thread blocked([&] {
      float x = 1;
      calling.store(true);
      // rank 1 never calls
      const ncclResult_t result = ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comms[0], nullptr);
      EXPECT_TRUE(result == ncclInternalError || result == ncclInvalidArgument) << result;
    });
    while (!calling.load()) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    const auto start = now();
    NCCL_OK(ncclCommAbort(comms[0]));
    EXPECT_LT(since(start).count(), kSoonMs);
    blocked.join();
    NCCL_IS(ncclInvalidArgument, ncclCommDestroy(comms[0]));
    NCCL_OK(ncclCommAbort(comms[1]));
  });
  use_a_new_one();
}

TEST(NcclC15Abort, DuringABlockedReceive) {
  for (int i = 0; i < 20; ++i) {
    std::array<ncclComm_t, 2> comms{};
    NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
    std::thread blocked([&] {
      float x = 1;
      const ncclResult_t result = ncclRecv(&x, 1, ncclFloat, 1, comms[0], nullptr);
      EXPECT_NE(result, ncclSuccess);
    });
    nap(1);
    NCCL_OK(ncclCommAbort(comms[0]));
    blocked.join();
    NCCL_OK(ncclCommAbort(comms[1]));
  }
}

TEST(NcclC15Abort, DuringASplit) {
  many_times([] {
    std::array<ncclComm_t, 2> comms{};
    NCCL_OK(ncclCommInitAll(comms.data(), 2, nullptr));
    std::atomic<bool> calling{false};
    std::thread splitting([&] {
      ncclComm_t child = nullptr;
      calling.store(true);
      // rank 1 does not; and the handle may be gone before this thread gets to use it
      const ncclResult_t result = ncclCommSplit(comms[0], 0, 0, &child, nullptr);
      EXPECT_TRUE(result == ncclInternalError || result == ncclInvalidArgument) << result;
      EXPECT_EQ(child, nullptr);
    });
    while (!calling.load()) std::this_thread::yield();
    nap(1);
    const auto start = now();
    NCCL_OK(ncclCommAbort(comms[0]));
    EXPECT_LT(since(start).count(), kSoonMs);
    splitting.join();
    NCCL_OK(ncclCommAbort(comms[1]));
  });
  use_a_new_one();
}

TEST(NcclC15Abort, ReachesTheOtherRanks) {
  Processes ranks(3, [](Board& board, int rank) {
    ncclComm_t comm = joined(board, rank, 3);
    board.stage.fetch_add(1);
    board.await(3);
    if (rank == 0) {
      nap(50);
      NCCL_OK(ncclCommAbort(comm));
      board.stage.fetch_add(1);
      return board.await(6);  // its end must not be what the others see
    }
    float x = 1;
    NCCL_IS(ncclRemoteError, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
    board.stage.fetch_add(1);
    NCCL_OK(ncclCommAbort(comm));
  });
  ranks.join_all();
}

TEST(NcclC15Abort, ManyCommunicatorsLeaveNothingBehind) {
  many_times([] { use_a_new_one(); });
}

}  // namespace
}  // namespace gossamer::nccl_test
