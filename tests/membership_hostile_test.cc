// What a member does with datagrams that are not what they seem, and the parts of the protocol that
// are arithmetic: tables of numbers.

#include <cmath>

#include "tests/member_world.h"

namespace gossamer::swim {
namespace {

using std::chrono::seconds;

constexpr Duration kPeriod = seconds(1);

TEST(MembershipSuspicion, ShrinksWithConfirmations) {
  struct Case {
    int confirmations;
    int wanted;
    double seconds;
  };
  // 24 - 20 log(C + 1) / log(K + 1)
  for (const Case c :
       {Case{0, 3, 24.0}, Case{1, 3, 14.0}, Case{2, 3, 8.1504}, Case{3, 3, 4.0}, Case{9, 3, 4.0},
        Case{0, 1, 24.0}, Case{1, 1, 4.0}, Case{0, 0, 4.0}, Case{0, -1, 4.0}}) {
    const Duration d = suspicion_timeout(c.confirmations, c.wanted, seconds(4), seconds(24));
    EXPECT_NEAR(static_cast<double>(d.count()) / 1e6, c.seconds, 1e-3)
        << c.confirmations << " of " << c.wanted;
  }
}

TEST(MembershipSuspicion, LastsFourLog10OfTheGroupButFourAtLeast) {
  const auto periods = [](size_t n) {
    return static_cast<double>(least_suspicion(seconds(1), 4, n).count()) / 1e6;
  };
  EXPECT_NEAR(periods(1), 4, 1e-6);
  EXPECT_NEAR(periods(8), 4, 1e-6);
  EXPECT_NEAR(periods(64), 7.225, 1e-3);
  EXPECT_NEAR(periods(256), 9.633, 1e-3);
}

TEST(MembershipRumours, AreSentLambdaLog10TimesEach) {
  EXPECT_EQ(retransmissions(4, 1), 2);
  EXPECT_EQ(retransmissions(4, 8), 4);
  EXPECT_EQ(retransmissions(4, 64), 8);
  EXPECT_EQ(retransmissions(4, 1'000), 13);
}

TEST(MembershipRumours, TheLeastSentAndNewestGoFirst) {
  Rumours rumours;
  const auto next = [&](size_t room) {
    std::vector<MemberId> sent;
    rumours.send(3, [&](MemberId id) {
      if (sent.size() == room) return false;
      sent.push_back(id);
      return true;
    });
    return sent;
  };
  using Ids = std::vector<MemberId>;
  for (const MemberId id : {10, 20, 30}) rumours.spread(id);
  EXPECT_EQ(next(2), (Ids{30, 20}));
  EXPECT_EQ(next(2), (Ids{10, 30}));
  rumours.spread(40);
  EXPECT_EQ(next(3), (Ids{40, 20, 10}));
  rumours.spread(30);  // news of it again: from the start
  EXPECT_EQ(next(9), (Ids{30, 40, 20, 10}));
  EXPECT_EQ(next(9), (Ids{30, 40}));
  rumours.drop(30);
  EXPECT_EQ(next(9), Ids{});
  EXPECT_EQ(rumours.size(), 0u);
}

TEST(MembershipReplay, ACounterCountsOnce) {
  ReplayGuard guard;
  const auto nobody = [](MemberId) { return false; };
  EXPECT_TRUE(guard.is_new(1, 100, nobody));
  EXPECT_FALSE(guard.is_new(1, 100, nobody));
  EXPECT_TRUE(guard.is_new(1, 99, nobody));  // overtaken
  EXPECT_FALSE(guard.is_new(1, 99, nobody));
  EXPECT_TRUE(guard.is_new(1, 140, nobody));
  EXPECT_FALSE(guard.is_new(1, 100, nobody));
  EXPECT_TRUE(guard.is_new(1, 77, nobody));   // 63 behind
  EXPECT_FALSE(guard.is_new(1, 76, nobody));  // 64 behind: too old to tell
  EXPECT_TRUE(guard.is_new(1, 1'000'000, nobody));
  EXPECT_TRUE(guard.is_new(1, 999'999, nobody));
  EXPECT_FALSE(guard.is_new(1, 140, nobody));
  EXPECT_TRUE(guard.is_new(2, 140, nobody));
}

TEST(MembershipReplay, WindowsOfMembersOutlastThoseOfOthers) {
  ReplayGuard guard;
  const auto one = [](MemberId id) { return id == 1; };
  EXPECT_TRUE(guard.is_new(1, 5, one));
  for (MemberId id = 2; id < 2 + 2 * ReplayGuard::kRememberedMax; ++id) {
    ASSERT_TRUE(guard.is_new(id, 5, one));
  }
  EXPECT_EQ(guard.size(), ReplayGuard::kRememberedMax);
  EXPECT_FALSE(guard.is_new(1, 5, one));
}

std::vector<std::byte> sealed(const Message& message, const Key& key = test_key(),
                              uint64_t session = 0) {
  std::vector<std::byte> bytes = DatagramWriter(message).take();
  Seal(key, session).close(&bytes);
  return bytes;
}

// All that one knows, as text.
std::string knowledge(MemberWorld& world, size_t node) {
  std::string text;
  for (const auto& [id, entry] : world[node].roster().entries()) {
    text += std::to_string(id) + std::string(name_of(entry.state)) +
            std::to_string(entry.incarnation) + entry.metadata + ";";
  }
  return text;
}

// What would bury member `victim` if it were believed.
Message death_of(MemberWorld& world, size_t victim, size_t to) {
  Message m;
  m.kind = Kind::kPing;
  m.from = world.id(2);
  m.to = world.id(to);
  m.counter = 1'000'000;
  Update update;
  update.id = world.id(victim);
  update.incarnation = 7;
  update.state = MemberState::kDead;
  m.updates = {update};
  return m;
}

TEST(MembershipKeyed, AnotherKeySessionOrBitChangesNothing) {
  MemberWorld world({.seed = 1});
  world.start_group(5);
  world.run_for(kPeriod * 3);
  const std::string before = knowledge(world, 0);
  const Message message = death_of(world, 1, 0);
  const Endpoint from = world.address_of(2);
  uint64_t refused = 0;
  world.hand_bytes(0, from, sealed(message, test_key(8)));
  world.hand_bytes(0, from, sealed(message, test_key(), 1));
  refused += 2;
  const std::vector<std::byte> right = sealed(message);
  for (size_t bit = 0; bit < right.size() * 8; ++bit) {
    auto altered = right;
    altered[bit / 8] ^= std::byte{1} << (bit % 8);
    world.hand_bytes(0, from, altered);
    ++refused;
  }
  for (size_t length = 0; length < right.size(); ++length) {
    world.hand_bytes(0, from, std::span(right).first(length));
    ++refused;
  }
  EXPECT_EQ(world[0].counters().refused_tags, refused);
  EXPECT_EQ(knowledge(world, 0), before);
  EXPECT_TRUE(world.seen().empty());
  world.hand_bytes(0, from, right);  // the control: unaltered, it is believed
  EXPECT_NE(knowledge(world, 0), before);
}

TEST(MembershipKeyed, AForeignerCannotJoinNorBeJoined) {
  MemberWorld world({.seed = 2});
  world.start_group(3);
  const size_t foreign_key = world.start("", test_key(8));
  const size_t foreign_session = world.start("", test_key(), 1);
  world.join(foreign_key, 0);
  world.join(foreign_session, 0);
  world.run_for(kPeriod * 10);
  for (const size_t node : {foreign_key, foreign_session}) {
    EXPECT_FALSE(world[node].joined());
    EXPECT_EQ(world[node].members().size(), 1u);
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(world[i].members().size(), 3u);
}

// All datagrams of a while, to all members, played back to whom they were for and to everybody
// else: not one changes anything.
TEST(MembershipReplay, ARecordingChangesNothing) {
  MemberWorld world({.seed = 3});
  world.start_group(6);
  std::vector<std::pair<size_t, std::vector<std::byte>>> recording;
  world.on_send = [&](size_t, size_t to, std::span<const std::byte> bytes) {
    recording.emplace_back(to, std::vector<std::byte>(bytes.begin(), bytes.end()));
  };
  world.run_for(kPeriod * 2);
  world.freeze(4, kPeriod * 6);  // for suspicions in the recording
  world.run_for(kPeriod * 20);
  world.on_send = nullptr;
  ASSERT_GT(recording.size(), 100u);
  world.run_for(kPeriod * 5);
  world.clear_seen();
  for (size_t node = 0; node < 6; ++node) {
    const std::string before = knowledge(world, node);
    const auto counters = world[node].counters();
    for (const auto& [to, bytes] : recording) {
      world.hand_bytes(node, world.address_of((node + 1) % 6), bytes);
    }
    EXPECT_EQ(knowledge(world, node), before);
    EXPECT_GT(world[node].counters().refused_replays, counters.refused_replays);
  }
  EXPECT_TRUE(world.seen().empty());
}

// The same group starts again with the same key, on the same addresses.
TEST(MembershipReplay, ARecordingOfAnEarlierSessionChangesNothing) {
  std::vector<std::pair<size_t, std::vector<std::byte>>> recording;
  MemberWorld world({.seed = 4});
  world.start_group(4);
  world.on_send = [&](size_t, size_t to, std::span<const std::byte> bytes) {
    recording.emplace_back(to, std::vector<std::byte>(bytes.begin(), bytes.end()));
  };
  world.run_for(kPeriod * 10);
  world.leave(3);
  world.run_for(kPeriod * 5);
  world.on_send = nullptr;
  for (size_t i = 0; i < 4; ++i) world.restart(i);
  for (size_t i = 5; i < 8; ++i) world.join(i, 4);
  world.run_for(kPeriod * 5);
  ASSERT_TRUE(world.all_agree());
  world.clear_seen();
  std::array<std::string, 4> before;
  for (size_t i = 0; i < 4; ++i) before[i] = knowledge(world, 4 + i);
  for (const auto& [to, bytes] : recording) {
    world.hand_bytes(4 + to, world.address_of(4 + (to + 1) % 4), bytes);
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(knowledge(world, 4 + i), before[i]);
  }
  world.run_for(kPeriod * 30);
  EXPECT_TRUE(world.seen().empty());
  EXPECT_TRUE(world.all_agree());
}

// A third member, or who records its answers, cannot make anybody believe that an address has
// another process now.
TEST(MembershipReplay, GoneIsBelievedOnlyOfOnesOwnProbe) {
  MemberWorld world({.seed = 5});
  world.start_group(4);
  world.run_for(kPeriod * 3);
  for (uint32_t sequence = 0; sequence < 40; ++sequence) {
    Message gone;
    gone.kind = Kind::kGone;
    gone.from = 99;
    gone.to = world.id(0);
    gone.counter = sequence + 1;
    gone.sequence = sequence;
    gone.subject = world.id(1);
    world.hand(0, world.address_of(2), gone);
  }
  EXPECT_EQ(world[0].members().size(), 4u);
}

TEST(MembershipDatagram, TellsWhatItWasTold) {
  Message m;
  m.kind = Kind::kPingRequest;
  m.from = 3;
  m.to = 4;
  m.counter = 5;
  m.progress = 6;
  m.progress_age_ms = 7;
  m.sequence = 8;
  m.subject = 9;
  m.endpoint = Endpoint::of(*SocketAddress::parse("[fe80::1]:77"));
  Update alive;
  alive.id = 10;
  alive.incarnation = 11;
  alive.stuck = true;
  alive.address = Endpoint::of(*SocketAddress::parse("10.1.2.3:65535"));
  alive.metadata = std::string(kMetadataBytesMax, 'm');
  Update suspect;
  suspect.id = 12;
  suspect.state = MemberState::kSuspect;
  suspect.accusers = {1, 2, 3, 4};
  Update left;
  left.id = 13;
  left.state = MemberState::kLeft;
  m.updates = {alive, suspect, left};
  const std::vector<std::byte> bytes = DatagramWriter(m).take();
  const auto read = decode(bytes);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(DatagramWriter(*read).take(), bytes);
  EXPECT_EQ(read->endpoint.to_string(), "[fe80::1]:77");
  EXPECT_EQ(read->progress_age_ms, 7u);
  EXPECT_TRUE(read->updates[0].stuck);
  EXPECT_EQ(read->updates[0].address.to_string(), "10.1.2.3:65535");
  EXPECT_EQ(read->updates[0].metadata, alive.metadata);
  EXPECT_EQ(read->updates[1].accusers, suspect.accusers);
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto cut = decode(std::span(bytes).first(length));
    // Only where an update ends can the rest be missing.
    EXPECT_TRUE(!cut || cut->updates.size() < 3);
  }
}

TEST(MembershipDatagram, IsNeverLargerThanItsBound) {
  Message m;
  m.kind = Kind::kState;
  m.from = 1;
  m.to = 2;
  DatagramWriter writer(m);
  Update dead;
  dead.id = 5;
  dead.state = MemberState::kDead;
  size_t count = 0;
  while (writer.add(dead)) ++count;
  EXPECT_EQ(count, (kDatagramBytesMax - kHeaderBytes - kTagBytes) / kUpdateBytesMin);
  auto bytes = writer.take();
  Seal(test_key(), 0).close(&bytes);
  EXPECT_LE(bytes.size(), kDatagramBytesMax);
  bytes.resize(kDatagramBytesMax + 1);
  EXPECT_TRUE(Seal(test_key(), 0).open(bytes).empty());
  EXPECT_FALSE(decode(bytes).has_value());
}

// Of those who know the key, one may have gone mad: what it can do is bounded.
TEST(MembershipLimits, NoMoreMembersThanAllowed) {
  MemberWorld::Options options{.seed = 6};
  options.timing.members_max = 10;
  MemberWorld world(options);
  world.start();
  uint64_t counter = 0;
  for (MemberId id = 100; id < 20'000; id += 20) {
    Message m;
    m.kind = Kind::kState;
    m.from = 2;
    m.to = world.id(0);
    m.counter = ++counter;
    for (MemberId i = id; i < id + 20; ++i) {
      Update update;
      update.id = i;
      update.state = i % 2 == 0 ? MemberState::kAlive : MemberState::kDead;
      if (i % 2 == 0) update.address = world.address_of(0);
      m.updates.push_back(update);
    }
    m.kind = Kind::kAck;
    world.hand(0, world.address_of(0), m);
  }
  EXPECT_EQ(world[0].members().size(), 10u);
  EXPECT_EQ(world[0].counters().refused_members, 19'900u / 2 - 9);
  EXPECT_LE(world[0].roster().entries().size(), 10 + Roster::kTombstonesMax);
}

TEST(MembershipLimits, TombstonesAreForgottenInTime) {
  MemberWorld::Options options{.seed = 7};
  options.timing.tombstone = kPeriod * 100;
  MemberWorld world(options);
  world.start_group(10);
  world.run_for(kPeriod);
  world.crash(3);
  world.run_for(kPeriod * 50);
  EXPECT_EQ(world[0].roster().dead(), 1u);
  world.run_for(kPeriod * 200);
  for (size_t i = 0; i < 10; ++i) {
    if (i == 3) continue;
    EXPECT_EQ(world[i].roster().dead(), 0u);
    EXPECT_EQ(world[i].roster().entries().size(), 9u);
  }
}

}  // namespace
}  // namespace gossamer::swim
