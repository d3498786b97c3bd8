// Everything that can go wrong while ranks meet: each rank hears what and who, in time.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>

#include "src/channel.h"
#include "src/log.h"
#include "src/meeting_file.h"
#include "src/messages.h"
#include "src/unique_id.h"
#include "tests/bootstrap_ranks.h"

namespace gossamer {
namespace {

constexpr milliseconds kShort{2'000};  // enough to join on a busy machine

class BootstrapFailure : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::kNone); }
  void TearDown() override { set_log_level(LogLevel::kWarn); }
};

UniqueId make_id() {
  auto id = UniqueId::create();
  EXPECT_TRUE(id) << id.status().message();
  return id ? *id : UniqueId{};
}

UniqueId with_key(const UniqueId& id, std::byte first) {
  UniqueIdFields fields = *parse_unique_id(id);
  fields.key[0] = first ^ fields.key[0];
  return encode(fields);
}

// A member that does what it is told by the test, not what a rank would do.
class Puppet {
 public:
  Puppet(const SocketAddress& to, const Key& key, uint64_t session, Rank rank)
      : channel_(Channel::connect(
            to, Handshake(key, Handshake::Role::kConnector, session, rank, kPurposeMeeting), 0)) {
    drive([this] { return channel_->open(); });
  }
  void report(Rank rank, Rank size) {
    Report report;
    report.rank = rank;
    report.size = size;
    report.timeout_ms = 10'000;
    report.listens_on = *SocketAddress::parse("127.0.0.1:9");
    FrameHeader header;
    header.type = FrameType::kReport;
    channel_->send(header, encode(report));
    drive([this] { return channel_->flushed(); });
  }
  Channel& channel() { return *channel_; }
  template <class Ready>
  void drive(const Ready& ready) {
    const Deadline deadline(milliseconds(10'000));
    while (!ready() && !channel_->closed() && !deadline.expired()) {
      pollfd fd = channel_->to_poll();
      wait_for(std::span(&fd, 1), Deadline(milliseconds(10)), nullptr);
      channel_->step();
    }
  }

 private:
  std::unique_ptr<Channel> channel_;
};

TEST_F(BootstrapFailure, AWrongKeyIsRefusedAndNamed) {
  const UniqueId id = make_id();
  const UniqueId forged = with_key(id, std::byte{1});
  auto configs = group_of(3, id, kShort);
  configs[2].id = &forged;
  const std::vector<Seen> seen = run_ranks(configs);
  EXPECT_EQ(seen[2].status.code(), Code::kMismatch);
  EXPECT_EQ(seen[2].status.rank(), 2);
  EXPECT_NE(seen[2].status.message().find("rank 2 is not admitted"), std::string::npos)
      << seen[2].status.message();
  for (const size_t rank : {size_t{0}, size_t{1}}) {
    EXPECT_EQ(seen[rank].status.code(), Code::kTimeout);
    EXPECT_EQ(seen[rank].status.rank(), 2);
    EXPECT_NE(seen[rank].status.message().find("it does not know the group's key"),
              std::string::npos)
        << seen[rank].status.message();
  }
}

TEST_F(BootstrapFailure, AnotherSessionIsRefused) {
  const UniqueId id = make_id();
  UniqueIdFields fields = *parse_unique_id(id);
  fields.session ^= 1;
  const UniqueId old = encode(fields);
  const Seen seen = join_and_gather(config_of(1, 2, old, kShort), "");
  EXPECT_EQ(seen.status.code(), Code::kMismatch);
  EXPECT_NE(seen.status.message().find("session"), std::string::npos) << seen.status.message();
}

// Web requests, noise, half a hello, and silence, before and while ranks join.
TEST_F(BootstrapFailure, StrangersDisturbNobody) {
  const UniqueId id = make_id();
  const SocketAddress at = parse_unique_id(id)->address;
  std::mt19937 random(4711);
  std::vector<Fd> strangers;
  const auto disturb = [&] {
    strangers.push_back(connect_raw(at));
    send_raw(strangers.back(), "GET / HTTP/1.0\r\n\r\n");
    strangers.push_back(connect_raw(at));
    std::string noise(300, '\0');
    for (char& c : noise) {
      c = static_cast<char>(random());
    }
    send_raw(strangers.back(), noise);
    strangers.push_back(connect_raw(at));
    send_raw(strangers.back(), std::string("GSMR\1\0\0\0", 8));
    strangers.push_back(connect_raw(at));  // says nothing
  };
  for (int i = 0; i < 50; ++i) {
    disturb();
  }
  auto configs = group_of(6, id);
  std::vector<Seen> seen(configs.size());
  std::vector<std::thread> threads;
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < configs.size(); ++i) {
    disturb();
    threads.emplace_back([&, i] {
      seen[i] = join_and_gather(configs[i], "blob of " + std::to_string(configs[i].rank));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  expect_complete(seen);
  // Waiting for one after the other would take more than fifty times as long.
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3 * RendezvousServer::kHandshakeTime);
}

// One that knows the key but sends nonsense after it.
TEST_F(BootstrapFailure, AMalformedReportIsRefused) {
  const UniqueId id = make_id();
  const UniqueIdFields fields = *parse_unique_id(id);
  Puppet puppet(fields.address, fields.key, fields.session, 1);
  ASSERT_TRUE(puppet.channel().open());
  FrameHeader header;
  header.type = FrameType::kReport;
  puppet.channel().send(header, std::vector<std::byte>(17));
  puppet.drive([] { return false; });
  EXPECT_TRUE(puppet.channel().closed());
  Puppet liar(fields.address, fields.key, fields.session, 1);
  liar.report(0, 2);  // shook hands as rank 1
  liar.drive([] { return false; });
  EXPECT_TRUE(liar.channel().closed());
  expect_complete(run_ranks(group_of(2, id)));
}

TEST_F(BootstrapFailure, TwoRanksOfOneNumberAreToldBoth) {
  for (const std::string& place : {std::string(), tcp_place(free_port())}) {
    const UniqueId id = make_id();
    auto configs = place.empty() ? group_of(3, id) : group_of(3, place);
    configs[2].rank = 1;
    std::vector<Seen> seen(3);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 3; ++i) {
      // The second one last: a meeting point does not wait long for ranks that it has refused.
      if (i == 2) std::this_thread::sleep_for(milliseconds(500));
      threads.emplace_back([&, i] { seen[i] = join_and_gather(configs[i], "blob"); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    expect_all(seen, Code::kMismatch, 1, "two processes say they are rank 1 of 3");
  }
}

TEST_F(BootstrapFailure, DifferentSizesAreToldBoth) {
  const UniqueId id = make_id();
  auto configs = group_of(3, id);
  configs[1].size = 4;
  const std::vector<Seen> seen = run_ranks(configs);
  for (const Seen& one : seen) {
    EXPECT_EQ(one.status.code(), Code::kMismatch);
    EXPECT_NE(one.status.message().find("rank 1"), std::string::npos) << one.status.message();
    EXPECT_NE(one.status.message().find("4"), std::string::npos) << one.status.message();
    EXPECT_NE(one.status.message().find("3"), std::string::npos) << one.status.message();
  }
}

TEST_F(BootstrapFailure, AMissingRankIsNamedInTime) {
  for (const bool by_id : {true, false}) {
    // A server that gets no core for half a second is itself too late to tell.
    const auto told = [](const Seen& one) { return one.status.rank() == 2; };
    std::vector<Seen> seen;
    for (int i = 0; i < 10 && (i == 0 || !std::all_of(seen.begin(), seen.end(), told)); ++i) {
      const UniqueId id = make_id();
      auto configs = by_id ? group_of(4, id, kShort) : group_of(4, tcp_place(free_port()), kShort);
      configs.erase(configs.begin() + 2);
      const auto start = std::chrono::steady_clock::now();
      seen = run_ranks(configs);
      EXPECT_LT(std::chrono::steady_clock::now() - start, kShort + milliseconds(20'000));
    }
    expect_all(seen, Code::kTimeout, 2, "rank 2 did not join in time (3 of 4 did)");
  }
}

TEST_F(BootstrapFailure, SeveralMissingRanksAreListed) {
  const UniqueId id = make_id();
  auto configs = group_of(12, id, kShort);
  configs.resize(2);
  expect_all(run_ranks(configs), Code::kTimeout, 2, "ranks 2, 3, 4, 5, 6, 7, 8, 9, ... did not");
}

TEST_F(BootstrapFailure, AMissingRank0IsNamed) {
  const ScratchFile file;
  for (const std::string& place : {tcp_place(free_port()), file.place()}) {
    auto configs = group_of(3, place, milliseconds(300));
    configs.erase(configs.begin());
    expect_all(run_ranks(configs), Code::kTimeout, 0, "check that rank 0 started");
  }
}

TEST_F(BootstrapFailure, AnIdThatNobodyServesIsNamed) {
  UniqueIdFields fields = *parse_unique_id(make_id());
  fields.address = *SocketAddress::parse(fmt::format("127.0.0.1:{}", free_port()));
  const UniqueId dead = encode(fields);
  const Seen seen = join_and_gather(config_of(0, 2, dead), "");
  EXPECT_EQ(seen.status.code(), Code::kPeerLost);
  EXPECT_NE(seen.status.message().find("nobody serves"), std::string::npos);
}

TEST_F(BootstrapFailure, ARankThatLeavesAfterItsReportIsNamed) {
  const UniqueId id = make_id();
  const UniqueIdFields fields = *parse_unique_id(id);
  std::thread leaver([&] {
    Puppet puppet(fields.address, fields.key, fields.session, 3);
    puppet.report(3, 4);
    std::this_thread::sleep_for(milliseconds(100));
  });
  auto configs = group_of(4, id);
  configs.resize(2);
  expect_all(run_ranks(configs), Code::kPeerLost, 3, "rank 3");
  leaver.join();
}

TEST_F(BootstrapFailure, AStaleFileDoesNotMislead) {
  // Of a crashed run: nobody listens. Of a recycled port: somebody else does, silently or not.
  auto silent = listen_on(*SocketAddress::parse("127.0.0.1:0"), "");
  const Fd held(*silent);
  UniqueIdFields fields = *parse_unique_id(make_id());
  const UniqueId other_group = with_key(make_id(), std::byte{1});
  fields.address = *SocketAddress::parse(fmt::format("127.0.0.1:{}", free_port()));
  const UniqueId dead = encode(fields);
  fields.address = *local_address(held.get());
  const UniqueId mute = encode(fields);
  UniqueId garbage;
  garbage.bytes.fill(std::byte{7});
  for (const UniqueId& stale : {dead, other_group, mute, garbage}) {
    const ScratchFile file;
    ASSERT_TRUE(write_id_file(file.path(), stale));
    auto configs = group_of(3, file.place());
    std::vector<Seen> seen(3);
    std::vector<std::thread> threads;
    for (const size_t i : {size_t{1}, size_t{2}, size_t{0}}) {
      threads.emplace_back([&, i] {
        seen[i] = join_and_gather(configs[i], "blob of " + std::to_string(configs[i].rank));
      });
      std::this_thread::sleep_for(milliseconds(50));
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    expect_complete(seen);
    EXPECT_FALSE(file.exists());
  }
}

TEST_F(BootstrapFailure, AShortFileIsNoId) {
  const ScratchFile file;
  std::ofstream(file.path()) << "hello";
  auto read = read_id_file(file.path());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
  const Seen seen = join_and_gather(config_of(1, 2, file.place(), milliseconds(200)), "");
  EXPECT_EQ(seen.status.code(), Code::kTimeout);
  EXPECT_NE(seen.status.message().find("does not hold a unique id"), std::string::npos);
}

TEST_F(BootstrapFailure, AMissingFolderIsNamed) {
  const Seen seen = join_and_gather(config_of(0, 2, "file:///no/such/folder/id"), "");
  EXPECT_EQ(seen.status.code(), Code::kInvalidArgument);
  EXPECT_NE(seen.status.message().find("/no/such/folder does not exist"), std::string::npos)
      << seen.status.message();
}

TEST_F(BootstrapFailure, APortInUseIsNamed) {
  auto socket = listen_on(*SocketAddress::parse("127.0.0.1:0"), "");
  const Fd held(*socket);
  const uint16_t port = local_address(held.get())->port();
  const Seen seen = join_and_gather(config_of(0, 2, tcp_place(port)), "");
  EXPECT_EQ(seen.status.code(), Code::kSystem);
  EXPECT_EQ(seen.status.rank(), 0);
  EXPECT_NE(seen.status.message().find(fmt::format("port {} is in use", port)), std::string::npos)
      << seen.status.message();
}

TEST_F(BootstrapFailure, AnImpossibleConfigurationIsRefused) {
  const std::string place = tcp_place(free_port());
  for (const auto& [rank, size] : {std::pair(2, 2), {-1, 2}, {0, 0}, {0, kSizeMax + 1}}) {
    EXPECT_EQ(join_and_gather(config_of(rank, size, place), "").status.code(),
              Code::kInvalidArgument);
  }
  EXPECT_EQ(join_and_gather(config_of(0, 2, ""), "").status.code(), Code::kInvalidArgument);
  EXPECT_EQ(join_and_gather(config_of(0, 2, place, milliseconds(0)), "").status.code(),
            Code::kInvalidArgument);
  BootstrapConfig config = config_of(0, 2, place);
  config.interfaces = "=nothing0";
  EXPECT_EQ(join_and_gather(config, "").status.code(), Code::kInvalidArgument);
}

// How long a call that was aborted 100 ms after its start went on after that.
template <class Call>
milliseconds time_to_abort(std::atomic<bool>* aborted, const Call& call) {
  std::chrono::steady_clock::time_point when;
  std::thread aborter([&] {
    std::this_thread::sleep_for(milliseconds(100));
    when = std::chrono::steady_clock::now();
    aborted->store(true);
  });
  call();
  const auto end = std::chrono::steady_clock::now();
  aborter.join();
  return std::chrono::duration_cast<milliseconds>(end - when);
}

constexpr milliseconds kAbortTime{5'000};  // 50 ms, and room for a busy machine

TEST_F(BootstrapFailure, AbortEndsEveryWayOfJoining) {
  const ScratchFile file;
  const UniqueId id = make_id();
  std::vector<BootstrapConfig> configs{
      config_of(0, 2, tcp_place(free_port())), config_of(1, 2, tcp_place(free_port())),
      config_of(0, 2, file.place()), config_of(1, 2, file.place() + "2"), config_of(1, 2, id)};
  for (BootstrapConfig& config : configs) {
    std::atomic<bool> aborted{false};
    config.aborted = &aborted;
    Status status;
    EXPECT_LT(time_to_abort(&aborted, [&] { status = join_and_gather(config, "").status; }),
              kAbortTime);
    EXPECT_EQ(status.code(), Code::kAborted) << status.message();
  }
  EXPECT_FALSE(file.exists());
}

TEST_F(BootstrapFailure, AbortEndsAGatherAndTheOthersHearOfIt) {
  const UniqueId id = make_id();
  std::atomic<bool> aborted{false};
  BootstrapConfig first = config_of(0, 3, id);
  first.aborted = &aborted;
  std::vector<std::unique_ptr<Bootstrap>> ranks(3);
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      auto joined = Bootstrap::join(rank == 0 ? first : config_of(rank, 3, id));
      ASSERT_TRUE(joined) << joined.status().message();
      ranks[static_cast<size_t>(rank)] = std::move(*joined);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  Status other;
  std::thread second([&] { other = ranks[1]->all_gather("b").status(); });
  Status status;
  EXPECT_LT(time_to_abort(&aborted, [&] { status = ranks[0]->all_gather("a").status(); }),
            kAbortTime);
  second.join();  // rank 2 never gathers
  EXPECT_EQ(status.code(), Code::kAborted);
  EXPECT_EQ(other.code(), Code::kAborted);
  EXPECT_EQ(other.rank(), 0);
  EXPECT_EQ(ranks[0]->all_gather("a").status().code(), Code::kAborted);  // final
}

TEST_F(BootstrapFailure, ARankLostBeforeTheGatherIsNamedByAll) {
  constexpr Rank kSize = 7;
  const UniqueId id = make_id();
  std::vector<Status> statuses(kSize);
  std::atomic<int> joined{0};
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < kSize; ++rank) {
    threads.emplace_back([&, rank] {
      auto bootstrap = Bootstrap::join(config_of(rank, kSize, id));
      ASSERT_TRUE(bootstrap) << bootstrap.status().message();
      ++joined;
      while (joined.load() < kSize) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      if (rank != 4) {  // rank 4 leaves here
        statuses[static_cast<size_t>(rank)] = (*bootstrap)->all_gather("x").status();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (Rank rank = 0; rank < kSize; ++rank) {
    if (rank != 4) {
      const Status& status = statuses[static_cast<size_t>(rank)];
      EXPECT_EQ(status.code(), Code::kPeerLost) << rank << ": " << status.message();
      EXPECT_EQ(status.rank(), 4) << rank << ": " << status.message();
    }
  }
}

TEST_F(BootstrapFailure, ARankThatDoesNotGatherIsNamed) {
  const UniqueId id = make_id();
  std::vector<std::unique_ptr<Bootstrap>> ranks(2);
  std::thread other([&] {
    auto joined = Bootstrap::join(config_of(1, 2, id));
    ASSERT_TRUE(joined);
    ranks[1] = std::move(*joined);
  });
  auto joined = Bootstrap::join(config_of(0, 2, id, kShort));
  other.join();
  ASSERT_TRUE(joined) << joined.status().message();
  const Status status = (*joined)->all_gather("x").status();
  EXPECT_EQ(status.code(), Code::kTimeout);
  EXPECT_EQ(status.rank(), 1);
  EXPECT_NE(status.message().find("waiting for rank 1"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace gossamer
