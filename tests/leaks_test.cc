// What a process keeps: nothing after a communicator has gone, and no CPU while it is idle.
//
// ctest: TIMEOUT 900 RUN_SERIAL TRUE

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <latch>

#include "tests/group_threads.h"

namespace gossamer {
namespace {

class Leaks : public testing::TestWithParam<const char*> {};

int64_t resident_bytes() {
  int64_t pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    int64_t all = 0;
    if (std::fscanf(file, "%" SCNd64 " %" SCNd64, &all, &pages) != 2) pages = 0;
    std::fclose(file);
  }
  return pages * ::sysconf(_SC_PAGESIZE);
}

int64_t cpu_us() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) { return int64_t{t.tv_sec} * 1'000'000 + t.tv_usec; };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

TEST_P(Leaks, CreatingAndDestroyingManyTimesKeepsNothing) {
  const bool shm = std::string(GetParam()) == "shm";
  const int cycles = times(shm ? 200 : 60, 1'000);
  const auto cycle = [&](int i) {
    run_group(2, GetParam(), [&](Communicator& comm) {
      std::vector<float> values(i % 3 == 0 ? 20'000 : 10, 1.0F);
      if (i % 2 == 0) {
        EXPECT_TRUE(comm.all_reduce(std::span(values)));
      } else {
        EXPECT_TRUE(comm.start_all_reduce(values.data(), values.data(), values.size(),
                                          DataType::kFloat32, ReduceOp::kSum)
                        .wait());
      }
      EXPECT_EQ(values.back(), 2.0F);
    });
  };
  for (int i = 0; i < 20; ++i) cycle(i);  // what is made once and kept is there now
  const Holdings before = Holdings::now();
  const int64_t resident_before = resident_bytes();
  for (int i = 0; i < cycles && !HasFailure(); ++i) cycle(i);
  EXPECT_EQ(Holdings::settled(before), before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Allocators keep some; a leak of one area or plan per cycle would be far above this.
  EXPECT_LT(resident_bytes() - resident_before, 8 << 20) << cycles << " cycles";
#else
  (void)resident_before;
#endif
}

TEST_P(Leaks, AnIdleCommunicatorUsesNoCpu) {
  std::atomic<int64_t> used_us{-1};
  constexpr milliseconds kIdle{1'000};
  constexpr int64_t kEnoughUs = kIdle.count() * 1000 / 100;
  std::latch finished(2);
  std::latch measured(2);
  run_group(2, GetParam(), [&](Communicator& comm) {
    std::vector<float> values(5'000, 1.0F);
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    ASSERT_TRUE(comm.start_all_reduce(values.data(), values.data(), values.size(),
                                      DataType::kFloat32, ReduceOp::kSum)
                    .wait());
    finished.arrive_and_wait();
    if (comm.rank() == 0) {
      // One that is not idle is so in every second; on a busy machine the first may see the end of
      // the calls before.
      for (int i = 0; i < 5 && (used_us < 0 || used_us >= kEnoughUs); ++i) {
        std::this_thread::sleep_for(milliseconds(50));
        const int64_t before = cpu_us();
        std::this_thread::sleep_for(kIdle);
        used_us = cpu_us() - before;
      }
    }
    measured.arrive_and_wait();
  });
  EXPECT_GE(used_us.load(), 0);
  EXPECT_LT(used_us.load(), kEnoughUs) << "microseconds of CPU in one idle second";
}

// A rank that waits for one that is late sleeps.
TEST_P(Leaks, WaitingLongCostsLittleCpu) {
  constexpr milliseconds kLate{1'000};
  constexpr int kRounds = 3;  // one that spins does so in each
  int64_t least_us = INT64_MAX;
  run_group(2, GetParam(), [&](Communicator& comm) {
    std::vector<float> values(500, 1.0F);
    ASSERT_TRUE(comm.all_reduce(std::span(values)));
    for (int i = 0; i < kRounds; ++i) {
      const int64_t before = cpu_us();
      if (comm.rank() == 1) std::this_thread::sleep_for(kLate);
      ASSERT_TRUE(comm.all_reduce(std::span(values)));
      if (comm.rank() == 0) least_us = std::min(least_us, cpu_us() - before);
    }
  });
  EXPECT_LT(least_us, kLate.count() * 1000 / 20);
}

INSTANTIATE_TEST_SUITE_P(Over, Leaks, testing::Values("shm", "tcp"),
                         [](const auto& made) { return std::string(made.param); });

}  // namespace
}  // namespace gossamer
