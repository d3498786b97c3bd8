// The mass of an averaging job without sockets: each message counts once whatever is lost, repeated
// and reordered, and hundreds of virtual members that come, die and are taken for dead hold in all
// exactly what the rules of averaging_job.h say. GOSSAMER_SOAK=1 runs 10 seeds instead of 1.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "gossip/job/ledger.h"
#include "tests/process_ranks.h"

namespace gossamer::job {
namespace {

constexpr uint64_t kCount = 3;

Ledger begun(std::vector<double> z) {
  Ledger ledger(z.size(), DataType::kFloat64);
  ledger.begin(z.data());
  return ledger;
}

TEST(Ledger, AMessageCountsOnceHoweverOftenItComes) {
  Ledger a = begun({8, -4});
  Ledger b = begun({2, 6});
  const auto packet = a.push(2, 5);
  ASSERT_NE(packet, nullptr);
  EXPECT_EQ(a.weight(), 0.5);
  EXPECT_EQ(packet->steps, 5u);
  EXPECT_FALSE(a.may_push(2));
  EXPECT_TRUE(a.may_push(3));
  EXPECT_EQ(b.take(1, *packet), Ledger::Taken::kTaken);
  EXPECT_EQ(b.take(1, *packet), Ledger::Taken::kBefore);
  EXPECT_EQ(b.weight(), 1.5);
  std::vector<double> z(2);
  EXPECT_TRUE(b.value(z.data()));
  EXPECT_EQ(z, (std::vector<double>{4, 8.0 / 3}));
  EXPECT_FALSE(a.confirm(2, packet->lane, packet->sequence + 1));
  EXPECT_TRUE(a.confirm(2, packet->lane, packet->sequence));
  EXPECT_FALSE(a.confirm(2, packet->lane, packet->sequence));
  EXPECT_TRUE(a.may_push(2));
}

TEST(Ledger, WhatWasGivenUpIsRefusedLater) {
  Ledger a = begun({8, -4});
  Ledger b = begun({2, 6});
  const auto first = a.push(2, 0);
  EXPECT_EQ(b.take(1, *first), Ledger::Taken::kTaken);
  ASSERT_TRUE(a.confirm(2, first->lane, first->sequence));
  const auto lost = a.push(2, 1);
  a.take_back(2);
  EXPECT_EQ(a.weight(), 0.5);
  EXPECT_EQ(a.totals().taken_back, 0.25);
  const auto again = a.push(2, 2);
  EXPECT_GT(again->lane, lost->lane);
  EXPECT_EQ(b.take(1, *again), Ledger::Taken::kTaken);
  EXPECT_EQ(b.take(1, *lost), Ledger::Taken::kUnknownLane);  // late, and not twice
  b.forget(1);
  const auto more = (static_cast<void>(a.confirm(2, again->lane, again->sequence)), a.push(2, 3));
  EXPECT_EQ(b.take(1, *more), Ledger::Taken::kUnknownLane);  // the second of a lane it never saw
}

TEST(Ledger, RefusesWhatIsNoPacketOfTheJob) {
  Ledger a = begun({8, -4});
  Ledger b = begun({2, 6});
  const Packet good = *a.push(2, 0);
  const auto refused = [&](auto spoil) {
    Packet bad = good;
    spoil(&bad);
    EXPECT_EQ(b.take(1, bad), Ledger::Taken::kMalformed);
    EXPECT_EQ(b.weight(), 1);
  };
  refused([](Packet* p) { p->elements.pop_back(); });
  refused([](Packet* p) { p->weight = 0; });
  refused([](Packet* p) { p->weight = -1; });
  refused([](Packet* p) { p->weight = INFINITY; });
  refused([](Packet* p) { p->weight = NAN; });
  refused([](Packet* p) { p->lane = 0; });
  refused([](Packet* p) { p->sequence = 0; });
}

// What float32 cannot hold of a half stays with the sender.
TEST(Ledger, NarrowMessagesLoseNothing) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> z(100);
  for (float& value : z) value = normal(random);
  Ledger a(z.size(), DataType::kFloat32);
  a.begin(z.data());
  const std::vector<float> rate_of(100, 0.1F);
  a.adapt(rate_of.data(), 1.0 / 3);  // makes digits that float32 has not
  const std::vector<double> before(a.mass().begin(), a.mass().end());
  Ledger b(z.size(), DataType::kFloat32);
  const auto packet = a.push(2, 0);
  EXPECT_EQ(packet->elements.size(), z.size() * sizeof(float));
  ASSERT_EQ(b.take(1, *packet), Ledger::Taken::kTaken);
  for (size_t i = 0; i < z.size(); ++i) {
    EXPECT_LE(std::abs(a.mass()[i] + b.mass()[i] - before[i]), 1e-16 * std::abs(before[i])) << i;
  }
  const std::vector<double> rest(a.mass().begin(), a.mass().end());
  ASSERT_EQ(b.take(1, *(static_cast<void>(a.confirm(2, 1, 1)), a.push_all(2, 0))),
            Ledger::Taken::kTaken);
  EXPECT_EQ(a.weight(), 0);
  EXPECT_EQ(b.weight(), 1);
  for (const double mass : a.mass()) EXPECT_EQ(mass, 0);
  EXPECT_FALSE(a.value(z.data()));
  EXPECT_FALSE(a.may_push(2));
}

TEST(Ledger, WeightsNeverVanish) {
  Ledger a = begun({3, -7});
  std::vector<double> z(2);
  for (PeerId peer = 1; peer <= 5'000; ++peer) {
    ASSERT_NE(a.push(peer, 0), nullptr);
    ASSERT_TRUE(a.confirm(peer, peer, 1));
    ASSERT_GE(a.weight(), kWeightFloor / 2);
    ASSERT_TRUE(a.value(z.data()));
    ASSERT_EQ(z, (std::vector<double>{3, -7}));
  }
}

// z moves by the same, whatever the weight.
TEST(Ledger, AGradientMovesValuesAlike) {
  Ledger a = begun({1, 2});
  const std::vector<double> g{0.5, -1};
  static_cast<void>(a.push(2, 0));
  a.adapt(g.data(), 0.5);
  std::vector<double> z(2);
  a.value(z.data());
  EXPECT_EQ(z, (std::vector<double>{0.75, 2.5}));
}

// --- Hundreds of members over a network that loses, repeats and delays.

using Mass = std::array<long double, kCount + 1>;  // s, then w

struct World {
  struct Member {
    explicit Member(DataType type) : ledger(kCount, type) {}
    Ledger ledger;
    std::set<PeerId> known;          // whom it holds for members
    std::map<PeerId, int> learns;    // of whose death, and in which round
    std::map<PeerId, int> welcomes;  // whose return, and in which round
  };
  struct Datagram {
    int due;
    PeerId from;
    PeerId to;
    std::shared_ptr<const Packet> packet;  // null: an answer
    bool refusal = false;
    uint64_t lane = 0;
    uint64_t sequence = 0;
  };

  World(uint64_t seed, DataType job_type) : random(seed), type(job_type) {}

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random) < p; }
  int between(int low, int high) { return std::uniform_int_distribution<>(low, high)(random); }
  PeerId any() {
    auto at = members.begin();
    std::advance(at, between(0, static_cast<int>(members.size()) - 1));
    return at->first;
  }

  void add(const Packet& packet, int sign, Mass* to) const {
    const bool wide = packet.wide || type == DataType::kFloat64;
    for (uint64_t i = 0; i < kCount; ++i) {
      double value = 0;
      if (wide) {
        std::memcpy(&value, packet.elements.data() + i * 8, 8);
      } else {
        float narrow = 0;
        std::memcpy(&narrow, packet.elements.data() + i * 4, 4);
        value = narrow;
      }
      (*to)[i] += sign * static_cast<long double>(value);
    }
    (*to)[kCount] += sign * static_cast<long double>(packet.weight);
  }
  void add(const Ledger& ledger, int sign, Mass* to) const {
    for (uint64_t i = 0; i < kCount; ++i) (*to)[i] += sign * ledger.mass()[i];
    (*to)[kCount] += sign * static_cast<long double>(ledger.weight());
  }
  bool was_taken(PeerId from, PeerId to, const Packet& p) const {
    return taken.contains({from, to, p.lane, p.sequence});
  }

  PeerId enter() {
    const PeerId id = next++;
    Member& fresh = members.emplace(id, Member(type)).first->second;
    for (auto& [other, member] : members) {
      if (other == id) continue;
      member.known.insert(id);
      fresh.known.insert(other);
    }
    return id;
  }
  void start(int count) {
    std::normal_distribution<> normal;
    for (int i = 0; i < count; ++i) {
      Ledger& ledger = members.at(enter()).ledger;
      std::array<double, kCount> z{};
      for (double& value : z) value = normal(random);
      std::array<float, kCount> narrow{};
      std::transform(z.begin(), z.end(), narrow.begin(),
                     [](double v) { return static_cast<float>(v); });
      if (type == DataType::kFloat64) {
        ledger.begin(z.data());
      } else {
        ledger.begin(narrow.data());
      }
      add(ledger, 1, &expected);
    }
  }
  void join() {
    const PeerId through = any();
    const PeerId id = enter();
    static_cast<void>(members.at(through).ledger.push(id, 0));
  }
  // What it holds, and what it sent and nobody has taken, is written off.
  void kill(PeerId id) {
    Member dead = std::move(members.at(id));
    members.erase(id);
    add(dead.ledger, -1, &expected);
    for (const PeerId peer : dead.known) {
      const auto packet = dead.ledger.under_way(peer);
      if (packet != nullptr && !was_taken(id, peer, *packet)) add(*packet, -1, &expected);
    }
    for (auto& [other, member] : members) {
      if (member.known.contains(id)) member.learns[id] = round + between(3, 12);
    }
    dead_.insert(id);
  }
  // What is taken back although it was taken is there once more.
  void take_back(PeerId own, PeerId peer, bool all) {
    Ledger& ledger = members.at(own).ledger;
    const auto packet = ledger.under_way(peer);
    if (packet != nullptr && was_taken(own, peer, *packet)) add(*packet, 1, &expected);
    if (all) {
      ledger.forget(peer);
    } else {
      ledger.take_back(peer);
    }
  }
  void believe_dead(PeerId id) {
    for (auto& [other, member] : members) {
      if (other == id || !member.known.contains(id) || !chance(0.5)) continue;
      member.learns[id] = round + between(0, 3);
      member.welcomes[id] = round + between(6, 12);
    }
  }

  void transmit(const Datagram& datagram) {
    if (chance(0.1)) return;  // lost
    const int copies = chance(0.05) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      network.push_back(datagram);
      network.back().due = round + between(1, 4);
    }
  }
  void deliver(const Datagram& d) {
    const auto at = members.find(d.to);
    if (at == members.end() || !at->second.known.contains(d.from)) return;
    Ledger& ledger = at->second.ledger;
    if (d.packet == nullptr) {
      const auto packet = ledger.under_way(d.from);
      if (packet == nullptr || packet->lane != d.lane || packet->sequence != d.sequence) return;
      if (d.refusal) {
        take_back(d.to, d.from, false);
      } else {
        ledger.confirm(d.from, d.lane, d.sequence);
      }
      return;
    }
    const Ledger::Taken taken_now = ledger.take(d.from, *d.packet);
    ASSERT_NE(taken_now, Ledger::Taken::kMalformed);
    if (taken_now == Ledger::Taken::kTaken) {
      const bool fresh = taken.insert({d.from, d.to, d.packet->lane, d.packet->sequence}).second;
      // Again after the lane was forgotten, after it was taken back, or of one that died meanwhile.
      const auto sender = members.find(d.from);
      const auto now = sender == members.end() ? nullptr : sender->second.ledger.under_way(d.to);
      if (!fresh || now != d.packet) add(*d.packet, 1, &expected);
    }
    Datagram answer{0,
                    d.to,
                    d.from,
                    nullptr,
                    taken_now == Ledger::Taken::kUnknownLane,
                    d.packet->lane,
                    d.packet->sequence};
    transmit(answer);
  }

  void advance() {
    ++round;
    std::vector<Datagram> due;
    std::erase_if(network, [&](const Datagram& d) {
      if (d.due <= round) due.push_back(d);
      return d.due <= round;
    });
    std::shuffle(due.begin(), due.end(), random);
    for (const Datagram& d : due) deliver(d);
    for (auto& [id, member] : members) {
      std::erase_if(member.learns, [&, own = id](const auto& entry) {
        if (entry.second > round) return false;
        take_back(own, entry.first, true);
        members.at(own).known.erase(entry.first);
        return true;
      });
      std::erase_if(member.welcomes, [&, known = &member.known](const auto& entry) {
        if (entry.second > round) return false;
        if (!dead_.contains(entry.first)) known->insert(entry.first);
        return true;
      });
      std::vector<PeerId> able;
      for (const PeerId peer : member.known) {
        if (member.ledger.may_push(peer)) able.push_back(peer);
      }
      if (!able.empty()) {
        static_cast<void>(member.ledger.push(
            able[static_cast<size_t>(between(0, static_cast<int>(able.size()) - 1))], 0));
      }
      for (const PeerId peer : member.known) {
        const auto packet = member.ledger.under_way(peer);
        if (packet != nullptr) transmit({0, id, peer, packet, false, 0, 0});
      }
    }
  }

  // All that is held, and what is under way to the living or will be taken back.
  Mass total() const {
    Mass sum{};
    for (const auto& [id, member] : members) {
      add(member.ledger, 1, &sum);
      for (const PeerId peer : member.known) {
        const auto packet = member.ledger.under_way(peer);
        if (packet != nullptr && !was_taken(id, peer, *packet)) add(*packet, 1, &sum);
      }
    }
    return sum;
  }
  double error() const {
    const Mass sum = total();
    long double worst = 0;
    for (size_t i = 0; i <= kCount; ++i) {
      worst = std::max(worst, std::abs(sum[i] - expected[i]) / expected[kCount]);
    }
    return static_cast<double>(worst);
  }
  // The largest distance of a member's value from what the expected mass says.
  double spread() const {
    double worst = 0;
    for (const auto& [id, member] : members) {
      if (member.ledger.weight() <= 0) continue;
      for (uint64_t i = 0; i < kCount; ++i) {
        const long double mean = expected[i] / expected[kCount];
        worst = std::max(
            worst,
            static_cast<double>(std::abs(member.ledger.mass()[i] / member.ledger.weight() - mean)));
      }
    }
    return worst;
  }

  std::mt19937_64 random;
  DataType type;
  int round = 0;
  PeerId next = 1;
  std::map<PeerId, Member> members;
  std::set<PeerId> dead_;
  std::vector<Datagram> network;
  std::set<std::tuple<PeerId, PeerId, uint64_t, uint64_t>> taken;
  Mass expected{};
};

TEST(LedgerWorld, MassIsConstantUnderLoss) {
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(times(1, 10)); ++seed) {
    World world(seed, DataType::kFloat64);
    world.start(200);
    const Mass whole = world.expected;
    for (int i = 0; i < 100; ++i) {
      world.advance();
      ASSERT_LT(world.error(), 1e-12) << "seed " << seed << ", round " << i;
    }
    EXPECT_EQ(world.expected, whole) << "seed " << seed;
    EXPECT_EQ(world.expected[kCount], 200);
    EXPECT_LT(world.spread(), 1e-3) << "seed " << seed;
  }
}

void churn(uint64_t seed, DataType type) {
  World world(seed, type);
  world.start(200);
  for (int i = 0; i < 80; ++i) {
    if (world.chance(0.5)) world.kill(world.any());
    if (world.chance(0.5)) world.join();
    if (world.chance(0.2)) world.believe_dead(world.any());
    world.advance();
    ASSERT_LT(world.error(), 1e-12) << "seed " << seed << ", round " << i;
  }
  EXPECT_GT(world.dead_.size(), 20u) << "seed " << seed;
  for (int i = 0; i < 250; ++i) world.advance();
  EXPECT_LT(world.error(), 1e-12) << "seed " << seed;
  EXPECT_LT(world.spread(), type == DataType::kFloat64 ? 1e-9 : 1e-6) << "seed " << seed;
  // What is known of the dead was dropped.
  for (const auto& [id, member] : world.members) {
    EXPECT_LE(member.ledger.peers_known(), 2 * world.members.size()) << "seed " << seed;
  }
}

TEST(LedgerWorld, MassIsWhatTheRulesSayUnderLossAndChurn) {
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(times(1, 10)); ++seed) {
    churn(seed, DataType::kFloat64);
    churn(seed, DataType::kFloat32);
  }
}

}  // namespace
}  // namespace gossamer::job
