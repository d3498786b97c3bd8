// The machine that prices are made for: what devices tell of their links replaces the usual costs.

#include "topology/machine.h"

#include <gtest/gtest.h>

#include "src/net.h"

namespace gossamer {
namespace {

constexpr HostSize kHost{2, uint64_t{32} << 20};

Candidate best_of(const Machine& machine, uint64_t bytes) {
  Call call;
  call.count = bytes / sizeof(float);
  return candidates(call, machine, "").front();
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
