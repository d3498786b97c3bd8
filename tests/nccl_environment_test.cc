// C-18: NCCL's environment variables and files. Each test runs in a process of its own, because the
// library reads them once.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/nccl_ranks.h"
#include "tests/temporary_folder.h"

namespace gossamer::nccl_test {
namespace {

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(socket, generic, length), 0);
  EXPECT_EQ(::getsockname(socket, generic, &length), 0);
  ::close(socket);
  return ntohs(address.sin_port);
}

using Variables = std::vector<std::pair<std::string, std::string>>;

// What a process with these variables prints while it makes and uses a group of `size` ranks.
class Program {
 public:
  Program(const Variables& variables, int size, const RankBody& body = nullptr,
          bool should_pass = true) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::alarm(60);
      ::dup2(pipe[1], STDOUT_FILENO);
      ::setenv("HOME", folder.path().c_str(), 1);
      for (const auto& [variable, value] : variables) {
        ::setenv(variable.c_str(), with_folder(value).c_str(), 1);
      }
      on_threads(size, [&](ncclComm_t comm, int rank) {
        if (body) return body(comm, rank);
        expect_sum(comm, size);
      });
      std::fflush(nullptr);
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    child = pid;
    ::close(pipe[1]);
    std::array<char, 4096> buffer{};
    for (ssize_t got = 1; got > 0;) {
      got = ::read(pipe[0], buffer.data(), buffer.size());
      if (got > 0) printed.append(buffer.data(), static_cast<size_t>(got));
    }
    ::close(pipe[0]);
    int status = 0;
    ::waitpid(pid, &status, 0);
    passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    EXPECT_EQ(passed, should_pass) << printed;
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool says(const std::string& part) const { return printed.find(part) != std::string::npos; }
  std::string file(const std::string& name) const {
    std::ifstream in(folder.path(name));
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::string with_folder(std::string value) const {
    const size_t at = value.find('@');
    return at == std::string::npos ? value : value.replace(at, 1, folder.path());
  }

  TemporaryFolder folder;
  std::string printed;
  pid_t child = -1;
  bool passed = false;
};

TEST(NcclC18Environment, NothingIsPrintedUnlessAskedFor) {
  const Program run({}, 2, [](ncclComm_t, int) { ncclGroupEnd(); });
  EXPECT_EQ(run.printed, "");
}

TEST(NcclC18Environment, VersionPrintsOneLine) {
  const Program run({{"NCCL_DEBUG", "VERSION"}}, 2);
  EXPECT_TRUE(run.printed.starts_with("NCCL version 2.28.9")) << run.printed;
  EXPECT_EQ(std::count(run.printed.begin(), run.printed.end(), '\n'), 1);
}

TEST(NcclC18Environment, WarnPrintsWarnings) {
  const Program run({{"NCCL_DEBUG", "warn"}}, 1, [](ncclComm_t, int) { ncclGroupEnd(); });
  EXPECT_TRUE(run.says("NCCL WARN ncclGroupEnd")) << run.printed;
  EXPECT_FALSE(run.says("NCCL INFO"));
}

TEST(NcclC18Environment, InfoLinesSayHostProcessRankSubsystemAndName) {
  const Program run({{"NCCL_DEBUG", "INFO"}}, 2, [](ncclComm_t comm, int rank) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.commName = "trainer";
    ncclUniqueId id;
    ncclComm_t own = nullptr;
    NCCL_OK(ncclGetUniqueId(&id));
    NCCL_OK(ncclCommInitRankConfig(&own, 1, id, 0, &config));
    float x = 0;
    NCCL_IS(ncclInvalidArgument, ncclBcast(&x, 1, ncclFloat, 3, own, nullptr));
    NCCL_OK(ncclCommDestroy(own));
    if (rank == 1) expect_sum(comm, 2);
    if (rank == 0) expect_sum(comm, 2);
  });
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string start = std::string(host.data()) + ":" + std::to_string(run.child) + ":";
  EXPECT_TRUE(run.says(start)) << run.printed;
  EXPECT_TRUE(run.says("[1] NCCL INFO INIT rank 1 of 2: joined")) << run.printed;
  EXPECT_TRUE(run.says("NCCL INFO INIT rank 0 of 1 [trainer]: joined")) << run.printed;
  EXPECT_TRUE(run.says("NCCL WARN rank 0 of 1 [trainer]: ncclBcast: root 3")) << run.printed;
}

TEST(NcclC18Environment, SubsystemsChooseLines) {
  const Variables net{{"NCCL_DEBUG", "INFO"}, {"NCCL_DEBUG_SUBSYS", "NET,COLL"}};
  EXPECT_FALSE(Program(net, 2).says("NCCL INFO INIT"));
  const Variables not_init{{"NCCL_DEBUG", "INFO"}, {"NCCL_DEBUG_SUBSYS", "^INIT"}};
  EXPECT_FALSE(Program(not_init, 2).says("NCCL INFO INIT"));
  const Variables all{{"NCCL_DEBUG", "INFO"}, {"NCCL_DEBUG_SUBSYS", "ALL"}};
  EXPECT_TRUE(Program(all, 2).says("NCCL INFO INIT"));
}

TEST(NcclC18Environment, AFileTakesTheLines) {
  const Program run({{"NCCL_DEBUG", "INFO"}, {"NCCL_DEBUG_FILE", "@/log.%p.%h.100%%"}}, 2);
  EXPECT_EQ(run.printed, "");
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string name =
      "log." + std::to_string(run.child) + "." + std::string(host.data()) + ".100%";
  EXPECT_NE(run.file(name).find("NCCL INFO"), std::string::npos) << name;
}

TEST(NcclC18Environment, UnusableValuesAreNamedOnce) {
  const Program run({{"NCCL_DEBUG", "LOUD"},
                     {"NCCL_ALGO", "Ring,Star"},
                     {"NCCL_PROTO", "^LL256"},
                     {"NCCL_NET", "Pigeon"},
                     {"NCCL_DEBUG_FILE", "/nowhere/file"}},
                    2);
  for (const char* part : {"NCCL_DEBUG=LOUD is no level", "NCCL_ALGO: Star is not known",
                           "NCCL_PROTO: LL256 is not known", "NCCL_NET: Pigeon is not known",
                           "NCCL_DEBUG_FILE=/nowhere/file"}) {
    const size_t first = run.printed.find(part);
    EXPECT_NE(first, std::string::npos) << part << "\n" << run.printed;
    EXPECT_EQ(run.printed.find(part, first + 1), std::string::npos) << part;
  }
}

TEST(NcclC18Environment, WhatHasNoEffectIsSaidAndUnknownNamesAreIgnored) {
  const Program run({{"NCCL_DEBUG", "INFO"},
                     {"NCCL_NVLS_ENABLE", "0"},
                     {"NCCL_MAX_NRINGS", "4"},
                     {"NCCL_NO_SUCH_THING", "1"}},
                    1);
  EXPECT_TRUE(run.says("NCCL INFO ENV NCCL_NVLS_ENABLE is set")) << run.printed;
  EXPECT_TRUE(run.says("NCCL INFO ENV NCCL_MAX_NRINGS is set"));
  EXPECT_FALSE(run.says("NCCL_NO_SUCH_THING"));
}

TEST(NcclC18Environment, InterfacesAreChosenByNcclsSyntax) {
  for (const char* good : {"lo", "=lo", "^docker", "nothing,lo"}) {
    EXPECT_TRUE(Program({{"NCCL_SOCKET_IFNAME", good}}, 2).passed) << good;
  }
  const Program wrong({{"NCCL_DEBUG", "WARN"}, {"NCCL_SOCKET_IFNAME", "=no-such"}}, 1, nullptr,
                      false);
  EXPECT_TRUE(wrong.says("leaves no interface")) << wrong.printed;
}

// Sockets of this process that listen, by /proc/net's table of the family.
int listening(const char* table) {
  std::ifstream file(std::string("/proc/self/net/") + table);
  std::set<std::string> inodes;
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::vector<std::string> fields(std::istream_iterator<std::string>(words), {});
    if (fields.size() > 9 && fields[3] == "0A") inodes.insert("socket:[" + fields[9] + "]");
  }
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    found += inodes.contains(std::filesystem::read_symlink(entry.path(), error).string()) ? 1 : 0;
  }
  return found;
}

TEST(NcclC18Environment, TheFamilyChoosesTheAddresses) {
  std::ifstream ipv6("/proc/net/if_inet6");
  if (std::string first; !(ipv6 >> first)) GTEST_SKIP() << "this host has no IPv6";
  for (const bool six : {false, true}) {
    const Program run({{"NCCL_SOCKET_FAMILY", six ? "AF_INET6" : "AF_INET"},
                       {"NCCL_SOCKET_IFNAME", "lo"},
                       {"NCCL_NET", "TCP"}},
                      2, [&](ncclComm_t comm, int) {
                        expect_sum(comm, 2);
                        EXPECT_GT(listening(six ? "tcp6" : "tcp"), 0);
                        EXPECT_EQ(listening(six ? "tcp" : "tcp6"), 0);
                      });
    EXPECT_TRUE(run.passed) << run.printed;
  }
  const Program odd({{"NCCL_DEBUG", "WARN"}, {"NCCL_SOCKET_FAMILY", "AF_UNIX"}}, 1);
  EXPECT_TRUE(odd.says("NCCL_SOCKET_FAMILY: AF_UNIX is not known")) << odd.printed;
}

TEST(NcclC18Environment, TheVersionCanBeSaidToBeAnother) {
  for (const auto& [told, expected] : {std::pair("22703", 22703), {"", 22809}, {"2.28.9", -1}}) {
    const Program run({{"GOSSAMER_NCCL_VERSION", told}}, 1, [&](ncclComm_t, int) {
      int value = -1;
      NCCL_IS(expected < 0 ? ncclInvalidArgument : ncclSuccess, ncclGetVersion(&value));
      EXPECT_EQ(value, expected);
    });
    EXPECT_TRUE(run.passed) << run.printed;
  }
}

TEST(NcclC18Environment, AlgorithmsTransportsAndHostsAreHandedOn) {
  EXPECT_TRUE(
      Program({{"NCCL_DEBUG", "INFO"}, {"NCCL_SHM_DISABLE", "1"}}, 2).says("transport tcp"));
  EXPECT_TRUE(Program({{"NCCL_DEBUG", "INFO"}, {"NCCL_NET", "TCP"}}, 2).says("transport tcp"));
  EXPECT_TRUE(Program({{"NCCL_DEBUG", "INFO"}, {"NCCL_NET", "Socket"}}, 2).says("transport shm"));
  EXPECT_TRUE(Program({{"NCCL_ALGO", "ring"}}, 2).passed);
  EXPECT_TRUE(Program({{"NCCL_ALGO", "allreduce:tree,ring;allgather:^ring"}}, 2).passed);
  // our own name wins
  EXPECT_TRUE(
      Program({{"NCCL_DEBUG", "INFO"}, {"NCCL_NET", "TCP"}, {"GOSSAMER_TRANSPORT", "shm"}}, 2)
          .says("transport shm"));
}

// RDMA's settings are looked at before devices are, so that values out of range show, without one,
// that they have arrived.
TEST(NcclC18Environment, SettingsOfRdmaAreHandedOn) {
  for (const auto& [name, value] : {std::pair("IB_TIMEOUT", "99"),
                                    {"IB_RETRY_CNT", "8"},
                                    {"IB_SL", "16"},
                                    {"IB_TC", "256"},
                                    {"IB_PCI_RELAXED_ORDERING", "3"}}) {
    const std::string theirs = std::string("NCCL_") + name;
    const Program run(
        {{"NCCL_DEBUG", "INFO"}, {"NCCL_NET", "verbs"}, {theirs, value}}, 2, [](ncclComm_t, int) {},
        false);
    EXPECT_FALSE(run.says(theirs + " is set and has no effect")) << run.printed;
    if (run.says("libibverbs")) GTEST_SKIP() << "rdma-core is not installed";
    EXPECT_TRUE(run.says(std::string("GOSSAMER_") + name + "=\"" + value + "\"")) << run.printed;
  }
}

// Ranks that say they are on different hosts, and no RDMA between them.
TEST(NcclC18Environment, HostsAreToldApart) {
  for (const auto& [variable, value] :
       {std::pair("NCCL_IB_DISABLE", "1"), {"NCCL_NET", "Socket"}}) {
    const TemporaryFolder folder;
    Processes ranks(3, [&](Board& board, int rank) {
      ::setenv(variable, value, 1);
      ::setenv("NCCL_HOSTID", rank < 2 ? "first" : "second", 1);
      ::setenv("NCCL_DEBUG", "INFO", 1);
      ::setenv("NCCL_DEBUG_FILE", folder.path(std::to_string(rank)).c_str(), 1);
      ncclComm_t comm = joined(board, rank, 3);
      NCCL_OK(ncclCommDestroy(comm));
    });
    ranks.join_all();
    std::ifstream log(folder.path("1"));
    std::stringstream text;
    text << log.rdbuf();
    EXPECT_NE(text.str().find("3 ranks, 2 of them here"), std::string::npos) << text.str();
    EXPECT_NE(text.str().find("transport shm+tcp"), std::string::npos) << text.str();
  }
}

TEST(NcclC18Environment, RanksMeetAtAGivenPlace) {
  const std::string place = "127.0.0.1:" + std::to_string(free_port());
  Processes ranks(3, [&](Board& board, int rank) {
    ::setenv("NCCL_COMM_ID", place.c_str(), 1);
    ncclUniqueId id{};
    if (rank != 1) NCCL_OK(ncclGetUniqueId(&id));  // whatever it is
    board.stage.fetch_add(1);
    ncclComm_t comm = nullptr;
    NCCL_OK(ncclCommInitRank(&comm, 3, id, rank));
    expect_sum(comm, 3);
    NCCL_OK(ncclCommDestroy(comm));
  });
  ranks.join_all();
}

TEST(NcclC18Environment, FilesSayWhatTheEnvironmentDoesNot) {
  char name[] = "/tmp/nccl-conf-XXXXXX";
  const int fd = ::mkstemp(name);
  const std::string text = "# ours\n  NCCL_DEBUG = INFO # loud\n\nNCCL_NET=tcp\nnonsense\n=x\n";
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(fd);
  EXPECT_TRUE(Program({{"NCCL_CONF_FILE", name}}, 2).says("transport tcp"));
  EXPECT_EQ(Program({{"NCCL_CONF_FILE", name}, {"NCCL_DEBUG", "NONE"}}, 2).printed, "");
  ::unlink(name);
}

TEST(NcclC18Environment, DebugSettingsCanBeReadAgain) {
  const Program run({}, 1, [](ncclComm_t, int) {
    ncclGroupEnd();
    ::setenv("NCCL_DEBUG", "WARN", 1);
    ncclResetDebugInit();
    ncclGroupEnd();
  });
  const size_t first = run.printed.find("NCCL WARN ncclGroupEnd");
  EXPECT_NE(first, std::string::npos) << run.printed;
  EXPECT_EQ(run.printed.find("NCCL WARN ncclGroupEnd", first + 1), std::string::npos);
}

}  // namespace
}  // namespace gossamer::nccl_test
