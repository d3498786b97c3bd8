// Communicators whose ranks watch each other: ranks that are stopped, killed, or hang, as processes
// over shm and tcp, with probes every 200 ms instead of every second.
//
// ctest: TIMEOUT 400 RUN_SERIAL TRUE

#include "gossamer/communicator.h"
#include "tests/ports.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

constexpr milliseconds kInterval{200};
// Far more than it takes, and than a busy machine adds; far less than the communicators' deadline.
constexpr milliseconds kDetected{40'000};
constexpr milliseconds kDeadline{120'000};

Communicator::Options watched(Rank rank, Rank size, const std::string& rendezvous,
                              const std::string& transport) {
  Communicator::Options options = options_of(rank, size, rendezvous, transport, kDeadline);
  options.membership = true;
  options.probe_interval = kInterval;
  return options;
}

void wait_for_stage(Report& report, int stage) {
  while (report.stage.load() < stage) std::this_thread::sleep_for(milliseconds(1));
}

enum class Doing { kNothing, kAllReduce };

// From `stage` on, until the communicator has failed.
Status go_on(Communicator& comm, Doing doing, Report& report, int stage = 1) {
  std::vector<int32_t> values(1000, 1);
  Status status = comm.all_reduce(std::span(values));
  report.stage = stage;
  while (status) {
    if (doing == Doing::kAllReduce) {
      status = comm.all_reduce(std::span(values));
    } else {
      std::this_thread::sleep_for(milliseconds(1));
      status = comm.status();
      if (status && report.values[7].load() != 0) status = comm.all_reduce(std::span(values));
    }
  }
  return status;
}

void expect_lost(ProcessRanks& ranks, Rank victim) {
  for (Rank r = 0; r < ranks.size(); ++r) {
    if (r == victim) continue;
    EXPECT_EQ(ranks.report(r).code, Code::kPeerLost) << r << ": " << ranks.report(r).sentence();
    EXPECT_EQ(ranks.report(r).at_fault, victim) << r << ": " << ranks.report(r).sentence();
  }
}

// SIGSTOP: the process is there, its connections are, and it says nothing. SIGKILL while nothing is
// under way: no transport looks.
void expect_found(const char* transport, int signal, Doing doing) {
  SCOPED_TRACE(std::string(transport) + (signal == SIGSTOP ? " stopped" : " killed") +
               (doing == Doing::kNothing ? " idle" : " busy"));
  constexpr Rank kVictim = 2;
  const TemporaryFolder folder;
  ProcessRanks ranks(4, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(watched(rank, 4, folder.place("id"), transport));
    report.keep(comm.status());
    if (!comm) return;
    report.keep(go_on(**comm, doing, report));
    report.stage = 2;
    wait_for_stage(report, 3);
  });
  ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
  const int64_t begin = now_us();
  ranks.signal(kVictim, signal);
  ASSERT_TRUE(ranks.wait_stage(2, kDetected, kVictim));
  expect_lost(ranks, kVictim);
  int64_t last = begin;
  for (Rank r = 0; r < 4; ++r) {
    if (r != kVictim) last = std::max(last, ranks.report(r).at_us);
  }
  std::printf("%s, signal %d: all survivors knew after %.1f intervals\n", transport, signal,
              static_cast<double>(last - begin) / 1000 / static_cast<double>(kInterval.count()));
  if (signal == SIGSTOP) {
    // It learns with its next call that the others have gone on without it.
    ranks.report(kVictim).values[7] = 1;
    ranks.signal(kVictim, SIGCONT);
    ASSERT_TRUE(ranks.wait_stage(2, kDetected));
    EXPECT_EQ(ranks.report(kVictim).code, Code::kPeerLost) << ranks.report(kVictim).sentence();
    EXPECT_EQ(ranks.report(kVictim).at_fault, kVictim) << ranks.report(kVictim).sentence();
  }
  for (Rank r = 0; r < 4; ++r) ranks.report(r).stage = 3;
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
}

TEST(Watched, AStoppedRankIsLostToAllOthers) {
  for (const char* transport : {"shm", "tcp"}) {
    expect_found(transport, SIGSTOP, Doing::kAllReduce);
    expect_found(transport, SIGSTOP, Doing::kNothing);
  }
}

TEST(Watched, AKilledRankIsLostWhenNothingIsUnderWay) {
  for (const char* transport : {"shm", "tcp"}) expect_found(transport, SIGKILL, Doing::kNothing);
}

TEST(Watched, ByTheEnvironmentAndWithoutAKey) {
  const std::string rendezvous = "tcp://127.0.0.1:" + std::to_string(free_port());
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    ::setenv("GOSSAMER_MEMBERSHIP", "1", 1);
    auto options = options_of(rank, 2, rendezvous, "tcp", kDeadline);
    options.probe_interval = kInterval;
    auto comm = Communicator::create(options);
    report.keep(comm.status());
    if (!comm) return;
    report.keep(go_on(**comm, Doing::kNothing, report));
    report.stage = 2;
    wait_for_stage(report, 3);
  });
  ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
  ranks.signal(0, SIGSTOP);
  ASSERT_TRUE(ranks.wait_stage(2, kDetected, 0));
  EXPECT_EQ(ranks.report(1).code, Code::kPeerLost) << ranks.report(1).sentence();
  EXPECT_EQ(ranks.report(1).at_fault, 0);
  EXPECT_TRUE(ranks.report(1).says("rank 0 does not answer")) << ranks.report(1).sentence();
}

TEST(Watched, WhoTakesLeaveIsNotDead) {
  const TemporaryFolder folder;
  ProcessRanks ranks(3, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(watched(rank, 3, folder.place("id"), "shm"));
    report.keep(comm.status());
    if (!comm) return;
    std::vector<int32_t> values(10, 1);
    report.keep((*comm)->all_reduce(std::span(values)));
    if (rank == 1) comm->reset();
    report.stage = 1;
    if (rank == 1) return;
    std::this_thread::sleep_for(30 * kInterval);
    report.keep((*comm)->status());
    report.stage = 2;
  });
  ASSERT_TRUE(ranks.wait_stage(2, milliseconds(40'000), 1));
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
  for (Rank r = 0; r < 3; ++r) EXPECT_EQ(ranks.report(r).code, Code::kOk) << r;
}

// Ranks 0 to 2 send each other messages; rank 3 has done something before, and then nothing until
// all, it too, have seen that it hangs.
TEST(Watched, ARankThatHangsIsReportedAndNoFailure) {
  constexpr Rank kHangs = 3;
  const TemporaryFolder folder;
  ProcessRanks ranks(4, [&](Rank rank, Report& report) {
    auto options = watched(rank, 4, folder.place("id"), "tcp");
    options.stuck_after = milliseconds(1'000);
    auto comm = Communicator::create(options);
    report.keep(comm.status());
    if (!comm) return;
    // What rank 0 knows of the end comes round to the others.
    int32_t ends = 0;
    Status status = (*comm)->all_reduce(std::span(&ends, 1));
    while (status && (rank == kHangs ? report.stage.load() < 2 : ends == 0)) {
      if ((*comm)->stuck_ranks() == std::vector<Rank>{kHangs} && report.stage.load() == 0) {
        report.stage = 1;
      }
      std::this_thread::sleep_for(milliseconds(1));
      if (rank == kHangs) continue;
      if (rank == 0) ends = report.stage.load() == 2 ? 1 : 0;
      if (rank != 0) status = (*comm)->recv(&ends, 1, DataType::kInt32, rank - 1);
      if (status) status = (*comm)->send(&ends, 1, DataType::kInt32, (rank + 1) % 3);
      int32_t back = 0;
      if (status && rank == 0) status = (*comm)->recv(&back, 1, DataType::kInt32, 2);
    }
    // Now rank 3 does something again.
    if (status) status = (*comm)->all_reduce(std::span(&ends, 1));
    while (status && !(*comm)->stuck_ranks().empty()) {
      std::this_thread::sleep_for(milliseconds(1));
      status = (*comm)->status();
    }
    report.keep(status);
    report.stage = 3;
    wait_for_stage(report, 4);
  });
  ASSERT_TRUE(ranks.wait_stage(1, kDetected));
  for (Rank r = 0; r < 4; ++r) ranks.report(r).stage = 2;
  ASSERT_TRUE(ranks.wait_stage(3, kDetected));
  for (Rank r = 0; r < 4; ++r) {
    EXPECT_EQ(ranks.report(r).code, Code::kOk) << ranks.report(r).sentence();
    ranks.report(r).stage = 4;
  }
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
}

TEST(Watched, GroupsMadeFromAWatchedOneAreToo) {
  const TemporaryFolder folder;
  ProcessRanks ranks(5, [&](Rank rank, Report& report) {
    auto comm = Communicator::create(watched(rank, 5, folder.place("id"), "shm"));
    report.keep(comm.status());
    if (!comm) return;
    report.values[0] = go_on(**comm, Doing::kNothing, report).rank();
    const std::vector<Rank> excluded = {1};
    auto rest = (*comm)->shrink(excluded);
    report.keep(rest.status());
    if (!rest) return;
    comm->reset();
    auto part = (*rest)->split(0, -(*rest)->rank());  // the other way round
    report.keep(part.status());
    if (!part) return;
    // 0, 2, 3, 4; 4, 3, 2, 0
    report.values[1] = go_on(**rest, Doing::kNothing, report, 2).rank();
    Status status;
    while ((status = (*part)->status())) std::this_thread::sleep_for(milliseconds(1));
    report.keep(status);
    report.stage = 3;
    wait_for_stage(report, 4);
  });
  ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
  ranks.kill(1);
  ASSERT_TRUE(ranks.wait_stage(2, kDetected, 1));
  ranks.signal(4, SIGSTOP);
  for (const Rank r : {0, 2, 3}) {
    const int64_t end = now_us() + kDetected.count() * 1000;
    while (ranks.report(r).stage.load() < 3 && now_us() < end) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_EQ(ranks.report(r).values[0], 1);
    EXPECT_EQ(ranks.report(r).values[1], 3);
    EXPECT_EQ(ranks.report(r).code, Code::kPeerLost) << ranks.report(r).sentence();
    EXPECT_EQ(ranks.report(r).at_fault, 0) << ranks.report(r).sentence();
  }
}

// Threads and descriptors of a process, with nothing but a communicator.
TEST(Watched, OffItHasNoThreadAndNoSocket) {
  for (const bool on : {false, true}) {
    const TemporaryFolder folder;
    ProcessRanks ranks(2, [&](Rank rank, Report& report) {
      const Holdings before = Holdings::now();
      auto options = watched(rank, 2, folder.place("id"), "shm");
      options.membership = on;
      auto comm = Communicator::create(options);
      report.keep(comm.status());
      if (!comm) return;
      std::vector<int32_t> values(10, 1);
      report.keep((*comm)->all_reduce(std::span(values)));
      // A meeting point ends by itself.
      Holdings expected = before;
      expected.threads += on ? 1 : 0;
      const int64_t end = now_us() + 10'000'000;
      Holdings now = Holdings::now();
      while (now.threads != expected.threads && now_us() < end) {
        std::this_thread::sleep_for(milliseconds(2));
        now = Holdings::now();
      }
      report.values[0] = now.threads - before.threads;
      report.values[1] = now.descriptors - before.descriptors;
      report.keep((*comm)->all_reduce(std::span(values)));
      report.values[2] = static_cast<int64_t>((*comm)->stuck_ranks().size());
      report.stage = 1;
      wait_for_stage(report, 2);
      comm->reset();
      report.values[3] = Holdings::settled(before) == before ? 1 : 0;
    });
    ASSERT_TRUE(ranks.wait_stage(1, milliseconds(30'000)));
    static int64_t descriptors_off = 0;
    for (Rank r = 0; r < 2; ++r) {
      EXPECT_EQ(ranks.report(r).code, Code::kOk) << ranks.report(r).sentence();
      EXPECT_EQ(ranks.report(r).values[0], on ? 1 : 0);
      if (on) {  // socket, eventfd, epoll
        EXPECT_EQ(ranks.report(r).values[1], descriptors_off + 3);
      } else {
        descriptors_off = ranks.report(r).values[1];
      }
      EXPECT_EQ(ranks.report(r).values[2], 0);
      ranks.report(r).stage = 2;
    }
    EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
    for (Rank r = 0; r < 2; ++r) EXPECT_EQ(ranks.report(r).values[3], 1);
  }
}

TEST(Watched, RanksThatDisagreeAreTold) {
  for (const bool interval : {false, true}) {
    const TemporaryFolder folder;
    ProcessRanks ranks(2, [&](Rank rank, Report& report) {
      auto options = watched(rank, 2, folder.place("id"), "shm");
      if (rank == 1 && interval) options.probe_interval = 2 * kInterval;
      if (rank == 1 && !interval) options.membership = false;
      report.keep(Communicator::create(options).status());
      report.stage = 1;
    });
    ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
    for (Rank r = 0; r < 2; ++r) {
      EXPECT_EQ(ranks.report(r).code, Code::kMismatch) << ranks.report(r).sentence();
      EXPECT_TRUE(ranks.report(r).says("GOSSAMER_MEMBERSHIP")) << ranks.report(r).sentence();
    }
    EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
  }
}

TEST(Watched, RefusesTimesThatMakeNoSense) {
  Communicator::Options options;
  options.rank = 0;
  options.size = 1;
  options.membership = true;
  EXPECT_TRUE(Communicator::create(options).is_ok());  // alone, it watches nobody
  options.probe_interval = milliseconds(9);
  EXPECT_EQ(Communicator::create(options).status().code(), Code::kInvalidArgument);
  options.probe_interval = milliseconds(-1);
  EXPECT_EQ(Communicator::create(options).status().code(), Code::kInvalidArgument);
  options.probe_interval = milliseconds(0);
  options.stuck_after = milliseconds(-1);
  EXPECT_EQ(Communicator::create(options).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace gossamer
