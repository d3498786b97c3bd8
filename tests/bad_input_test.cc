// Bad input through the public interface: each gets one sentence that says what to do.

#include <sys/resource.h>

#include "gossamer/memory.h"
#include "src/net.h"
#include "tests/group_threads.h"

namespace gossamer {
namespace {

void expect_says(const Status& status, Code code, const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), code) << status.message();
  for (const std::string& part : parts) {
    EXPECT_NE(status.message().find(part), std::string::npos)
        << "no \"" << part << "\" in: " << status.message();
  }
  EXPECT_EQ(status.message().find('\n'), std::string::npos) << status.message();
}

Communicator::Options alone() {
  return options_of(0, 1, "", "auto");
}

Status creating(const Communicator::Options& options) {
  return Communicator::create(options).status();
}

class BadCall : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Communicator::create(alone());
    ASSERT_TRUE(made) << made.status().message();
    comm = std::move(*made);
  }
  // A refused call leaves the communicator as it was.
  void TearDown() override { EXPECT_TRUE(comm->all_reduce(std::span(data))); }
  std::unique_ptr<Communicator> comm;
  std::vector<float> data = std::vector<float>(100, 1.0F);
  std::vector<float> output = std::vector<float>(100);
};

TEST_F(BadCall, NullBuffersAreNamed) {
  expect_says(comm->all_reduce(nullptr, output.data(), 7, DataType::kFloat32, ReduceOp::kSum),
              Code::kInvalidArgument, {"input", "null", "7"});
  expect_says(comm->all_reduce(data.data(), nullptr, 7, DataType::kFloat32, ReduceOp::kSum),
              Code::kInvalidArgument, {"output", "null"});
  expect_says(comm->all_gather(nullptr, output.data(), 7, DataType::kFloat32),
              Code::kInvalidArgument, {"input", "null"});
  expect_says(comm->start_all_gather(data.data(), nullptr, 7, DataType::kFloat32).wait(),
              Code::kInvalidArgument, {"output", "null"});
  EXPECT_TRUE(comm->all_reduce(nullptr, nullptr, 0, DataType::kFloat32, ReduceOp::kSum));
}

TEST_F(BadCall, CountsThatOverflowAreNamed) {
  for (const uint64_t count : {UINT64_MAX, static_cast<uint64_t>(-5), uint64_t{1} << 62}) {
    expect_says(
        comm->all_reduce(data.data(), output.data(), count, DataType::kFloat32, ReduceOp::kSum),
        Code::kInvalidArgument, {std::to_string(count), "overflow", "elements"});
  }
}

TEST_F(BadCall, UnknownTypesAndOperationsAreRefused) {
  expect_says(
      comm->all_reduce(data.data(), output.data(), 1, static_cast<DataType>(99), ReduceOp::kSum),
      Code::kInvalidArgument, {"type", "DataType"});
  expect_says(comm->all_reduce(data.data(), output.data(), 1, DataType::kFloat32,
                               static_cast<ReduceOp>(99)),
              Code::kInvalidArgument, {"operation", "ReduceOp"});
  expect_says(comm->all_reduce(data.data(), output.data(), 1, DataType::kFloat32, ReduceOp::kUser),
              Code::kInvalidArgument, {"function"});
}

TEST_F(BadCall, PartialOverlapIsRefused) {
  expect_says(
      comm->all_reduce(data.data(), data.data() + 10, 50, DataType::kFloat32, ReduceOp::kSum),
      Code::kInvalidArgument, {"overlap", "input == output"});
  expect_says(comm->all_gather(data.data() + 1, data.data(), 50, DataType::kFloat32),
              Code::kInvalidArgument, {"overlap", "rank * count"});
  EXPECT_EQ(data, std::vector<float>(100, 1.0F));
}

TEST(BadOptions, RanksAndSizesOutsideAreNamed) {
  expect_says(creating(options_of(3, 3, "file:///tmp/x", "auto")), Code::kInvalidArgument,
              {"rank 3", "[0, 3)"});
  expect_says(creating(options_of(-1, 3, "file:///tmp/x", "auto")), Code::kInvalidArgument,
              {"rank -1"});
  expect_says(creating(options_of(0, 0, "", "auto")), Code::kInvalidArgument, {"size is 0"});
}

TEST(BadOptions, NoRendezvousIsToldWhatToGive) {
  expect_says(creating(options_of(0, 2, "", "auto")), Code::kInvalidArgument,
              {"rendezvous", "tcp://", "file://", "UniqueId"});
  expect_says(creating(options_of(0, 2, "http://nowhere", "auto")), Code::kInvalidArgument,
              {"http://nowhere", "tcp://"});
}

TEST(BadOptions, UnknownNamesAreAnsweredWithTheKnownOnes) {
  auto options = alone();
  options.transport = "pigeon";
  expect_says(creating(options), Code::kInvalidArgument, {"pigeon", "shm", "tcp"});
  options = alone();
  options.algorithm = "magic";
  expect_says(creating(options), Code::kInvalidArgument, {"magic", "ring", "double_tree"});
  options = alone();
  options.timeout = milliseconds(-1);
  expect_says(creating(options), Code::kInvalidArgument, {"timeout", "negative"});
}

TEST(BadOptions, AnAddressWhereNobodyListensTimesOutAndIsNamed) {
  const int64_t start_us = now_us();
  const Status status = creating(options_of(1, 2, "tcp://127.0.0.1:1", "auto", milliseconds(400)));
  EXPECT_LT(now_us() - start_us, 10'000'000);
  EXPECT_TRUE(status.code() == Code::kTimeout || status.code() == Code::kPeerLost ||
              status.code() == Code::kUnavailable)
      << status.message();
  expect_says(status, status.code(), {"127.0.0.1:1", "rank 0"});
}

TEST(BadOptions, APortInUseIsNamed) {
  auto taken = listen_on(*SocketAddress::parse("127.0.0.1:0"), "");
  ASSERT_TRUE(taken);
  const std::string port = std::to_string(local_address(*taken)->port());
  const Status status =
      creating(options_of(0, 2, "tcp://127.0.0.1:" + port, "auto", milliseconds(1'000)));
  ::close(*taken);
  expect_says(status, Code::kSystem, {port, "in use"});
}

TEST(BadOptions, AStaleRendezvousFileMisleadsNobody) {
  const TemporaryFolder folder;
  {  // as a crashed run leaves it: an id that nobody serves any more
    FILE* const file = std::fopen((folder.path() + "/id").c_str(), "we");
    ASSERT_NE(file, nullptr);
    const std::string junk(128, 'x');
    std::fwrite(junk.data(), 1, junk.size(), file);
    std::fclose(file);
  }
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      // Rank 1 is there first and sees the old file.
      if (rank == 0) std::this_thread::sleep_for(milliseconds(100));
      auto comm = Communicator::create(options_of(rank, 2, folder.place("id"), "auto"));
      EXPECT_TRUE(comm) << comm.status().message();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// --- limits of the process -----------------------------------------------------------------------

// Lowers a limit in two processes and lets them join and call. Each must end in good time, and one
// that is told of the system's refusal is told what to do about it. Returns whether one was.
bool with_limit(decltype(RLIMIT_NOFILE) what, rlim_t limit, const std::string& advice) {
  const TemporaryFolder folder;
  ProcessRanks ranks(2, [&](Rank rank, Report& report) {
    const rlimit low{limit, limit};
    ASSERT_EQ(::setrlimit(what, &low), 0);
    auto comm =
        Communicator::create(options_of(rank, 2, folder.place("id"), "shm", milliseconds(2'000)));
    Status status = comm.status();
    if (comm) {
      std::vector<float> values(50'000, 1.0F);
      status = (*comm)->all_reduce(std::span(values));
    }
    report.keep(status);
    report.stage = 1;
  });
  if (!ranks.wait_stage(1, milliseconds(20'000))) return false;
  bool advised = false;
  for (Rank rank = 0; rank < 2; ++rank) {
    const Report& report = ranks.report(rank);
    if (report.code != Code::kSystem) continue;
    EXPECT_TRUE(report.says(advice)) << report.sentence();
    advised = true;
  }
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000)));
  return advised;
}

TEST(BadLimits, SharedMemoryRefusedSaysWhichLimit) {
  EXPECT_TRUE(with_limit(RLIMIT_FSIZE, 64 * 1024, "ulimit -f"));
}

TEST(BadLimits, TooFewDescriptorsSaysWhichLimit) {
  const auto used = static_cast<rlim_t>(count_entries("/proc/self/fd"));
  EXPECT_TRUE(with_limit(RLIMIT_NOFILE, used, "ulimit -n"));
  // Further on it may show as a peer that does not answer.
  for (rlim_t spare = 1; spare <= 16; spare += soaking() ? 1 : 3) {
    SCOPED_TRACE(testing::Message() << spare << " descriptors to spare");
    with_limit(RLIMIT_NOFILE, used + spare, "ulimit -n");
  }
}

TEST(BadLimits, AllocatingNothingOrTooMuchIsRefused) {
  expect_says(allocate_memory(0).status(), Code::kInvalidArgument, {"0 bytes"});
  expect_says(allocate_memory(UINT64_MAX - 3).status(), Code::kInvalidArgument, {"overflow"});
  int local = 0;
  expect_says(free_memory(&local), Code::kInvalidArgument, {"allocate_memory"});
}

}  // namespace
}  // namespace gossamer
