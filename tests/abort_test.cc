// abort() from another thread always returns, ends what is under way and reaches the other ranks.

#include "tests/group_threads.h"

namespace gossamer {
namespace {

// It takes 20 ms. Far more than a busy machine adds, and less than the deadline of the calls.
constexpr int64_t kSoonUs = 10'000'000;

class Abort : public testing::TestWithParam<const char*> {};

Status sum(Communicator& comm, uint64_t count = 100) {
  std::vector<float> values(count, 1.0F);
  return comm.all_reduce(std::span(values));
}

// A peer of one that aborted hears that, or that it is gone if it has left meanwhile.
void expect_ended(const Status& status, Rank at_fault) {
  EXPECT_TRUE(status.code() == Code::kAborted || status.code() == Code::kPeerLost)
      << status.message();
  EXPECT_EQ(status.rank(), at_fault) << status.message();
}

void expect_aborted(const Status& status, Rank at_fault) {
  EXPECT_EQ(status.code(), Code::kAborted) << status.message();
  EXPECT_EQ(status.rank(), at_fault) << status.message();
  EXPECT_NE(status.message().find("abort()"), std::string::npos) << status.message();
}

TEST_P(Abort, EndsABlockedCall) {
  for (const bool opened : {false, true}) {
    Gate blocked(2);
    Gate finished(2);
    run_group(2, GetParam(), [&](Communicator& comm) {
      if (opened) {
        ASSERT_TRUE(sum(comm));
      }
      if (comm.rank() == 1) {  // never calls
        blocked.arrive_and_wait();
        finished.arrive_and_wait();
        const int64_t start_us = now_us();
        expect_ended(sum(comm, 100'000), 0);
        EXPECT_LT(now_us() - start_us, kSoonUs);
        return;
      }
      std::thread other([&] {
        blocked.arrive_and_wait();
        std::this_thread::sleep_for(milliseconds(30));
        const int64_t start_us = now_us();
        comm.abort();
        comm.abort();
        EXPECT_LT(now_us() - start_us, kSoonUs);
      });
      std::vector<float> input(100'000, 4.0F);
      std::vector<float> output(input.size());
      const Status status = comm.all_reduce(input.data(), output.data(), input.size(),
                                            DataType::kFloat32, ReduceOp::kSum);
      expect_aborted(status, 0);
      EXPECT_EQ(input, std::vector<float>(input.size(), 4.0F));
      other.join();
      expect_aborted(sum(comm), 0);
      expect_aborted(comm.status(), 0);
      finished.arrive_and_wait();
    });
  }
}

TEST_P(Abort, EndsTheCallsOfOtherRanksToo) {
  Gate begun(3);
  Gate finished(3);
  run_group(3, GetParam(), [&](Communicator& comm) {
    EXPECT_TRUE(sum(comm));
    begun.arrive_and_wait();
    if (comm.rank() == 2) {
      std::this_thread::sleep_for(milliseconds(50));
      comm.abort();
    } else {
      const int64_t start_us = now_us();
      expect_aborted(sum(comm, 50'000), 2);
      EXPECT_LT(now_us() - start_us, kSoonUs);
    }
    finished.arrive_and_wait();
  });
}

TEST_P(Abort, BeforeAnyCallReachesThoseThatCallLater) {
  Gate aborted(3);
  Gate finished(3);
  run_group(3, GetParam(), [&](Communicator& comm) {
    if (comm.rank() == 0) comm.abort();
    aborted.arrive_and_wait();
    const int64_t start_us = now_us();
    const Status status = sum(comm);
    EXPECT_LT(now_us() - start_us, kSoonUs);
    if (comm.rank() == 0) {
      expect_aborted(status, 0);
    } else {
      expect_ended(status, 0);
    }
    finished.arrive_and_wait();
  });
}

TEST_P(Abort, EndsAsynchronousOperations) {
  Gate finished(2);
  run_group(2, GetParam(), [&](Communicator& comm) {
    if (comm.rank() == 0) {
      std::vector<float> values(1000, 1.0F);
      std::vector<Work> works;
      for (int i = 0; i < 5; ++i) {
        works.push_back(comm.start_all_reduce(values.data(), values.data(), values.size(),
                                              DataType::kFloat32, ReduceOp::kSum));
      }
      std::this_thread::sleep_for(milliseconds(30));
      comm.abort();
      for (Work& work : works) expect_aborted(work.wait(), 0);
    }
    finished.arrive_and_wait();
  });
}

// The other thread calls without end; whatever moment abort() hits, both threads and all ranks end.
TEST_P(Abort, AtAnyMomentEndsEverybody) {
  for (int i = 0; i < times(30, 300); ++i) {
    Gate finished(2);
    run_group(2, GetParam(), [&](Communicator& comm) {
      std::atomic<bool> stop{false};
      std::thread other;
      if (comm.rank() == 0) {
        other = std::thread([&] {
          std::this_thread::sleep_for(std::chrono::microseconds(37 * i));
          comm.abort();
          stop = true;
        });
      }
      // Rank 0 calls no more once abort() has returned: only abort() can tell rank 1.
      Status status;
      while (status && !stop) status = sum(comm);
      if (comm.rank() == 0) {
        other.join();
        expect_aborted(comm.status(), 0);
      } else {
        expect_ended(status, 0);
      }
      finished.arrive_and_wait();
    });
  }
}

TEST_P(Abort, LeavesRoomForANewCommunicator) {
  Gate begun(2);
  Gate aborted(2);
  run_group(2, GetParam(), [&](Communicator& comm) {
    EXPECT_TRUE(sum(comm));
    begun.arrive_and_wait();
    if (comm.rank() == 1) comm.abort();
    aborted.arrive_and_wait();
    EXPECT_FALSE(sum(comm));
  });
  run_group(2, GetParam(), [&](Communicator& comm) { EXPECT_TRUE(sum(comm)); });
}

// Rank 0 of a group whose rank 1 never comes; another thread cancels.
void cancel_a_create(const char* transport, std::chrono::microseconds after) {
  const TemporaryFolder folder;
  std::atomic<bool> cancelled{false};
  Communicator::Options options = options_of(0, 2, folder.place("id"), transport);
  options.cancelled = &cancelled;
  std::thread other([&] {
    std::this_thread::sleep_for(after);
    cancelled.store(true);
  });
  const auto comm = Communicator::create(options);
  EXPECT_EQ(comm.status().code(), Code::kAborted) << comm.status().message();
  other.join();
}

// Rank 0 is in `call`, and rank 1 is not; another thread of rank 0's aborts.
void abort_a_call(const char* transport, std::chrono::microseconds after,
                  const std::function<Status(Communicator&)>& call) {
  Gate finished(2);
  run_group(2, transport, [&](Communicator& comm) {
    if (comm.rank() == 0) {
      std::thread other([&] {
        std::this_thread::sleep_for(after);
        comm.abort();
      });
      expect_aborted(call(comm), 0);
      other.join();
    }
    finished.arrive_and_wait();
  });
}

// Joining, a blocked collective, a split; after each the process makes a group that works.
TEST_P(Abort, AHundredTimesInEveryPhaseLeavesAProcessThatGoesOn) {
  const auto go_on = [&] {
    run_group(2, GetParam(), [](Communicator& comm) { EXPECT_TRUE(sum(comm)); });
  };
  for (int i = 0; i < 100 && !HasFailure(); ++i) {
    const std::chrono::microseconds after(23 * i);
    cancel_a_create(GetParam(), after);
    go_on();
    abort_a_call(GetParam(), after, [](Communicator& comm) { return sum(comm); });
    go_on();
    abort_a_call(GetParam(), after, [](Communicator& comm) { return comm.split(0, 0).status(); });
    go_on();
  }
}

TEST(AbortJoining, CancelsACreateThatWaits) {
  const TemporaryFolder folder;
  std::atomic<bool> cancelled{false};
  Communicator::Options options = options_of(1, 2, folder.place("id"), "shm");
  options.cancelled = &cancelled;
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(30));
    cancelled.store(true);
  });
  const int64_t start_us = now_us();
  const auto comm = Communicator::create(options);
  EXPECT_LT(now_us() - start_us, kSoonUs);
  EXPECT_EQ(comm.status().code(), Code::kAborted) << comm.status().message();
  other.join();
}

INSTANTIATE_TEST_SUITE_P(Over, Abort, testing::Values("shm", "tcp"),
                         [](const auto& made) { return std::string(made.param); });

}  // namespace
}  // namespace gossamer
