// Failure detection in simulated time, held against its formulas: when a death is noticed and known
// to all, that nobody is buried alive, and what Lifeguard adds where members are slow.
//
// ctest: TIMEOUT 900

#include <cmath>
#include <cstdio>
#include <map>

#include "tests/member_world.h"

namespace gossamer::swim {
namespace {

using std::chrono::seconds;

constexpr Duration kPeriod = seconds(1);  // of the default timing

bool is_ping(std::span<const std::byte> datagram) {
  return datagram[3] == std::byte{static_cast<uint8_t>(Kind::kPing)};
}

// Mean number of periods until some member probes one of n that has just died: each of n - 1
// members probes it in a period with probability 1 / (n - 1).
double expected_periods(size_t n) {
  const auto m = static_cast<double>(n - 1);
  return 1 / (1 - std::pow(1 - 1 / m, m));
}

// Periods from the death of `victim` until the first ping to it.
double first_probe(MemberWorld* world, size_t victim) {
  world->crash(victim);
  const Instant died = world->now();
  Instant first{-1};
  world->on_send = [&](size_t, size_t to, std::span<const std::byte> datagram) {
    if (to != victim || !is_ping(datagram)) return;
    first = world->now();
    world->stop = true;
  };
  world->run_for(kPeriod * 4'000);
  world->on_send = nullptr;
  world->stop = false;
  EXPECT_GE(first, died);
  return std::ceil(static_cast<double>((first - died).count()) /
                   static_cast<double>(kPeriod.count()));
}

void expect_first_probe(size_t n, int worlds, int deaths) {
  Mean mean;
  for (int w = 0; w < worlds; ++w) {
    MemberWorld world({.seed = static_cast<uint64_t>(w) + 1});
    world.start_group(n);
    world.run_for(scaled(kPeriod, 2 + world.random().real() * 2 * static_cast<double>(n)));
    for (int d = 0; d < deaths; ++d) {
      const size_t victim = world.random().below(n);
      if (!world.up(victim)) continue;
      mean.add(first_probe(&world, victim));
      world.run_for(scaled(kPeriod, 1 + world.random().real()));
    }
  }
  std::printf("n %zu: first probe after %.3f periods, expected %.3f (%d deaths)\n", n, mean.value(),
              expected_periods(n), mean.count);
  EXPECT_NEAR(mean.value(), expected_periods(n), 0.1 * expected_periods(n));
}

TEST(MembershipE27, FirstDetectionTakesTheExpectedTimeOf8) {
  expect_first_probe(8, 600, 1);
}

TEST(MembershipE27, FirstDetectionTakesTheExpectedTimeOf10) {
  expect_first_probe(10, 600, 1);
}

TEST(MembershipE27, FirstDetectionTakesTheExpectedTimeOf64) {
  expect_first_probe(64, 60, 5);
}

TEST(MembershipE27, FirstDetectionTakesTheExpectedTimeOf100) {
  expect_first_probe(100, 30, 10);
}

// Ten die at once, a hundredth of the group, and each is waited for.
TEST(MembershipE27, FirstDetectionTakesTheExpectedTimeOf1000) {
  MemberWorld world({.seed = 3});
  world.start_group(1'000);
  world.run_for(kPeriod * 5);
  Mean mean;
  for (size_t first = 0; first < 200; first += 10) {
    const Instant died = world.now();
    std::vector<Instant> probed(10, Instant(0));
    for (size_t i = 0; i < 10; ++i) world.crash(first + i);
    world.on_send = [&](size_t, size_t to, std::span<const std::byte> datagram) {
      if (to < first || to >= first + 10 || !is_ping(datagram)) return;
      Instant& at = probed[to - first];
      if (at == Instant(0)) at = world.now();
    };
    EXPECT_TRUE(world.run_until_holds(kPeriod * 50, [&] {
      return std::find(probed.begin(), probed.end(), Instant(0)) == probed.end();
    }));
    for (const Instant at : probed) {
      mean.add(std::ceil(static_cast<double>((at - died).count()) /
                         static_cast<double>(kPeriod.count())));
    }
  }
  world.on_send = nullptr;
  std::printf("n 1000: first probe after %.3f periods, expected %.3f (%d deaths)\n", mean.value(),
              expected_periods(1'000), mean.count);
  EXPECT_NEAR(mean.value(), expected_periods(1'000), 0.1 * expected_periods(1'000));
}

void expect_no_false_death(size_t n, int periods, double loss) {
  MemberWorld world({.seed = n, .loss = loss});
  world.start_group(n);
  world.run_for(kPeriod * periods);
  const size_t suspected = world.count_seen(MemberEventKind::kSuspected);
  std::printf("n %zu, %.0f %% loss, %d periods: %zu suspicions seen, %zu deaths\n", n, loss * 100,
              periods, suspected, world.count_seen(MemberEventKind::kDied));
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
  EXPECT_TRUE(world.all_agree());
}

TEST(MembershipE27, NoFalseDeathAt5PercentLossAmong8) {
  expect_no_false_death(8, 1'000, 0.05);
}

TEST(MembershipE27, NoFalseDeathAt5PercentLossAmong10) {
  expect_no_false_death(10, 1'000, 0.05);
}

TEST(MembershipE27, NoFalseDeathAt5PercentLossAmong64) {
  expect_no_false_death(64, 1'000, 0.05);
}

TEST(MembershipE27, NoFalseDeathAt5PercentLossAmong100) {
  expect_no_false_death(100, 500, 0.05);
}

TEST(MembershipE27, NoFalseDeathAt5PercentLossAmong1000) {
  expect_no_false_death(1'000, 40, 0.05);
}

// From the death until the first member and until the last one has heard of it, in periods.
struct Spread {
  double first = 0;
  double last = 0;
};
Spread time_of_death(MemberWorld* world, size_t victim) {
  const Instant died = world->now();
  const MemberId id = world->id(victim);
  world->clear_seen();
  world->crash(victim);
  EXPECT_TRUE(world->run_until_holds(kPeriod * 200, [&] { return world->all_agree(); }));
  Spread spread{1e9, 0};
  for (const MemberWorld::Seen& s : world->seen()) {
    if (s.event.kind != MemberEventKind::kDied) continue;
    EXPECT_EQ(s.event.member.id, id);
    const double periods =
        static_cast<double>((s.at - died).count()) / static_cast<double>(kPeriod.count());
    spread.first = std::min(spread.first, periods);
    spread.last = std::max(spread.last, periods);
  }
  return spread;
}

// A probe begins after 1.6 periods on average and lasts one; then comes the least suspicion, which
// holds once three others agree. They do within a few periods: each period one more member on
// average probes the dead one. All know within lambda log10 n periods more.
void expect_time_of_death(size_t n, int deaths) {
  MemberWorld world({.seed = n + 17});
  world.start_group(n);
  world.run_for(kPeriod * 3);
  const double suspicion = static_cast<double>(least_suspicion(kPeriod, 4, n).count()) /
                           static_cast<double>(kPeriod.count());
  const double spreading = 4 * std::log10(static_cast<double>(n));
  Mean first;
  Mean last;
  for (int d = 0; d < deaths; ++d) {
    const Spread spread = time_of_death(&world, static_cast<size_t>(d));
    first.add(spread.first);
    last.add(spread.last);
    EXPECT_GE(spread.first, suspicion);
    EXPECT_LE(spread.last - spread.first, spreading);
  }
  std::printf("n %zu: dead after %.2f periods, known to all after %.2f; least suspicion %.2f\n", n,
              first.value(), last.value(), suspicion);
  EXPECT_GE(first.value(), suspicion + 1);
  EXPECT_LE(first.value(), suspicion + 1 + expected_periods(n) + 3.5);
}

TEST(MembershipDetection, ADeathIsKnownToAllInTimeAmong10) {
  expect_time_of_death(10, 4);
}

TEST(MembershipDetection, ADeathIsKnownToAllInTimeAmong100) {
  expect_time_of_death(100, 10);
}

TEST(MembershipDetection, ADeathIsKnownToAllInTimeAmong1000) {
  expect_time_of_death(1'000, 4);
}

TEST(MembershipDetection, EveryDeathOfHalfTheGroupIsFound) {
  MemberWorld world({.seed = 4, .loss = 0.02});
  world.start_group(40);
  world.run_for(kPeriod * 5);
  for (size_t i = 0; i < 20; ++i) world.crash(i);
  EXPECT_TRUE(world.run_until_holds(kPeriod * 300, [&] { return world.all_agree(); }));
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 20u * 20u);
}

// The work of a member does not depend on how many there are.
TEST(MembershipDetection, TheLoadOfAMemberIsConstant) {
  double before = 0;
  for (const size_t n : {10u, 100u, 1'000u}) {
    MemberWorld world({.seed = 2});
    world.start_group(n);
    world.run_for(kPeriod * 2);
    const auto start = world.traffic();
    world.run_for(kPeriod * 20);
    const double members = static_cast<double>(n) * 20;
    const double datagrams =
        static_cast<double>(world.traffic().datagrams - start.datagrams) / members;
    const double bytes = static_cast<double>(world.traffic().bytes - start.bytes) / members;
    std::printf("n %zu: %.2f datagrams and %.0f bytes per member and period\n", n, datagrams,
                bytes);
    EXPECT_NEAR(datagrams, 2.2, 0.1);  // a ping, an ack, and a comparison every 10 periods
    if (before > 0) {
      EXPECT_NEAR(bytes, before, 0.1 * before);
    }
    before = bytes;
  }
}

// One member in ten looks at what arrives up to `delay` late. Counts deaths of prompt ones.
size_t false_deaths(bool lifeguard, uint64_t seed, Duration delay) {
  MemberWorld::Options options{.seed = seed};
  options.timing.lifeguard = lifeguard;
  MemberWorld world(options);
  constexpr size_t kMembers = 50;
  world.start_group(kMembers);
  std::unordered_set<MemberId> slow;
  for (size_t i = 0; i < kMembers; i += 10) {
    world.make_slow(i, delay);
    slow.insert(world.id(i));
  }
  world.run_for(kPeriod * 200);
  size_t count = 0;
  for (const MemberWorld::Seen& s : world.seen()) {
    count += s.event.kind == MemberEventKind::kDied && !slow.contains(s.event.member.id);
  }
  return count;
}

TEST(MembershipLifeguard, SlowMembersBuryFewerPromptOnes) {
  size_t plain = 0;
  size_t guarded = 0;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    for (const int periods : {4, 8, 16}) {
      const size_t without = false_deaths(false, seed, kPeriod * periods);
      const size_t with = false_deaths(true, seed, kPeriod * periods);
      std::printf("seed %d, up to %d periods late: %zu false deaths seen, with Lifeguard %zu\n",
                  static_cast<int>(seed), periods, without, with);
      plain += without;
      guarded += with;
    }
  }
  EXPECT_GT(plain, 100u);
  EXPECT_LE(guarded * 10, plain);
}

// Datagrams of one kind among those sent.
struct Tally {
  std::map<Kind, int> sent;
  void count(std::span<const std::byte> datagram) {
    ++sent[static_cast<Kind>(std::to_integer<uint8_t>(datagram[3]))];
  }
};

// Where most have died the living must not take their helpers' silence for a fault of their own.
TEST(MembershipLifeguard, ManyDeathsDoNotSlowDownTheLiving) {
  MemberWorld world({.seed = 25});
  world.start_group(12);
  world.run_for(kPeriod * 2);
  const Instant start = world.now();
  int highest = 0;
  for (size_t i = 0; i < 9; ++i) world.crash(i);
  EXPECT_TRUE(world.run_until_holds(kPeriod * 100, [&] {
    for (size_t i = 9; i < 12; ++i) highest = std::max(highest, world[i].local_health());
    return world.all_agree();
  }));
  const auto periods = static_cast<int>((world.now() - start) / kPeriod);
  std::printf("3 of 12 agreed after %d periods, local health at most %d\n", periods, highest);
  EXPECT_LE(periods, 40);
}

// Those who are asked to probe say that they are there, so that the asker can tell a dead target
// from a bad connection of its own.
TEST(MembershipLifeguard, NacksAcquitTheAsker) {
  for (const bool lifeguard : {true, false}) {
    MemberWorld::Options options{.seed = 22};
    options.timing.lifeguard = lifeguard;
    MemberWorld world(options);
    world.start_group(12);
    world.run_for(kPeriod);
    Tally tally;
    world.on_send = [&](size_t, size_t, std::span<const std::byte> d) { tally.count(d); };
    world.crash(5);
    for (int i = 0; i < 40; ++i) {
      world.run_for(kPeriod / 10);
      for (size_t node = 0; node < 12; ++node) EXPECT_EQ(world[node].local_health(), 0);
    }
    EXPECT_GT(tally.sent[Kind::kPingRequest], 0);
    EXPECT_EQ(tally.sent[Kind::kNack], lifeguard ? tally.sent[Kind::kPingRequest] : 0);
  }
}

TEST(MembershipLifeguard, WhoseHelpersAreSilentDoubtsItself) {
  MemberWorld world({.seed = 23});
  world.start_group(12);
  world.run_for(kPeriod);
  world.set_blocked(0, 1, 1, 12);
  world.run_for(kPeriod * 4);
  EXPECT_GE(world[0].local_health(), 1);
  world.run_for(kPeriod * 25);
  EXPECT_GE(world[0].local_health(), 5);
  for (size_t i = 1; i < 12; ++i) EXPECT_EQ(world[i].local_health(), 0);
}

// The first account in any datagram to a suspect is the suspicion.
TEST(MembershipLifeguard, ASuspectIsToldFirst) {
  for (const bool lifeguard : {true, false}) {
    MemberWorld::Options options{.seed = 24};
    options.timing.lifeguard = lifeguard;
    options.timing.retransmit_factor = 1;  // rumours run out at once
    MemberWorld world(options);
    world.start_group(40);
    world.run_for(kPeriod);
    int to_suspect = 0;
    int told_first = 0;
    world.on_send = [&](size_t from, size_t to, std::span<const std::byte> d) {
      const Roster::Entry* entry = world.view(from, to);
      if (entry == nullptr || entry->state != MemberState::kSuspect) return;
      ++to_suspect;
      const auto m = decode(d.first(d.size() - kTagBytes));
      told_first += !m->updates.empty() && m->updates[0].id == world.id(to);
    };
    world.freeze(7, kPeriod * 10);
    world.run_for(kPeriod * 10);
    EXPECT_GT(to_suspect, 10);
    if (lifeguard) {
      EXPECT_EQ(told_first, to_suspect);
    } else {
      EXPECT_LT(told_first, to_suspect);
    }
  }
}

// Patience with the living must not keep the dead.
TEST(MembershipLifeguard, TheDeadAreFoundInSpiteOfSlowMembers) {
  MemberWorld world({.seed = 21});
  world.start_group(50);
  for (size_t i = 0; i < 50; i += 10) world.make_slow(i, kPeriod * 4);
  world.run_for(kPeriod * 20);
  const MemberId victim = world.id(25);
  world.crash(25);
  const auto known_to_all_prompt = [&] {
    for (size_t i = 0; i < 50; ++i) {
      if (i % 10 == 0 || i == 25) continue;
      const Roster::Entry* entry = world[i].roster().find(victim);
      if (entry == nullptr || entry->state != MemberState::kDead) return false;
    }
    return true;
  };
  const Instant died = world.now();
  EXPECT_TRUE(world.run_until_holds(kPeriod * 30, known_to_all_prompt));
  std::printf("known to all prompt ones after %d periods\n",
              static_cast<int>((world.now() - died) / kPeriod));
}

TEST(MembershipLifeguard, WhoIsSlowSlowsDown) {
  MemberWorld world({.seed = 9});
  world.start_group(20);
  world.make_slow(0, kPeriod * 4);
  int highest = 0;
  for (int period = 0; period < 60; ++period) {
    world.run_for(kPeriod);
    highest = std::max(highest, world[0].local_health());
    for (size_t i = 1; i < 20; ++i) EXPECT_LE(world[i].local_health(), 1);
  }
  EXPECT_GE(highest, 3);
  world.make_slow(0, Duration(0));
  world.run_for(kPeriod * 60);
  EXPECT_EQ(world[0].local_health(), 0);
}

}  // namespace
}  // namespace gossamer::swim
