#include "transports/sim.h"

#include "tests/transport_suite.h"
#include "transports/list.h"

namespace gossamer::suite {

INSTANTIATE_TEST_SUITE_P(
    Sim, TransportSuite,
    testing::Values(TransportCase{
        .name = "sim", .create = sim_transport.create, .threads = false, .sleeps = false}),
    case_name);

namespace {

struct World {
  explicit World(const SimNetwork::Options& options) : network(SimNetwork::create(options)) {
    const std::vector<std::string> addresses(static_cast<size_t>(options.size), "sim");
    for (Rank r = 0; r < options.size; ++r) {
      ranks.push_back(network->attach(r));
      EXPECT_TRUE(ranks.back()->start(addresses).is_ok());
    }
    done.resize(ranks.size());
    faults.resize(ranks.size());
  }
  Transport& operator[](Rank r) { return *ranks[static_cast<size_t>(r)]; }
  void run() {
    do {
      for (const Rank r : network->take_ready()) {
        const auto i = static_cast<size_t>(r);
        if (faults[i].code == Code::kOk) (void)ranks[i]->poll(&done[i], &faults[i]);
      }
    } while (network->advance());
    for (const Rank r : network->take_ready()) {
      const auto i = static_cast<size_t>(r);
      if (faults[i].code == Code::kOk) (void)ranks[i]->poll(&done[i], &faults[i]);
    }
  }
  void open(Rank a, Rank b) {
    Fault fault;
    ASSERT_EQ((*this)[a].open(b, &fault), Code::kOk);
    ASSERT_EQ((*this)[b].open(a, &fault), Code::kOk);
  }

  std::shared_ptr<SimNetwork> network;
  std::vector<std::unique_ptr<Transport>> ranks;
  std::vector<std::vector<Token>> done;
  std::vector<Fault> faults;
};

TEST(Sim, AMessageTakesLatencyPlusItsBytesAtThePort) {
  World world({.size = 3, .link = [](Rank from, Rank) {
                 return SimNetwork::Link{from == 0 ? 5'000u : 100u, 2.0};
               }});
  world.open(0, 1);
  world.open(0, 2);
  const auto sent = pattern(1000, 1);
  std::vector<std::byte> at1(1000);
  std::vector<std::byte> at2(1000);
  Fault fault;
  ASSERT_EQ(world[1].recv(0, 0, sink_of(at1), 1, &fault), Code::kPending);
  ASSERT_EQ(world[2].recv(0, 0, sink_of(at2), 1, &fault), Code::kPending);
  ASSERT_EQ(world[0].send(1, 0, message_of(sent), 1, &fault), Code::kPending);
  ASSERT_EQ(world[0].send(2, 0, message_of(sent), 2, &fault), Code::kPending);
  world.run();
  // The second waits 2000 ns for the port of rank 0.
  EXPECT_EQ(world.network->now_ns(), 2'000u + 5'000u + 2'000u);
  EXPECT_EQ(at1, sent);
  EXPECT_EQ(at2, sent);
  EXPECT_EQ(world.network->counters().messages, 2u);
  EXPECT_EQ(world.network->counters().bytes, 2000u);
}

// A ring of `size` ranks passes 20 messages each with jitter; returns the virtual time it takes.
uint64_t ring_time_ns(Rank size, uint64_t seed) {
  World world({.size = size, .seed = seed, .jitter_ns = 10'000});
  const auto sent = pattern(64, 1);
  std::vector<std::vector<std::byte>> got(static_cast<size_t>(size), std::vector<std::byte>(64));
  Fault fault;
  for (Rank r = 0; r < size; ++r) world.open(r, (r + 1) % size);
  for (Fingerprint round = 0; round < 20; ++round) {
    for (Rank r = 0; r < size; ++r) {
      (void)world[r].recv((r + size - 1) % size, 0, sink_of(got[static_cast<size_t>(r)], round), 1,
                          &fault);
    }
    for (Rank r = 0; r < size; ++r) {
      (void)world[r].send((r + 1) % size, 0, message_of(sent, round), 2, &fault);
    }
    world.run();
  }
  for (Rank r = 0; r < size; ++r) {
    EXPECT_EQ(world.done[static_cast<size_t>(r)].size(), 40u);
    EXPECT_EQ(got[static_cast<size_t>(r)], sent);
  }
  return world.network->now_ns();
}

TEST(Sim, EqualSeedsGiveEqualRuns) {
  EXPECT_EQ(ring_time_ns(5, 7), ring_time_ns(5, 7));
  EXPECT_NE(ring_time_ns(5, 7), ring_time_ns(5, 8));
}

TEST(Sim, CarriesThousandsOfRanks) {
  EXPECT_GT(ring_time_ns(5000, 1), 0u);
}

TEST(Sim, ACrashReachesEveryPeer) {
  World world({.size = 3});
  world.open(0, 1);
  world.open(1, 2);
  world.open(0, 2);
  world.network->crash(1);
  world.run();
  for (const size_t r : {0u, 2u}) {
    EXPECT_EQ(world.faults[r].code, Code::kPeerLost);
    EXPECT_EQ(world.faults[r].rank, 1);
  }
}

TEST(Sim, ACutLinkIsSilent) {
  World world({.size = 2});
  world.open(0, 1);
  world.network->cut(1, 0);
  const auto sent = pattern(64, 1);
  std::vector<std::byte> got(64);
  Fault fault;
  (void)world[1].recv(0, 0, sink_of(got), 1, &fault);
  (void)world[0].send(1, 0, message_of(sent), 1, &fault);
  world.run();
  EXPECT_TRUE(world.done[1].empty());
  EXPECT_EQ(world.faults[1].code, Code::kOk);
}

}  // namespace

}  // namespace gossamer::suite
