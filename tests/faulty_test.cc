#include "transports/faulty.h"

#include "tests/transport_suite.h"
#include "transports/list.h"

namespace gossamer::suite {

namespace {

Create faulty(const std::string& text) {
  return [text](const TransportConfig& config) -> Result<std::unique_ptr<Transport>> {
    Result<FaultyOptions> options = parse_faulty(text);
    if (!options) return options.status();
    return create_faulty(*options, config);
  };
}

}  // namespace

// Misfortune that a reliable transport must survive: every case of the suite holds.
INSTANTIATE_TEST_SUITE_P(
    Faulty, TransportSuite,
    testing::Values(TransportCase{.name = "nothing_over_loopback", .create = faulty("loopback")},
                    TransportCase{
                        .name = "nothing_over_tcp", .create = faulty("tcp"), .authenticates = true},
                    TransportCase{.name = "delays_over_loopback",
                                  .create = faulty("loopback:delay_us=200,seed=11")},
                    TransportCase{.name = "delays_and_a_stall_over_tcp",
                                  .create = faulty("tcp:delay_us=100,stall_after=5,stall_ms=20"),
                                  .authenticates = true}),
    case_name);

namespace {

TEST(Faulty, ReadsItsOptions) {
  const auto all = parse_faulty("shm:delay_us=50,loss=0.25,cut_after=7,stall_after=3,stall_ms=9");
  ASSERT_TRUE(all.is_ok());
  EXPECT_EQ(all.value().inner, "shm");
  EXPECT_EQ(all.value().delay_us, 50u);
  EXPECT_EQ(all.value().loss, 0.25);
  EXPECT_EQ(all.value().cut_after, 7u);
  EXPECT_EQ(all.value().stall_after, 3u);
  EXPECT_EQ(all.value().stall_ms, 9u);
  for (const char* bad :
       {"tcp:delay", "tcp:delay_us=x", "tcp:loss=2", "tcp:speed=1", "tcp:seed="}) {
    EXPECT_EQ(parse_faulty(bad).status().code(), Code::kInvalidArgument) << bad;
  }
  for (const char* inner : {"faulty", "pigeons", ""}) {
    FaultyOptions options;
    options.inner = inner;
    EXPECT_EQ(create_faulty(options, make_config(0, 2)).status().code(), Code::kInvalidArgument);
  }
}

TEST(Faulty, ACutNamesThePeerAndComesWhenItShould) {
  for (const char* inner : {"loopback", "tcp"}) {
    Ranks ranks(faulty(std::string(inner) + ":cut_after=4"), 3);
    ranks.open_all();
    const auto sent = pattern(16, 1);
    for (Token i = 0; i < 3; ++i) {
      const Code code = ranks.send(0, i % 2 == 0 ? 1 : 2, 0, message_of(sent), i);
      EXPECT_TRUE(code == Code::kOk || code == Code::kPending);
    }
    EXPECT_EQ(ranks.send(0, 2, 0, message_of(sent), 3), Code::kPeerLost);
    EXPECT_EQ(ranks.fault(0).rank, 2);
    ranks[0].notify(ranks.fault(0));
    ranks.drive(
        [&] { return ranks.fault(1).code != Code::kOk && ranks.fault(2).code != Code::kOk; });
    EXPECT_EQ(ranks.fault(1).rank, 2);
  }
}

TEST(Faulty, ALostMessageTakesItsLaneWithIt) {
  constexpr Token kCount = 60;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Ranks ranks(faulty("loopback:loss=0.1,seed=" + std::to_string(seed)), 2);
    ranks.open(0, 1);
    const auto sent = pattern(16, 1);
    std::vector<std::vector<std::byte>> got(kCount, std::vector<std::byte>(16));
    for (Token i = 0; i < kCount; ++i) {
      ASSERT_EQ(ranks.recv(1, 0, 0, sink_of(got[i], i), i), Code::kPending);
      ASSERT_EQ(ranks.send(0, 1, 0, message_of(sent, i), i), Code::kPending);
    }
    for (int i = 0; i < 300; ++i) ranks.step();
    EXPECT_EQ(ranks.fault(1).code, Code::kOk) << "what does arrive is in order";
    const size_t arrived = ranks.tokens(1).size();
    EXPECT_LT(arrived, kCount) << "with this seed nothing was lost";
    for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(got[i] == sent, i < arrived) << i;
  }
}

TEST(Faulty, EqualSeedsLoseTheSameMessage) {
  const auto arrived = [](uint64_t seed) {
    Ranks ranks(faulty("loopback:loss=0.05,seed=" + std::to_string(seed)), 2);
    ranks.open(0, 1);
    const auto sent = pattern(16, 1);
    std::vector<std::byte> got(16);
    for (Token i = 0; i < 60; ++i) {
      (void)ranks.recv(1, 0, 0, sink_of(got), i);
      (void)ranks.send(0, 1, 0, message_of(sent), i);
    }
    for (int i = 0; i < 300; ++i) ranks.step();
    return ranks.tokens(1).size();
  };
  size_t different = 0;
  for (uint64_t seed = 1; seed < 10; ++seed) {
    EXPECT_EQ(arrived(seed), arrived(seed)) << seed;
    different += arrived(seed) != arrived(seed + 1) ? 1 : 0;
  }
  EXPECT_GT(different, 0u);
}

}  // namespace

}  // namespace gossamer::suite
