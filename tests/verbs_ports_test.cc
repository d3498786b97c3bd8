// Ranks with two RDMA ports each, whose links go down: `./dev test --rdma`.
//
// ctest: TIMEOUT 300

#include <cstdlib>
#include <thread>

#include "tests/process_ranks.h"
#include "tests/transport_ranks.h"
#include "tests/verbs_device.h"

namespace gossamer::suite {

// Ranks with two ports each: rank 0 on the first two devices, rank 1 on the next two.
Result<std::unique_ptr<Transport>> create_on_two_ports(const TransportConfig& config) {
  ::setenv("GOSSAMER_IB_HCA", config.rank == 0 ? "=rxe0,rxe1" : "=rxe2,rxe3", 1);
  ::setenv("GOSSAMER_IB_SPREAD", "lane", 1);
  auto made = verbs_transport.create(config);
  ::setenv("GOSSAMER_IB_SPREAD", "rank", 1);
  ::unsetenv("GOSSAMER_IB_HCA");
  return made;
}

void set_link(const std::string& link, const char* to) {
  EXPECT_EQ(std::system(("ip link set " + link + " " + to).c_str()), 0);
}

class VerbsPorts : public VerbsDevice {
 protected:
  void SetUp() override {
    VerbsDevice::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const char* const devices = std::getenv("RDMA_VM_DEVICES");
    if (devices == nullptr || std::string(devices).find("rxe3") == std::string::npos) {
      GTEST_SKIP() << "takes links down: needs tests/rdma-vm with --devices 4";
    }
  }
  void TearDown() override {
    if (IsSkipped()) return;  // also where there is no such link
    for (const char* link : {"rx0", "rx1", "rx2", "rx3"}) set_link(link, "up");
  }
};

// Both lanes, both ways, all kinds of messages: short, long into plain memory, long and folded.
// `at` is called with the number of each round.
void exchange_over_two_lanes(Ranks* ranks, int rounds, const std::function<void(int)>& at) {
  constexpr uint64_t kLong = 1 << 20;
  constexpr uint64_t kShort = 3000;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::vector<std::byte>> sent;
    std::vector<std::vector<std::byte>> got;
    std::vector<std::unique_ptr<Fold>> folds;
    for (auto& tokens : ranks->done) tokens.clear();
    const size_t awaited = 24;  // twelve sends, twelve receives
    for (uint64_t n = 0; n < 12; ++n) {
      sent.push_back(pattern(n % 3 == 0 ? kShort : kLong, static_cast<uint64_t>(round) * 100 + n));
      got.emplace_back(sent.back().size());
      folds.push_back(std::make_unique<Fold>(sent.back().size(), n));
    }
    Token token = 1;
    for (size_t n = 0; n < sent.size(); ++n) {
      const auto to = static_cast<Rank>(n / 6);
      const auto lane = static_cast<Lane>(n % 2);
      const Fingerprint print = n + 1;
      const Sink sink = n % 3 == 2 ? folds[n]->sink(8, print) : sink_of(got[n], print);
      (void)ranks->recv(to, 1 - to, lane, sink, token++);
      (void)ranks->send(1 - to, to, lane, message_of(sent[n], print), token++);
      if (n == 5) at(round);
    }
    ranks->drive([&] {
      return ranks->tokens(0).size() + ranks->tokens(1).size() == awaited ||
             ranks->fault(0).code != Code::kOk || ranks->fault(1).code != Code::kOk;
    });
    ASSERT_EQ(ranks->tokens(0).size() + ranks->tokens(1).size(), awaited) << "round " << round;
    ASSERT_EQ(ranks->fault(0).code, Code::kOk) << ranks->fault(0).text.data();
    ASSERT_EQ(ranks->fault(1).code, Code::kOk) << ranks->fault(1).text.data();
    for (size_t n = 0; n < sent.size(); ++n) {
      if (n % 3 == 2) {
        EXPECT_TRUE(folds[n]->holds(sent[n])) << "round " << round << ", message " << n;
      } else {
        EXPECT_TRUE(got[n] == sent[n]) << "round " << round << ", message " << n;
      }
    }
  }
}

// Both directions, while ports of both ends go and come.
void expect_lanes_to_move(const Create& create) {
  Ranks ranks(create, 2);
  ranks.open(0, 1);
  ASSERT_EQ(ranks[0].limits().lanes, 2);
  exchange_over_two_lanes(&ranks, 24, [](int round) {
    if (round == 4) set_link("rx0", "down");  // rank 0's first
    if (round == 10) set_link("rx0", "up");
    if (round == 13) set_link("rx3", "down");  // rank 1's second, which carries both lanes now
    if (round == 18) set_link("rx3", "up");
  });
}

TEST_F(VerbsPorts, ALaneWhosePortFailsGoesOnOverAnotherAndLosesNothing) {
  expect_lanes_to_move(create_on_two_ports);
}

TEST_F(VerbsPorts, ALaneThatReadsGoesOnOverAnotherPortAndLosesNothing) {
  ::setenv("GOSSAMER_IB_READ", "1", 1);
  expect_lanes_to_move(create_on_two_ports);
  ::unsetenv("GOSSAMER_IB_READ");
}

// All-reduces go on, and stay exact, while rank 0's first port is down for good.
void expect_all_reduces_to_go_on(const char* reads) {
  constexpr uint64_t kCount = 1 << 20;
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    ::setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
    ::setenv("GOSSAMER_IB_HCA", rank == 0 ? "=rxe0,rxe1" : "=rxe2,rxe3", 1);
    ::setenv("GOSSAMER_IB_SPREAD", "lane", 1);
    ::setenv("GOSSAMER_IB_READ", reads, 1);
    Communicator::Options options;
    options.rank = rank;
    options.size = 2;
    options.rendezvous = folder.place("id");
    options.transport = "verbs";
    auto comm = Communicator::create(options);
    ASSERT_TRUE(comm) << comm.status().message();
    std::vector<float> data(kCount);
    const auto once = [&](int64_t step) {
      for (uint64_t i = 0; i < kCount; ++i) {
        data[i] = static_cast<float>((i + static_cast<uint64_t>(step)) % 1000 + rank);
      }
      const Status status =
          (*comm)->all_reduce(data.data(), data.data(), kCount, DataType::kFloat32, ReduceOp::kSum);
      ASSERT_TRUE(status.is_ok()) << "step " << step << ": " << status.message();
      for (uint64_t i = 0; i < kCount; ++i) {
        const auto one = static_cast<float>((i + static_cast<uint64_t>(step)) % 1000);
        ASSERT_EQ(data[i], 2 * one + 1) << "step " << step << ", element " << i;
      }
      report.steps = step + 1;
    };
    for (int64_t step = 0; step < 12 && !testing::Test::HasFailure(); ++step) once(step);
    if (!testing::Test::HasFailure()) report.stage = 1;
  });
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (ranks.report(0).steps < 3 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  set_link("rx0", "down");
  const int64_t at = ranks.report(0).steps;
  EXPECT_LT(at, 10) << "the link went down too late to matter";
  EXPECT_TRUE(ranks.wait_stage(1, milliseconds(60'000)));
}

TEST_F(VerbsPorts, AllReducesGoOnOverAnotherPort) {
  expect_all_reduces_to_go_on("0");
}

TEST_F(VerbsPorts, AllReducesThatReadGoOnOverAnotherPort) {
  expect_all_reduces_to_go_on("1");
}

TEST_F(VerbsPorts, WithoutAnyPortLeftThePeerIsLost) {
  Ranks ranks(create_on_two_ports, 2);
  ranks.open(0, 1);
  exchange_over_two_lanes(&ranks, 1, [](int) {});
  set_link("rx2", "down");
  set_link("rx3", "down");
  const auto sent = pattern(1 << 20, 1);
  std::vector<std::byte> got(sent.size());
  (void)ranks.recv(1, 0, 0, sink_of(got), 1);
  (void)ranks.send(0, 1, 0, message_of(sent), 2);
  const auto before = std::chrono::steady_clock::now();
  ranks.drive([&] { return ranks.fault(0).code != Code::kOk || ranks.fault(1).code != Code::kOk; });
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(20));
  const Rank first = ranks.fault(0).code != Code::kOk ? 0 : 1;
  EXPECT_EQ(ranks.fault(first).code, Code::kPeerLost) << ranks.fault(first).text.data();
  EXPECT_EQ(ranks.fault(first).rank, 1 - first);
}

}  // namespace gossamer::suite
