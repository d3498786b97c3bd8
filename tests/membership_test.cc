// Membership in simulated time: joining, leaving, rumours, refutation, partitions, churn, stuck
// members. Detection has a file of its own, and so have hostile datagrams.
//
// ctest: TIMEOUT 900

#include <cmath>
#include <cstdio>

#include "tests/member_world.h"
#include "tests/process_ranks.h"

namespace gossamer::swim {
namespace {

using std::chrono::seconds;

constexpr Duration kPeriod = seconds(1);

// Periods until all of `n` know what one knew, when in each period each member, at a moment of its
// own, exchanges what it knows with a random other, both ways. By counting, without any protocol.
double push_pull_periods(size_t n, Random* random) {
  std::vector<size_t> turns(n);
  for (size_t i = 0; i < n; ++i) turns[i] = i;
  std::shuffle(turns.begin(), turns.end(), *random);
  std::vector<char> knows(n, 0);
  knows[0] = 1;
  size_t count = 1;
  for (size_t period = 0;; ++period) {
    for (size_t turn = 0; turn < n; ++turn) {
      const size_t i = turns[turn];
      const size_t j = random->below(n);
      if (knows[i] == knows[j]) continue;
      knows[i] = knows[j] = 1;
      if (++count < n) continue;
      return static_cast<double>(period) + static_cast<double>(turn) / static_cast<double>(n);
    }
  }
}

// Full lists of 10,000 in 10,000 members are 10^8 entries, more than a test may take, so that each
// knows 100 random others, which is as good as all for a rumour, and sends it as often as it would
// among 10,000.
TEST(MembershipRumour, ReachesAllOf10000InTheExpectedRounds) {
  constexpr size_t kMembers = 10'000;
  constexpr size_t kKnown = 100;
  MemberWorld::Options options{.seed = 5};
  options.timing.retransmit_factor *= std::log10(kMembers + 1.0) / std::log10(kKnown + 2.0);
  options.timing.sync_interval = std::chrono::hours(1);  // rumours alone
  MemberWorld world(options);
  world.start_group(kMembers, kKnown);
  world.run_for(kPeriod * 2);
  Mean measured;
  Mean expected;
  for (size_t i = 0; i < 3; ++i) {
    const Instant start = world.now();
    // News of one that nobody knows: whoever hears it lets it in.
    world.clear_seen();
    const size_t newcomer = world.start();
    const MemberId id = world.id(newcomer);
    world.join(newcomer, i);
    size_t heard = 0;
    Instant last{0};
    while (heard < kMembers + i && world.now() < start + kPeriod * 40) {
      world.run_for(kPeriod / 10);
      heard = 0;
      for (const MemberWorld::Seen& s : world.seen()) {
        if (s.event.kind != MemberEventKind::kJoined || s.event.member.id != id) continue;
        ++heard;
        last = s.at;
      }
    }
    EXPECT_EQ(heard, kMembers + i);  // earlier newcomers hear of it too
    measured.add(static_cast<double>((last - start).count()) /
                 static_cast<double>(kPeriod.count()));
    expected.add(push_pull_periods(kMembers, &world.random()));
  }
  std::printf("a rumour reached all of 10,000 after %.2f periods; counting gives %.2f\n",
              measured.value(), expected.value());
  EXPECT_NEAR(measured.value(), expected.value(), 0.2 * expected.value());
  EXPECT_LE(measured.value(), 4 * std::log10(kMembers));  // lambda log10 n
}

TEST(MembershipJoin, ThroughAnyMember) {
  MemberWorld world({.seed = 1});
  constexpr size_t kMembers = 60;
  for (size_t i = 0; i < kMembers; ++i) {
    const size_t node = world.start("member " + std::to_string(i));
    if (i > 0) world.join(node, world.random().below(i));
    world.run_for(milliseconds(20));
  }
  EXPECT_TRUE(world.run_until_holds(kPeriod * 15, [&] { return world.all_agree(); }));
  for (size_t i = 1; i < kMembers; ++i) EXPECT_TRUE(world[i].joined());
  const Member last = world[3].members().back();
  EXPECT_EQ(last.metadata.substr(0, 7), "member ");
  EXPECT_EQ(world.count_seen(MemberEventKind::kJoined), kMembers * (kMembers - 1));
  EXPECT_EQ(world.count_seen(MemberEventKind::kSuspected), 0u);
}

TEST(MembershipJoin, ManyAtOnceThroughOne) {
  MemberWorld world({.seed = 2});
  for (size_t i = 0; i < 200; ++i) {
    const size_t node = world.start();
    if (i > 0) world.join(node, 0);
  }
  EXPECT_TRUE(world.run_until_holds(kPeriod * 30, [&] { return world.all_agree(); }));
  std::printf("200 agreed after %d periods\n", static_cast<int>(world.now() / kPeriod));
}

TEST(MembershipJoin, GetsAllOfALargeGroupAtOnce) {
  MemberWorld world({.seed = 3, .loss = 0.05});
  world.start_group(3'000, 2);
  std::vector<size_t> all;
  for (size_t i = 1; i < 3'000; ++i) all.push_back(i);
  world.introduce(0, all);
  const size_t node = world.start();
  world.join(node, 0);
  EXPECT_TRUE(world.run_until_holds(kPeriod * 2, [&] { return world[node].joined(); }));
  EXPECT_GE(world[node].roster().live(), 3'000u * 95 / 100);
}

TEST(MembershipJoin, UnitesTwoGroups) {
  MemberWorld world({.seed = 15});
  world.start_group(20);
  world.start_group(30);
  world.run_for(kPeriod * 3);
  world.join(4, 33);
  const Instant start = world.now();
  EXPECT_TRUE(world.run_until_holds(kPeriod * 30, [&] { return world.all_agree(); }))
      << world.disagreement();
  EXPECT_TRUE(world[4].joined());
  std::printf("20 and 30 agreed after %d periods\n",
              static_cast<int>((world.now() - start) / kPeriod));
  EXPECT_EQ(world.count_seen(MemberEventKind::kSuspected), 0u);
}

TEST(MembershipJoin, WaitsForAMemberThatIsNotThereYet) {
  MemberWorld world({.seed = 4});
  const size_t late = world.start();
  world.crash(late);
  const size_t node = world.start();
  world.join(node, late);
  world.run_for(kPeriod * 5);
  EXPECT_FALSE(world[node].joined());
  world.restart(late);
  world.run_for(kPeriod);
  EXPECT_TRUE(world[node].joined());
  EXPECT_EQ(world[node].members().size(), 2u);
}

TEST(MembershipLeave, IsKnownToAllAndNoDeath) {
  MemberWorld world({.seed = 5, .loss = 0.05});
  world.start_group(50);
  world.run_for(kPeriod * 2);
  world.leave(7);
  world.run_for(kPeriod);
  EXPECT_TRUE(world[7].left());
  world.crash(7);
  EXPECT_TRUE(world.run_until_holds(kPeriod * 8, [&] { return world.all_agree(); }));
  EXPECT_EQ(world.count_seen(MemberEventKind::kLeft), 49u);
  world.run_for(kPeriod * 60);
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
}

// Who leaves waits for no word of members that have died and are not yet known to be dead.
TEST(MembershipLeave, IsConfirmedByThoseThatLive) {
  for (const size_t dead : {size_t{1}, size_t{3}}) {
    MemberWorld world({.seed = 16});
    world.start_group(dead + 2);
    world.run_for(kPeriod * 2);
    for (size_t i = 0; i < dead; ++i) world.crash(2 + i);
    world.leave(0);
    EXPECT_FALSE(world[0].left());
    world.run_for(kPeriod * 3);
    EXPECT_TRUE(world[0].left()) << dead;
    world.crash(0);
    EXPECT_EQ(world.view(1, 0)->state, MemberState::kLeft);
  }
  MemberWorld world({.seed = 17});  // and nobody confirms where nobody lives
  world.start_group(2);
  world.crash(1);
  world.leave(0);
  world.run_for(kPeriod * 10);
  EXPECT_FALSE(world[0].left());
}

TEST(MembershipLeave, OfTheLastOneIsOverAtOnce) {
  MemberWorld world({.seed = 6});
  const size_t node = world.start();
  world.leave(node);
  EXPECT_TRUE(world[node].left());
}

// Stopped for less than a suspicion lasts: suspected, and cleared by itself.
TEST(MembershipRefutation, ClearsAMemberThatWasOnlySlow) {
  MemberWorld world({.seed = 7});
  world.start_group(30);
  world.run_for(kPeriod * 2);
  world.freeze(4, kPeriod * 5);
  world.run_for(kPeriod * 30);
  EXPECT_GE(world.count_seen(MemberEventKind::kSuspected), 29u);
  EXPECT_EQ(world.count_seen(MemberEventKind::kSuspected),
            world.count_seen(MemberEventKind::kRefuted));
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
  EXPECT_TRUE(world.all_agree());
  EXPECT_GE(world[4].self().incarnation, 1u);
  for (const MemberWorld::Seen& s : world.seen()) EXPECT_EQ(s.event.member.id, world.id(4));
}

TEST(MembershipRefutation, OutbidsEverySuspicion) {
  MemberWorld world({.seed = 8});
  world.start_group(5);
  for (uint32_t incarnation : {0u, 3u, 3u, 100u}) {
    Message state;
    state.kind = Kind::kAck;
    state.from = 2;
    state.counter = incarnation + world.seen().size() + world.now().count() + 1;
    state.to = world.id(1);
    Update update;
    update.id = world.id(1);
    update.incarnation = incarnation;
    update.state = MemberState::kSuspect;
    update.accusers = {2};
    state.updates = {update};
    world.hand(1, world.address_of(2), state);
    EXPECT_GT(world[1].self().incarnation, incarnation);
    world.run_for(kPeriod);
  }
  world.run_for(kPeriod * 3);
  EXPECT_EQ(world[1].self().incarnation, 101u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(world.view(i, 1)->incarnation, 101u);
}

// Stopped until it was taken for dead. It is told so, objects, and is back everywhere.
TEST(MembershipReturn, OfOneThatWasTakenForDead) {
  MemberWorld world({.seed = 9});
  world.start_group(20);
  world.run_for(kPeriod * 2);
  world.freeze(4, kPeriod * 60);
  world.run_for(kPeriod * 59);
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 19u);
  world.clear_seen();
  EXPECT_TRUE(world.run_until_holds(kPeriod * 20, [&] { return world.all_agree(); }));
  EXPECT_EQ(world.count_seen(MemberEventKind::kReturned), 20u);  // itself included
  world.run_for(kPeriod * 60);
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
}

// Another process at its address answers the first ping: no suspicion has to run out.
TEST(MembershipReturn, OfAProcessAtTheSameAddressEndsTheOldOneAtOnce) {
  MemberWorld world({.seed = 10});
  world.start_group(20);
  world.run_for(kPeriod * 2);
  const MemberId old = world.id(4);
  const size_t fresh = world.restart(4);
  world.join(fresh, 11);
  const Instant start = world.now();
  EXPECT_TRUE(world.run_until_holds(kPeriod * 8, [&] { return world.all_agree(); }));
  std::printf("agreed after %d periods\n", static_cast<int>((world.now() - start) / kPeriod));
  EXPECT_EQ(world[0].roster().find(old)->state, MemberState::kDead);
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 20u);
}

void expect_healing(size_t n, uint64_t seed, double loss) {
  MemberWorld world({.seed = seed, .loss = loss});
  world.start_group(n);
  world.run_for(kPeriod * 3);
  for (size_t i = 0; i < n / 2; ++i) world.set_part(i, 1);
  const auto divided = [&] {
    for (size_t i = 0; i < n; ++i) {
      const size_t side = i < n / 2 ? n / 2 : n - n / 2;
      if (world[i].members().size() != side) return false;
    }
    return true;
  };
  EXPECT_TRUE(world.run_until_holds(kPeriod * 400, divided));
  std::printf("n %zu: divided after %d periods, ", n, static_cast<int>(world.now() / kPeriod));
  world.run_for(kPeriod * 30);
  world.clear_seen();
  const Instant start = world.now();
  for (size_t i = 0; i < n; ++i) world.set_part(i, 0);
  EXPECT_TRUE(world.run_until_holds(kPeriod * 120, [&] { return world.all_agree(); }));
  std::printf("whole again after %d\n", static_cast<int>((world.now() - start) / kPeriod));
  world.run_for(kPeriod * 60);
  EXPECT_TRUE(world.all_agree());
  // Healing buries nobody, though each side had all of the other for dead.
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
}

TEST(MembershipPartition, Of10Heals) {
  for (uint64_t seed = 1; seed <= 5; ++seed) expect_healing(10, seed, 0.02);
}

TEST(MembershipPartition, Of100Heals) {
  expect_healing(100, 1, 0.02);
}

TEST(MembershipPartition, Of300Heals) {
  expect_healing(300, 1, 0);
}

// A tenth cannot reach another tenth, but everybody else: helpers reach whom we cannot.
TEST(MembershipPartition, IndirectProbesBridgeWhatOnlySomeCannotReach) {
  MemberWorld world({.seed = 11});
  world.start_group(40);
  world.run_for(kPeriod);
  world.set_blocked(0, 4, 4, 8);
  world.run_for(kPeriod * 200);
  EXPECT_EQ(world.count_seen(MemberEventKind::kDied), 0u);
}

// Members join through anybody, leave and are killed, at a rate of one change per period.
void churn(uint64_t seed, int periods) {
  MemberWorld world({.seed = seed, .loss = 0.02});
  world.start_group(60);
  world.run_for(kPeriod);
  std::vector<size_t> up;
  for (size_t i = 0; i < 60; ++i) up.push_back(i);
  std::unordered_set<MemberId> ended;
  for (int p = 0; p < periods; ++p) {
    const size_t pick = world.random().below(up.size());
    const size_t what = world.random().below(4);
    if (what < 2) {
      const size_t node = world.start();
      world.join(node, up[pick]);
      up.push_back(node);
    } else if (up.size() > 10) {
      const size_t node = up[pick];
      ended.insert(world.id(node));
      if (what == 2) world.leave(node);
      if (what == 3) world.crash(node);
      up.erase(up.begin() + static_cast<std::ptrdiff_t>(pick));
    }
    world.run_for(kPeriod);
  }
  EXPECT_TRUE(world.run_until_holds(kPeriod * 80, [&] { return world.all_agree(); }))
      << "seed " << seed << ": " << world.disagreement();
  for (const MemberWorld::Seen& s : world.seen()) {
    const bool end =
        s.event.kind == MemberEventKind::kDied || s.event.kind == MemberEventKind::kLeft;
    EXPECT_TRUE(!end || ended.contains(s.event.member.id)) << "seed " << seed;
  }
}

TEST(MembershipChurn, AllAgreeInTheEnd) {
  for (int seed = 1; seed <= times(5, 100); ++seed) churn(static_cast<uint64_t>(seed), 200);
}

TEST(MembershipProgress, AStuckMemberIsReportedWhileOthersMove) {
  MemberWorld::Options options{.seed = 12};
  options.timing.progress_limit = seconds(10);
  MemberWorld world(options);
  world.start_group(20);
  // 19 never begins and is not judged; 3 stands still from step 30 to step 80.
  uint64_t counter3 = 0;
  for (uint64_t step = 1; step <= 120; ++step) {
    for (size_t i = 0; i < 19; ++i) {
      if (i != 3) world.set_progress(i, step);
    }
    if (step <= 30 || step > 80) world.set_progress(3, ++counter3);
    world.run_for(kPeriod);
    if (step == 38) {
      EXPECT_EQ(world.count_seen(MemberEventKind::kStuck), 0u);
    }
    if (step == 50) {
      EXPECT_EQ(world.count_seen(MemberEventKind::kStuck), 20u);
      for (size_t i = 0; i < 20; ++i) EXPECT_TRUE(world.view(i, 3)->stuck);
      EXPECT_EQ(world.view(5, 3)->progress, 30u);
      EXPECT_EQ(world.count_seen(MemberEventKind::kMoving), 0u);
    }
  }
  EXPECT_EQ(world.count_seen(MemberEventKind::kMoving), 20u);
  EXPECT_EQ(world.count_seen(MemberEventKind::kStuck), 20u);
  for (const MemberWorld::Seen& s : world.seen()) EXPECT_EQ(s.event.member.id, world.id(3));
}

TEST(MembershipProgress, NobodyIsStuckWhenAllStandStill) {
  MemberWorld::Options options{.seed = 13};
  options.timing.progress_limit = seconds(10);
  MemberWorld world(options);
  world.start_group(20);
  for (uint64_t step = 1; step <= 20; ++step) {
    for (size_t i = 0; i < 20; ++i) world.set_progress(i, step);
    world.run_for(kPeriod);
  }
  world.run_for(kPeriod * 100);
  EXPECT_EQ(world.count_seen(MemberEventKind::kStuck), 0u);
}

TEST(MembershipMetadata, ChangesReachAll) {
  MemberWorld world({.seed = 14});
  world.start_group(50);
  world.set_metadata(9, "rank 9");
  world.run_for(kPeriod * 8);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(world.view(i, 9)->metadata, "rank 9");
  EXPECT_EQ(world.count_seen(MemberEventKind::kUpdated), 49u);
}

TEST(MembershipWorld, EqualSeedsGiveEqualRuns) {
  const auto run = [](uint64_t seed) {
    MemberWorld world({.seed = seed, .loss = 0.1});
    world.start_group(30);
    world.run_for(kPeriod * 20);
    world.crash(3);
    world.run_for(kPeriod * 20);
    return std::pair(world.traffic().bytes, world.seen().size());
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace gossamer::swim
