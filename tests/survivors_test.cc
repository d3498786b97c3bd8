// Ranks as processes, one of which is killed: the others hear which, and go on without it.
//
// ctest: TIMEOUT 900

#include <vector>

#include "gossamer/communicator.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

// Killed while others wait for its messages: named on all of them, over processes.
TEST(Survivors, HearWhomTheyWaitForInVain) {
  for (const char* transport : {"shm", "tcp"}) {
    const TemporaryFolder folder;
    ProcessRanks ranks(3, [&](Rank rank, Report& report) {
      auto comm = Communicator::create(options_of(rank, 3, folder.place("id"), transport));
      if (!comm) return report.keep(comm.status());
      std::vector<int32_t> values(10);
      const Rank next = (rank + 1) % 3;
      const Rank prev = (rank + 2) % 3;
      Work in = (*comm)->start_recv(values.data(), 10, DataType::kInt32, prev);
      Status status = (*comm)->send(values.data(), 10, DataType::kInt32, next);
      if (status) status = in.wait();
      report.stage = 1;
      if (status) status = (*comm)->recv(values.data(), 10, DataType::kInt32, rank == 1 ? 0 : 1);
      report.keep(status);
      report.stage = 2;
      while (report.stage.load() < 3) std::this_thread::sleep_for(milliseconds(1));
    });
    ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
    std::this_thread::sleep_for(milliseconds(50));
    ranks.kill(1);
    ASSERT_TRUE(ranks.wait_stage(2, milliseconds(20'000), 1));
    for (const Rank r : {0, 2}) {
      EXPECT_EQ(ranks.report(r).code, Code::kPeerLost) << ranks.report(r).sentence();
      EXPECT_EQ(ranks.report(r).at_fault, 1) << ranks.report(r).sentence();
      ranks.report(r).stage = 3;
    }
    EXPECT_TRUE(ranks.wait_end(milliseconds(20'000), 1));
  }
}

// Killed, not gone in order, among processes; the lowest rank too, so that another one's door
// serves.
TEST(Survivors, GoOnInASmallerGroup) {
  for (const char* transport : {"shm", "tcp"}) {
    for (const Rank victim : {0, 2}) {
      const TemporaryFolder folder;
      ProcessRanks ranks(4, [&](Rank rank, Report& report) {
        auto comm = Communicator::create(options_of(rank, 4, folder.place("id"), transport));
        if (!comm) return report.keep(comm.status());
        std::vector<int64_t> values(1000, 1);
        Status status = (*comm)->all_reduce(std::span(values));
        report.stage = 1;
        while (status) status = (*comm)->all_reduce(std::span(values));
        report.values[0] = status.rank();
        const std::vector<Rank> excluded = {status.rank()};
        Result<std::unique_ptr<Communicator>> made = (*comm)->shrink(excluded, {.abort = true});
        report.keep(made.status());
        comm.value().reset();
        if (made) {
          std::vector<int64_t> ones(100, 1);
          report.keep((*made)->all_reduce(std::span(ones)));
          report.values[1] = ones[99];
        }
        report.stage = 2;
        while (report.stage.load() < 3) std::this_thread::sleep_for(milliseconds(1));
      });
      ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
      ranks.kill(victim);
      ASSERT_TRUE(ranks.wait_stage(2, milliseconds(30'000), victim));
      for (Rank r = 0; r < 4; ++r) {
        if (r == victim) continue;
        EXPECT_EQ(ranks.report(r).values[0], victim);
        EXPECT_EQ(ranks.report(r).code, Code::kOk) << ranks.report(r).sentence();
        EXPECT_EQ(ranks.report(r).values[1], 3);
        ranks.report(r).stage = 3;
      }
      EXPECT_TRUE(ranks.wait_end(milliseconds(20'000), victim));
    }
  }
}

}  // namespace
}  // namespace gossamer
