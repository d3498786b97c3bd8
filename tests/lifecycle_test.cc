// Communicators come and go: nothing is left behind, whatever moment they are aborted at, in forked
// children and at the end of the process.
//
// ctest: TIMEOUT 900 RUN_SERIAL TRUE

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <filesystem>
#include <latch>
#include <optional>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/group.h"
#include "gossamer/stream.h"
#include "tests/fork_leaks.h"
#include "tests/group_threads.h"
#include "tests/rank_group.h"

namespace gossamer {

namespace {

using Made = Result<std::unique_ptr<Communicator>>;

int64_t resident_bytes() {
  int64_t all = 0;
  int64_t pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    if (std::fscanf(file, "%" SCNd64 " %" SCNd64, &all, &pages) != 2) pages = 0;
    std::fclose(file);
  }
  return pages * ::sysconf(_SC_PAGESIZE);
}

// Names of shared memory that have ours in them. Other programs come and go.
int count_shared() {
  int count = 0;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", failed)) {
    if (entry.path().filename().string().find("gossamer") != std::string::npos) ++count;
  }
  return count;
}

void check_sum(Communicator& comm, uint64_t count = 100) {
  std::vector<int64_t> values(count, 1);
  const Status status = comm.all_reduce(std::span(values));
  ASSERT_TRUE(status) << status.to_string();
  EXPECT_EQ(values.back(), comm.size());
}

class LifecycleOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, LifecycleOver, testing::Values("shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(LifecycleOver, SplittingAndDestroyingManyTimesKeepsNothing) {
  constexpr Rank kSize = 4;
  const int cycles = times(120, 1'000);
  RankGroup group(kSize, GetParam());
  const auto cycle = [&](int i) {
    group.each([&](Communicator& comm) {
      Made half = comm.split(comm.rank() % 2, i % 3 == 0 ? -comm.rank() : 0);
      ASSERT_TRUE(half) << half.status().to_string();
      check_sum(**half, i % 5 == 0 ? 20'000 : 10);
      Work work;
      int64_t value = 0;
      if (i % 4 == 0) {
        work = (*half)->start_recv(&value, 1, DataType::kInt64, 1 - (*half)->rank());
        EXPECT_TRUE((*half)->send(&value, 1, DataType::kInt64, 1 - (*half)->rank()));
        EXPECT_TRUE(work.wait());
        work = Work();
      }
      Made quarter = (*half)->split(comm.rank(), 0);
      ASSERT_TRUE(quarter) << quarter.status().to_string();
      check_sum(**quarter);
      check_sum(comm);  // everybody's split has ended
      if (i % 7 == 0) (*half)->abort();
      half.value().reset();
    });
  };
  for (int i = 0; i < 20; ++i) cycle(i);  // what is made once and kept is there now
  const Holdings before = Holdings::now();
  const int shared_before = count_shared();
  const int64_t resident_before = resident_bytes();
  for (int i = 0; i < cycles && !HasFailure(); ++i) cycle(i);
  EXPECT_EQ(Holdings::settled(before), before);
  EXPECT_LE(count_shared(), shared_before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(resident_bytes() - resident_before, 8 << 20) << cycles << " cycles";
#else
  (void)resident_before;
#endif
}

// What a thread may be in when another one aborts.
enum class Moment { kJoining, kCollective, kMessage, kSplit, kGroup };

void be_in(Moment moment, Communicator& comm, Status* status) {
  std::vector<int64_t> values(100, 1);
  if (moment == Moment::kCollective) *status = comm.all_reduce(std::span(values));
  if (moment == Moment::kMessage) *status = comm.recv(values.data(), 100, DataType::kInt64, 1);
  if (moment == Moment::kSplit) *status = comm.split(0, 0).status();
  if (moment != Moment::kGroup) return;
  EXPECT_TRUE(group_start());
  Status called = comm.all_reduce(std::span(values));  // it may have been aborted by now
  if (called) called = comm.recv(values.data(), 100, DataType::kInt64, 1);
  const Status ended = group_end();
  *status = called ? ended : called;
}

TEST_P(LifecycleOver, AnAbortAtAnyMomentLeavesRoomForANewCommunicator) {
  constexpr std::array kMoments = {Moment::kJoining, Moment::kCollective, Moment::kMessage,
                                   Moment::kSplit, Moment::kGroup};
  const int rounds = times(25, 100);
  std::optional<Holdings> before;
  for (int i = 0; i < rounds && !HasFailure(); ++i) {
    if (i == 5) before = Holdings::now();
    const Moment moment = kMoments[static_cast<size_t>(i) % kMoments.size()];
    if (moment == Moment::kJoining) {
      const TemporaryFolder folder;
      std::atomic<bool> cancelled{false};
      Communicator::Options options = options_of(i % 2, 2, folder.place("id"), GetParam());
      options.cancelled = &cancelled;
      std::thread aborts([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(500 * (i % 20)));
        cancelled = true;
      });
      EXPECT_EQ(Communicator::create(options).status().code(), Code::kAborted);
      aborts.join();
    } else {
      RankGroup group(2, GetParam());
      if (i % 3 == 0) on_threads(2, [&](Rank r) { check_sum(group[r]); });
      std::thread aborts([&] {
        std::this_thread::sleep_for(std::chrono::microseconds(300 * (i % 20)));
        group[0].abort();
      });
      Status status;
      be_in(moment, group[0], &status);
      EXPECT_EQ(status.code(), Code::kAborted) << status.to_string();
      aborts.join();
    }
    RankGroup again(2, GetParam());
    on_threads(2, [&](Rank r) { check_sum(again[r]); });
  }
  ASSERT_TRUE(before);
  EXPECT_EQ(Holdings::settled(*before), *before);
}

// --- processes -----------------------------------------------------------------------------------

// The sanitizer takes the parent's threads for the child's, and for leaks when it ends.
#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_TSAN() GTEST_SKIP() << "a child has none of its parent's threads"
#else
#define SKIP_UNDER_TSAN() (void)0
#endif

// Runs `body` in a forked child; its exit status, or 128 + the signal that ended it.
int in_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    is_child = true;
    ::alarm(60);
    body();
    std::exit(testing::Test::HasFailure() ? 1
                                          : 0);  // NOLINT(concurrency-mt-unsafe): what is tested
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_P(LifecycleOver, AForkedChildMayGoItsOwnWay) {
  SKIP_UNDER_TSAN();
  RankGroup group(2, GetParam());
  std::vector<int64_t> values(100, 1);
  on_threads(2, [&](Rank r) { check_sum(group[r]); });
  Work work = group[0].start_all_reduce(values.data(), values.data(), 100, DataType::kInt64,
                                        ReduceOp::kSum);
  auto stream = std::make_unique<Stream>();
  stream->call([] {});
  ASSERT_TRUE(stream->synchronize());
  EXPECT_EQ(in_child([&] { stream.reset(); }), 0);
  // One that ends at once, one that becomes another program, one that makes a group of its own.
  EXPECT_EQ(in_child([] {}), 0);
  EXPECT_EQ(in_child([] { ::execl("/bin/true", "true", nullptr); }), 0);
  EXPECT_EQ(in_child([] {
              RankGroup own(2, GetParam());
              on_threads(2, [&](Rank r) { check_sum(own[r]); });
            }),
            0);
  // The child's exit takes nobody's leave.
  std::vector<int64_t> others(100, 1);
  EXPECT_TRUE(group[1].all_reduce(std::span(others)));
  EXPECT_TRUE(work.wait());
  EXPECT_EQ(values, others);
  on_threads(2, [&](Rank r) { check_sum(group[r]); });
}

// Statics that outlive main(), in the order in which careless programs make them.
struct Survivors {
  std::vector<std::unique_ptr<Communicator>> comms;
  std::vector<Work> works;
  std::unique_ptr<Stream> stream;
  std::vector<int64_t> values = std::vector<int64_t>(100, 1);
};

TEST_P(LifecycleOver, AProcessMayEndWithLiveCommunicators) {
  SKIP_UNDER_TSAN();
  for (const bool in_static : {false, true}) {
    EXPECT_EQ(in_child([in_static] {
                setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
                static Survivors kept;
                Survivors& survivors = in_static ? kept : *new Survivors;
                const Communicator::Options options{.transport = GetParam()};
                auto all = Communicator::create_all(2, options);
                ASSERT_TRUE(all) << all.status().to_string();
                survivors.comms = std::move(all).value();
                on_threads(2, [&](Rank r) { check_sum(*survivors.comms[static_cast<size_t>(r)]); });
                int64_t* const x = survivors.values.data();
                // A message that never comes, one of them in a stream.
                survivors.stream = std::make_unique<Stream>();
                {
                  const Stream::Use on(*survivors.stream);
                  ASSERT_TRUE(survivors.comms[0]->recv(x, 1, DataType::kInt64, 1));
                }
                if (!in_static) {
                  survivors.works.push_back(
                      survivors.comms[1]->start_recv(x + 1, 1, DataType::kInt64, 0));
                } else {
                  survivors.comms[0]->abort();
                }
              }),
              0)
        << in_static;
  }
}

}  // namespace
}  // namespace gossamer
