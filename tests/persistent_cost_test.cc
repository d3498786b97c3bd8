// What a persistent collective costs after its first run, and registered memory.

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/memory.h"
#include "gossamer/transport.h"
#include "tests/count_allocations.h"
#include "tests/persistent_plans.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

// int64 values in memory from allocate_memory().
class Shared {
 public:
  explicit Shared(uint64_t count) {
    const Result<void*> made = allocate_memory(count * sizeof(int64_t));
    EXPECT_TRUE(made) << made.status().to_string();
    data_ = made ? static_cast<int64_t*>(*made) : nullptr;
  }
  ~Shared() { EXPECT_TRUE(free_memory(data_)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  int64_t* data() const { return data_; }
  void fill(int64_t value, uint64_t count) const { std::fill_n(data_, count, value); }
  bool all(int64_t value, uint64_t count) const {
    return std::all_of(data_, data_ + count, [=](int64_t x) { return x == value; });
  }

 private:
  int64_t* data_ = nullptr;
};

class PersistentOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, PersistentOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

// --- what it costs -------------------------------------------------------------------------------

struct Cost {
  uint64_t allocated = 0;
  Traffic traffic;
};

// What `run` costs this rank.
template <class Run>
Cost cost_of(Communicator& comm, Run run) {
  const Traffic before = comm.counters().traffic;
  const uint64_t allocated = allocations;
  run();
  Cost cost;
  cost.allocated = allocations - allocated;
  const Traffic after = comm.counters().traffic;
  cost.traffic.copies = after.copies - before.copies;
  cost.traffic.bytes_copied = after.bytes_copied - before.bytes_copied;
  cost.traffic.registrations = after.registrations - before.registrations;
  cost.traffic.exchanges = after.exchanges - before.exchanges;
  cost.traffic.inline_messages = after.inline_messages - before.inline_messages;
  cost.traffic.staged_messages = after.staged_messages - before.staged_messages;
  cost.traffic.direct_messages = after.direct_messages - before.direct_messages;
  return cost;
}

TEST_P(PersistentOver, ASecondRunAllocatesAndExchangesNothing) {
  for (const uint64_t count : {1, 100, 5000, 300'000}) {
    RankGroup group(3, GetParam());
    group.each([count](Communicator& comm) {
      std::vector<int64_t> values = filled(0, count);
      PersistentCollective sum = plan_sum(comm, &values);
      const auto run = [&] {
        ASSERT_TRUE(sum.start());
        ASSERT_TRUE(sum.wait());
      };
      run();
      run();
      const Cost cost = cost_of(comm, [&] {
        for (int i = 0; i < 20; ++i) run();
      });
#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
      EXPECT_EQ(cost.allocated, 0U) << count;
#endif
      EXPECT_EQ(cost.traffic.registrations, 0U);
      EXPECT_EQ(cost.traffic.exchanges, 0U);
      EXPECT_EQ(cost.traffic.inline_messages + cost.traffic.staged_messages +
                    cost.traffic.direct_messages,
                20 * comm.counters().messages_sent / comm.counters().operations);
    });
  }
}

#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
TEST_P(PersistentOver, AStartedCallAllocatesNothingOnceWarm) {
  RankGroup group(2, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(0, 3000), other = filled(0, 100);
    const auto run = [&] {
      Work first = comm.start_all_reduce(values.data(), values.data(), values.size(),
                                         DataType::kInt64, ReduceOp::kSum);
      Work second = comm.start_all_reduce(other.data(), other.data(), other.size(),
                                          DataType::kInt64, ReduceOp::kSum);
      ASSERT_TRUE(first.wait());
      ASSERT_TRUE(second.wait());
    };
    for (int i = 0; i < 3; ++i) run();
    // A list within a transport may grow once more, when a socket is full for the first time.
    uint64_t least = UINT64_MAX;
    for (int batch = 0; batch < 3; ++batch) {
      const Cost cost = cost_of(comm, [&] {
        for (int i = 0; i < 20; ++i) run();
      });
      least = std::min(least, cost.allocated);
    }
    EXPECT_EQ(least, 0U);
  });
}
#endif

// Between ranks that share memory, with buffers of the library's: after the first run nothing is
// copied, whatever the length, and nothing is described to the peer any more, whoever comes first:
// a rank answers out of its own window or into its peer's.
TEST(PersistentCost, InLibraryMemoryNothingIsCopied) {
  constexpr uint64_t kBytesMax = 16 << 20;
  RankGroup group(2, "shm");
  // Both ranks' before any of them runs: all threads of a process look at one table of windows.
  std::vector<std::unique_ptr<Shared>> memory;
  for (int i = 0; i < 4; ++i) memory.push_back(std::make_unique<Shared>(kBytesMax / 8));
  group.each([&memory](Communicator& comm) {
    const auto mine = static_cast<size_t>(comm.rank()) * 2;
    const Shared &values = *memory[mine], &result = *memory[mine + 1];
    for (uint64_t bytes = 64 << 10; bytes <= kBytesMax; bytes *= 4) {
      const uint64_t count = bytes / sizeof(int64_t);
      for (const bool in_place : {true, false}) {
        int64_t* const into = in_place ? values.data() : result.data();
        auto sum =
            comm.plan_all_reduce(values.data(), into, count, DataType::kInt64, ReduceOp::kSum);
        ASSERT_TRUE(sum) << sum.status().to_string();
        const auto run = [&](int64_t value) {
          values.fill(value + comm.rank(), count);
          ASSERT_TRUE(sum->start());
          ASSERT_TRUE(sum->wait());
          ASSERT_TRUE((in_place ? values : result).all(2 * value + 1, count)) << bytes;
          if (!in_place) {  // intact
            ASSERT_TRUE(values.all(value + comm.rank(), count));
          }
        };
        run(1);
        const Cost cost = cost_of(comm, [&] {
          for (int64_t i = 2; i < 6; ++i) run(i);
        });
#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
        EXPECT_EQ(cost.allocated, 0U) << bytes;
#endif
        EXPECT_EQ(cost.traffic.copies, 0U) << bytes << (in_place ? " in place" : "");
        EXPECT_EQ(cost.traffic.bytes_copied, 0U);
        EXPECT_EQ(cost.traffic.staged_messages, 0U);
        EXPECT_EQ(cost.traffic.exchanges, 0U) << bytes << (in_place ? " in place" : "");
        EXPECT_EQ(cost.traffic.registrations, 0U) << bytes << (in_place ? " in place" : "");
        EXPECT_GT(cost.traffic.direct_messages, 0U);
        // Ordinary calls on the same buffers take the same path.
        const Cost ordinary = cost_of(comm, [&] {
          ASSERT_TRUE(
              comm.all_reduce(values.data(), into, count, DataType::kInt64, ReduceOp::kSum));
        });
        EXPECT_EQ(ordinary.traffic.copies + ordinary.traffic.staged_messages, 0U);
      }
    }
    constexpr uint64_t kWindows = 2;  // of a rank
    const Traffic all = comm.counters().traffic;
    EXPECT_EQ(all.exchanges, kWindows);
    EXPECT_EQ(all.registrations, kWindows);
  });
}

// UCX may use only these lanes for as long as this lives.
class OnlyLanes {
 public:
  explicit OnlyLanes(const char* tls) {
    const char* const now = std::getenv("UCX_TLS");
    if (now != nullptr) before_ = now;
    ::setenv("UCX_TLS", tls, 1);
  }
  ~OnlyLanes() {
    if (before_.empty()) {
      ::unsetenv("UCX_TLS");
    } else {
      ::setenv("UCX_TLS", before_.c_str(), 1);
    }
  }
  OnlyLanes(const OnlyLanes&) = delete;
  OnlyLanes& operator=(const OnlyLanes&) = delete;

 private:
  std::string before_;
};

// Over UCX, whichever lanes it uses, nothing is described, registered or allocated any more; over
// its tcp what is longer than a record enters the sinks straight from UCX. (In its shared memory
// UCX puts into a landing area, from which only folds are the last move.)
void cost_over_ucx(const char* tls, bool copies) {
  const TransportFactory* const ucx = find_transport("ucx");
  const OnlyLanes lanes(tls);
  const Status there = ucx->create({}).status();
  if (!there) GTEST_SKIP() << "skipped: " << there.message();
  for (const uint64_t count : {1, 100, 20'000, 4 << 20}) {
    RankGroup group(2, "ucx");
    std::barrier counted(2);
    group.each([&](Communicator& comm) {
      std::vector<int64_t> values = filled(0, count);
      PersistentCollective sum = plan_sum(comm, &values);
      const auto run = [&] {
        ASSERT_TRUE(sum.start());
        ASSERT_TRUE(sum.wait());
      };
      const auto ordinary = [&] { ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values))); };
      run();
      ordinary();
      for (const bool persistent : {true, false}) {
        // On a busy machine more may be under way in UCX than ever before; not again and again.
        Cost cost;
        for (int64_t most = 1, tries = 0; most > 0 && tries < 5; ++tries) {
          cost = cost_of(comm, [&] {
            for (int i = 0; i < 10; ++i) persistent ? run() : ordinary();
          });
          most = static_cast<int64_t>(cost.allocated);
          counted.arrive_and_wait();  // what comes next may come early
          ASSERT_TRUE(comm.all_reduce(&most, &most, 1, DataType::kInt64, ReduceOp::kMax));
        }
#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
        EXPECT_EQ(cost.allocated, 0U) << count << (persistent ? " persistent" : " ordinary");
#endif
        EXPECT_EQ(cost.traffic.registrations, 0U) << count;
        EXPECT_EQ(cost.traffic.exchanges, 0U) << count;
        if (count >= 1 << 20) {
          EXPECT_GT(cost.traffic.direct_messages, 0U);
          EXPECT_EQ(cost.traffic.copies > 0, copies);
        }
      }
    });
  }
}

TEST(PersistentCost, OverUcxTcpNothingIsDescribedOrCopied) {
  cost_over_ucx("tcp,self", false);
}

TEST(PersistentCost, OverUcxSharedMemoryNothingIsDescribed) {
  cost_over_ucx("posix,sysv,cma,self", true);
}

// Other memory is met with one more exchange, and then with none.
TEST(PersistentCost, ANewBufferCostsOneExchange) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    constexpr uint64_t kCount = 1 << 20;
    const Shared first(kCount), second(kCount);
    const auto cost = [&](const Shared& values, uint64_t count) {
      auto sum = comm.plan_all_reduce(values.data(), values.data(), count, DataType::kInt64,
                                      ReduceOp::kSum);
      EXPECT_TRUE(sum);
      return cost_of(comm, [&] {
        EXPECT_TRUE(sum->start());
        EXPECT_TRUE(sum->wait());
      });
    };
    // The other rank's may come with this rank's next run.
    const auto settle = [&](const Shared& values, uint64_t count) {
      Traffic sum = cost(values, count).traffic;
      sum += cost(values, count).traffic;
      return sum;
    };
    const Traffic warm = settle(first, kCount);
    EXPECT_EQ(warm.exchanges, 1U);
    EXPECT_EQ(warm.registrations, 1U);
    const Traffic shorter = settle(first, kCount / 2);  // a part of what is known
    EXPECT_EQ(shorter.exchanges + shorter.registrations, 0U);
    const Traffic other = settle(second, kCount);
    EXPECT_EQ(other.exchanges, 1U);
    EXPECT_EQ(other.registrations, 1U);
    const Traffic again = settle(second, kCount);
    EXPECT_EQ(again.exchanges + again.registrations, 0U);
    const Traffic back = settle(first, kCount);
    EXPECT_EQ(back.exchanges + back.registrations, 0U);
  });
}

// Each link uses what its two ends have.
TEST(PersistentCost, WorksWhenOnlySomeRanksHaveLibraryMemory) {
  RankGroup group(3, "shm");
  RankGroup pair(2, "shm");
  const auto body = [](Communicator& comm) {
    for (const uint64_t count : {1000, 10'000, 1'000'000}) {
      const Shared shared(count);
      std::vector<int64_t> plain(count);
      int64_t* const data = comm.rank() == 0 ? shared.data() : plain.data();
      auto sum = comm.plan_all_reduce(data, data, count, DataType::kInt64, ReduceOp::kSum);
      ASSERT_TRUE(sum);
      for (int64_t round = 0; round < 5; ++round) {
        std::fill_n(data, count, round + comm.rank());
        ASSERT_TRUE(sum->start());
        ASSERT_TRUE(sum->wait());
        const int64_t n = comm.size();
        ASSERT_TRUE(std::all_of(data, data + count,
                                [&](int64_t x) { return x == n * round + n * (n - 1) / 2; }));
      }
    }
  };
  group.each(body);
  pair.each(body);
}

// --- registered memory ---------------------------------------------------------------------------

TEST_P(PersistentOver, MemoryMayBeRegisteredBySomeRanksOnly) {
  RankGroup group(3, GetParam());
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1, 100'000);
    RegistrationId id = 0;
    if (comm.rank() == 1) {
      auto made = comm.register_memory(values.data(), values.size() * sizeof(int64_t));
      ASSERT_TRUE(made) << made.status().to_string();
      id = *made;
      EXPECT_NE(id, 0U);
    }
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
    }
    EXPECT_EQ(values, filled(27, values.size()));
    if (comm.rank() == 1) {
      EXPECT_TRUE(comm.deregister_memory(id));
      const Status twice = comm.deregister_memory(id);
      EXPECT_EQ(twice.code(), Code::kInvalidArgument);
      EXPECT_NE(twice.message().find(std::to_string(id)), std::string::npos) << twice.message();
    }
    ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
    EXPECT_EQ(values, filled(81, values.size()));
  });
}

TEST(Registration, RefusesNothing) {
  RankGroup group(1);
  int64_t value = 0;
  EXPECT_EQ(group[0].register_memory(nullptr, 8).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(group[0].register_memory(&value, 0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(group[0].deregister_memory(0).code(), Code::kInvalidArgument);
}

// --- wakeups -------------------------------------------------------------------------------------

TEST(PersistentCost, CountsHowOftenItSlept) {
  RankGroup group(2, "shm");
  group.each([](Communicator& comm) {
    std::vector<int64_t> values = filled(1);
    ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
    // On a busy machine rank 0 may itself come late, and find nothing to wait for, or be long in
    // giving its core away some times, as it does before it sleeps.
    int64_t slept = 0;
    for (int i = 0; i < 6 && slept == 0; ++i) {
      const uint64_t before = comm.counters().wakeups;
      if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(300 << i));
      ASSERT_TRUE(comm.all_reduce(std::span<int64_t>(values)));
      if (comm.rank() == 0) slept = comm.counters().wakeups > before ? 1 : 0;
      EXPECT_LT(comm.counters().wakeups, before + (uint64_t{100} << i));
      ASSERT_TRUE(comm.broadcast(&slept, &slept, 1, DataType::kInt64, 0));
    }
    EXPECT_EQ(slept, 1);
  });
}

}  // namespace
}  // namespace gossamer
