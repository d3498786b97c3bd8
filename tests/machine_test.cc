// The machine that prices are made for: what devices tell of their links replaces the usual costs.

#include "topology/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "src/net.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr HostSize kHost{2, uint64_t{32} << 20};

Candidate best_of(const Machine& machine, uint64_t bytes) {
  Call call;
  call.count = bytes / sizeof(float);
  return candidates(call, machine, "").front();
}

TEST(Machine, CoresOfAHostAreThoseThatAnyOfItsRanksMayRunOn) {
  EXPECT_EQ(cores_in_any({"0", "1"}), 2);
  EXPECT_EQ(cores_in_any({"0-3,8", "2-5", "8"}), 7);
  EXPECT_EQ(cores_in_any({usable_core_numbers()}), usable_cores());
  EXPECT_EQ(cores_in_any({"", "x", "1-", "-3", "4294967296", "7-99999999"}), 1);
}

// As launchers do it. What is predicted, and so chosen, is the same as without.
TEST(Machine, RanksBoundToACoreEachHaveThemAll) {
  cpu_set_t all;
  CPU_ZERO(&all);
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "needs two cores";
  const auto predicted_us = [](Communicator& comm) {
    auto choice =
        comm.explain(Collective::kAllReduce, 1000, DataType::kFloat32, ReduceOp::kSum, true);
    EXPECT_TRUE(choice.is_ok());
    return choice->predicted_us;
  };
  RankGroup unbound(2, "shm");
  const double expected_us = predicted_us(unbound[0]);
  Result<UniqueId> id = UniqueId::create();
  ASSERT_TRUE(id.is_ok());
  on_threads(2, [&](Rank r) {
    cpu_set_t one;
    CPU_ZERO(&one);
    int core = 0;
    for (Rank seen = -1; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &all) && ++seen == r) break;
    }
    CPU_SET(core, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    Communicator::Options options;
    options.rank = r;
    options.size = 2;
    options.id = &*id;
    options.transport = "shm";
    auto made = Communicator::create(options);
    ASSERT_TRUE(made.is_ok()) << made.status().to_string();
    EXPECT_EQ(predicted_us(**made), expected_us);
  });
}

TEST(Machine, TakesTheSpeedThatDevicesTell) {
  const Machine usual = machine_of({"a", "b"}, kHost, "shm", "tcp");
  const Machine told = machine_of({"a", "b"}, kHost, "shm", "tcp", {125, 0, 0});
  EXPECT_DOUBLE_EQ(told.other_host.wire_us_per_byte, 1.0 / 125);
  EXPECT_DOUBLE_EQ(told.other_host.overhead_us, usual.other_host.overhead_us);
  EXPECT_DOUBLE_EQ(told.same_host.wire_us_per_byte, usual.same_host.wire_us_per_byte);
}

TEST(Machine, VerbsInsideAHostCrossesItsDeviceToo) {
  const Machine told = machine_of({"a", "a"}, kHost, "verbs", "verbs", {140, 25, 0.004});
  EXPECT_DOUBLE_EQ(told.same_host.wire_us_per_byte, 1.0 / 140);
  EXPECT_DOUBLE_EQ(told.same_host.recv_us_per_byte, 0.004);
  EXPECT_DOUBLE_EQ(told.same_host.overhead_us, 25);
  EXPECT_GE(told.same_host.latency_us, 25);
}

TEST(Machine, WhatIsNotKnownIsAsUsual) {
  const Machine usual = machine_of({"a", "b"}, kHost, "verbs", "verbs");
  const Machine told = machine_of({"a", "b"}, kHost, "verbs", "verbs", {0, 0, 0});
  EXPECT_DOUBLE_EQ(told.other_host.wire_us_per_byte, usual.other_host.wire_us_per_byte);
  EXPECT_DOUBLE_EQ(told.other_host.latency_us, usual.other_host.latency_us);
}

TEST(Machine, WhereMessagesAreDearCallsAreCutLess) {
  constexpr uint64_t kBytes = uint64_t{4} << 20;
  const Machine usual = machine_of({"a", "b"}, kHost, "verbs", "verbs");
  const Machine dear = machine_of({"a", "b"}, kHost, "verbs", "verbs", {12e3, 500, 0});
  EXPECT_LT(best_of(dear, kBytes).pieces, best_of(usual, kBytes).pieces);
}

// Where the processors move the bytes, cutting hides nothing.
TEST(Machine, SoftwareDevicesCutInFewPieces) {
  constexpr uint64_t kBytes = uint64_t{4} << 20;
  const Machine software = machine_of({"a", "a"}, kHost, "verbs", "verbs", {0, 25, 1.0 / 277});
  EXPECT_LE(best_of(software, kBytes).pieces, 4U);
}

TEST(Machine, APlainInterfaceHasASpeedOrNone) {
  EXPECT_EQ(speed_of("lo"), 0);
  EXPECT_EQ(speed_of("no-such-interface"), 0);
}

}  // namespace
}  // namespace gossamer
