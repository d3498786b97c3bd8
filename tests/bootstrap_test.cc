// Ranks meet by unique id, tcp and file, and gather what each has to say.

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>

#include "src/meeting.h"
#include "src/meeting_file.h"
#include "src/unique_id.h"
#include "tests/bootstrap_ranks.h"

namespace gossamer {
namespace {

size_t entries_of(const char* directory) {
  size_t count = 0;
  DIR* open = ::opendir(directory);
  while (open != nullptr && ::readdir(open) != nullptr) {
    ++count;
  }
  ::closedir(open);
  return count;
}

UniqueId make_id() {
  auto id = UniqueId::create();
  EXPECT_TRUE(id) << id.status().message();
  return id ? *id : UniqueId{};
}

TEST(Bootstrap, MeetsByUniqueId) {
  for (const Rank size : {1, 2, 3, 5, 8, 64}) {
    const UniqueId id = make_id();
    expect_complete(run_ranks(group_of(size, id)));
  }
}

TEST(Bootstrap, MeetsByTcp) {
  for (const Rank size : {1, 2, 3, 5, 8, 64}) {
    expect_complete(run_ranks(group_of(size, tcp_place(free_port()))));
  }
}

TEST(Bootstrap, MeetsByTcpOverIpv6AndByName) {
  const std::string port = std::to_string(free_port());
  expect_complete(run_ranks(group_of(3, "tcp://[::1]:" + port)));
  expect_complete(run_ranks(group_of(3, "tcp://localhost:" + port)));
  auto configs = group_of(3, "tcp://127.0.0.1:" + port);
  configs[0].rendezvous = "tcp://0.0.0.0:" + port;
  expect_complete(run_ranks(configs));
}

TEST(Bootstrap, MeetsByFileAndRemovesIt) {
  for (const Rank size : {1, 2, 3, 5, 8, 64}) {
    const ScratchFile file;
    expect_complete(run_ranks(group_of(size, file.place())));
    EXPECT_FALSE(file.exists());
  }
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

TEST(Bootstrap, JoinsManyRanksQuickly) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &raised);
  if (limit.rlim_max < 8'000) {
    GTEST_SKIP() << "256 ranks in one process need 6000 file descriptors";
  }
  const UniqueId id = make_id();
  // Not the time that passes: others may run meanwhile. Nor does joining wait much: a deadline of
  // the time that is allowed for all of it would see to that.
  const double before = cpu_seconds();
  expect_complete(run_ranks(group_of(256, id, milliseconds(100'000))));
  EXPECT_LT(cpu_seconds() - before, 10);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

TEST(Bootstrap, KeepsToThePortRange) {
  const uint16_t first = free_ports(41);
  const std::string range = std::to_string(first) + "-" + std::to_string(first + 40);
  auto configs = group_of(4, tcp_place(free_port()));
  for (BootstrapConfig& config : configs) {
    config.port_range = range;
    config.interfaces = "lo";
  }
  expect_complete(run_ranks(configs));
}

TEST(Bootstrap, GathersBlobsOfAnyLengthAgainAndAgain) {
  constexpr Rank kSize = 5;
  const UniqueId id = make_id();
  std::vector<std::thread> threads;
  for (Rank rank = 0; rank < kSize; ++rank) {
    threads.emplace_back([&, rank] {
      auto bootstrap = Bootstrap::join(config_of(rank, kSize, id));
      ASSERT_TRUE(bootstrap) << bootstrap.status().message();
      for (size_t turn = 0; turn < 20; ++turn) {
        const auto length = [turn](Rank r) {
          return (static_cast<size_t>(r) * 7919 + turn * 4093) % (kBlobBytesMax + 1);
        };
        const std::string blob(turn == 0 ? kBlobBytesMax : length(rank),
                               static_cast<char>('a' + rank));
        auto blobs = (*bootstrap)->all_gather(blob);
        ASSERT_TRUE(blobs) << blobs.status().message();
        for (Rank r = 0; r < kSize; ++r) {
          const size_t expected = turn == 0 ? kBlobBytesMax : length(r);
          EXPECT_EQ((*blobs)[static_cast<size_t>(r)],
                    std::string(expected, static_cast<char>('a' + r)));
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(Bootstrap, RefusesABlobThatIsTooLong) {
  auto bootstrap = Bootstrap::join(config_of(0, 1, ""));
  ASSERT_TRUE(bootstrap);
  auto blobs = (*bootstrap)->all_gather(std::string(kBlobBytesMax + 1, 'x'));
  ASSERT_FALSE(blobs);
  EXPECT_EQ(blobs.status().code(), Code::kInvalidArgument);
}

TEST(Bootstrap, MeetsAgainAndAgainAtOnePlace) {
  const ScratchFile file;
  for (const std::string& place : {tcp_place(free_port()), file.place()}) {
    std::set<uint64_t> sessions;
    std::vector<std::thread> threads;
    std::atomic<int> failures{0};
    std::vector<uint64_t> of_rank_0;
    for (Rank rank = 0; rank < 3; ++rank) {
      threads.emplace_back([&, rank] {
        for (int turn = 0; turn < 15; ++turn) {
          const Seen seen = join_and_gather(config_of(rank, 3, place), "blob");
          EXPECT_TRUE(seen.status) << place << " turn " << turn << ": " << seen.status.message();
          failures += seen.status ? 0 : 1;
          if (rank == 0) {
            of_rank_0.push_back(seen.meeting.session);
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(failures.load(), 0);
    EXPECT_EQ(std::set<uint64_t>(of_rank_0.begin(), of_rank_0.end()).size(), 15U);
  }
}

TEST(Bootstrap, LeavesNothingOpen) {
  expect_complete(run_ranks(group_of(2, make_id())));
  const size_t fds = entries_of("/proc/self/fd");
  for (int cycle = 0; cycle < 100; ++cycle) {
    expect_complete(run_ranks(group_of(2, make_id())));
  }
#ifdef __SANITIZE_THREAD__
  constexpr size_t kAlone = 4;  // this thread, the sanitizer's own, and . and ..
#else
  constexpr size_t kAlone = 3;  // this thread, and . and ..
#endif
  // The last meeting point's thread may still be on its way out.
  const Deadline deadline(milliseconds(10'000));
  while (entries_of("/proc/self/task") > kAlone && !deadline.expired()) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_LE(entries_of("/proc/self/fd"), fds);
  EXPECT_LE(entries_of("/proc/self/task"), kAlone);
}

TEST(UniqueIdTest, ClosesTheMeetingPointOfAGroupThatWillNotMeet) {
  make_id().close();
  const size_t before = entries_of("/proc/self/fd");
  std::vector<UniqueId> ids;
  for (int i = 0; i < 20; ++i) {
    ids.push_back(make_id());
  }
  for (const UniqueId& id : ids) {
    id.close();
    id.close();
  }
  const Deadline deadline(milliseconds(20'000));  // their threads are ending
  while (entries_of("/proc/self/fd") > before && !deadline.expired()) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_LE(entries_of("/proc/self/fd"), before);
  UniqueId{}.close();  // of nobody
}

// Threads do not survive fork(): the child must neither wait for them nor lose its own ids.
TEST(UniqueIdTest, SurvivesFork) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers allow no threads in a forked child, and call what the parent's own "
                  "leaked there";
#endif
  ASSERT_TRUE(UniqueId::create());  // its thread is not in the child
  const pid_t child = ::fork();
  if (child == 0) {
    const bool good = static_cast<bool>(UniqueId::create());
    std::exit(good ? 0 : 1);  // runs static destructors, as a program does
  }
  int status = -1;
  const Deadline deadline(milliseconds(10'000));
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (deadline.expired()) {
      ::kill(child, SIGKILL);
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(UniqueIdTest, SaysWhatIsWrongWithAForeignOne) {
  const UniqueId good = make_id();
  EXPECT_TRUE(parse_unique_id(good));
  const auto message_of = [](const UniqueId& id) {
    auto fields = parse_unique_id(id);
    EXPECT_FALSE(fields);
    EXPECT_EQ(fields.status().code(), Code::kInvalidArgument);
    return fields.status().message();
  };
  EXPECT_NE(message_of(UniqueId{}).find("it is empty"), std::string::npos);
  UniqueId foreign;
  foreign.bytes.fill(std::byte{'x'});
  EXPECT_NE(message_of(foreign).find("was not made by Gossamer"), std::string::npos);
  UniqueId newer = good;
  newer.bytes[8] = std::byte{99};
  EXPECT_NE(message_of(newer).find("another version"), std::string::npos);
  for (size_t at = 10; at < good.bytes.size(); ++at) {
    UniqueId altered = good;
    altered.bytes[at] ^= std::byte{0x40};
    EXPECT_NE(message_of(altered).find("cut or altered"), std::string::npos) << at;
  }
  auto joined = Bootstrap::join(config_of(0, 2, foreign));
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.status().code(), Code::kInvalidArgument);
}

TEST(Rendezvous, IsTakenApart) {
  auto named = parse_rendezvous("tcp://node-1.rack:4711");
  ASSERT_TRUE(named);
  EXPECT_EQ(named->host, "node-1.rack");
  EXPECT_EQ(named->port, 4711);
  auto v6 = parse_rendezvous("tcp://[fd00::1]:80");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "fd00::1");
  auto file = parse_rendezvous("file:///tmp/a b");
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->is_file);
  EXPECT_EQ(file->path, "/tmp/a b");
  for (const char* bad :
       {"", "host:80", "tcp://", "tcp://host", "tcp://host:", "tcp://:80", "tcp://host:0",
        "tcp://host:99999", "tcp://fd00::1:80", "tcp://[fd00::1:80", "tcp://[]:80", "http://a:1",
        "file://relative", "file:///", "file:///dir/", "tcp://a/b:1"}) {
    auto parsed = parse_rendezvous(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.status().code(), Code::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find("tcp://host:port"), std::string::npos);
  }
}

TEST(IdFile, IsPrivateAndWhole) {
  const ScratchFile file;
  const UniqueId id = make_id();
  ASSERT_TRUE(write_id_file(file.path(), id));
  struct stat seen {};
  ASSERT_EQ(::stat(file.path().c_str(), &seen), 0);
  EXPECT_EQ(seen.st_mode & 0777, 0600U);
  auto read = read_id_file(file.path());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->bytes, id.bytes);
  remove_id_file(file.path(), make_id());  // somebody else's: stays
  EXPECT_TRUE(file.exists());
  remove_id_file(file.path(), id);
  EXPECT_FALSE(file.exists());
}

}  // namespace
}  // namespace gossamer
