// The library by itself: aliases, codes, error texts, configurations, environment.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "nccl/nccl_device.h"
#include "tests/nccl_ranks.h"

namespace gossamer::nccl_test {
namespace {

// A tool that wraps a call: this program's ncclCommCount is found before the library's, and may
// call the library's by its other name.
int counted = 0;

}  // namespace
}  // namespace gossamer::nccl_test

extern "C" [[gnu::visibility("default")]] ncclResult_t ncclCommCount(const ncclComm_t comm,
                                                                     int* count) {
  ++gossamer::nccl_test::counted;
  return pncclCommCount(comm, count);
}

namespace gossamer::nccl_test {
namespace {

TEST(NcclC03Aliases, EveryFunctionIsItsTwin) {
  void* library = ::dlopen(GOSSAMER_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << ::dlerror();
  for (const char* name : {"ncclAllReduce", "ncclGroupEnd", "ncclGetVersion", "ncclMemAlloc",
                           "ncclTeamWorld", "ncclResetDebugInit", "ncclCommShrink"}) {
    void* plain = ::dlsym(library, name);
    EXPECT_NE(plain, nullptr) << name;
    EXPECT_EQ(plain, ::dlsym(library, (std::string("p") + name).c_str())) << name;
  }
  ::dlclose(library);
}

TEST(NcclC03Aliases, AToolWrapsACall) {
  on_threads(1, [](ncclComm_t comm, int) {
    int count = 0;
    NCCL_OK(ncclCommCount(comm, &count));
    EXPECT_EQ(count, 1);
    EXPECT_EQ(counted, 1);
  });
}

// The codes that NCCL 2.28.9's own library gave for the same calls, run without a driver.
TEST(NcclC06Codes, WithoutACommunicator) {
  int value = 0;
  NCCL_IS(ncclInvalidArgument, ncclGetVersion(nullptr));
  NCCL_OK(ncclGetVersion(&value));
  EXPECT_EQ(value, 22809);
  NCCL_IS(ncclSuccess, ncclCommDestroy(nullptr));
  NCCL_IS(ncclSuccess, ncclCommAbort(nullptr));
  NCCL_IS(ncclSuccess, ncclCommFinalize(nullptr));
  NCCL_IS(ncclSuccess, ncclCommRevoke(nullptr, 0));
  NCCL_IS(ncclInvalidArgument, pncclCommCount(nullptr, &value));
  NCCL_IS(ncclInvalidArgument, ncclCommUserRank(nullptr, &value));
  NCCL_IS(ncclInvalidArgument, ncclCommCuDevice(nullptr, &value));
  ncclResult_t error = ncclSuccess;
  NCCL_IS(ncclInvalidArgument, ncclCommGetAsyncError(nullptr, &error));
  NCCL_IS(ncclInvalidArgument, ncclGetUniqueId(nullptr));
  void* handle = nullptr;
  NCCL_IS(ncclInvalidArgument, ncclCommRegister(nullptr, &value, 4, &handle));
  NCCL_IS(ncclInvalidArgument, ncclCommDeregister(nullptr, nullptr));
  NCCL_IS(ncclSuccess, ncclCommWindowDeregister(nullptr, nullptr));
  ncclRedOp_t op;
  float x = 2;
  NCCL_IS(ncclInvalidArgument,
          ncclRedOpCreatePreMulSum(&op, &x, ncclFloat, ncclScalarHostImmediate, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclRedOpDestroy(ncclSum, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, nullptr, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 0, ncclFloat, ncclSum, nullptr, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclSend(&x, 1, ncclFloat, 0, nullptr, nullptr));
}

TEST(NcclC06Codes, OfGroups) {
  NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclGroupEnd());
  NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
  float x = 0;
  NCCL_OK(ncclGroupStart());
  NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, nullptr, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclGroupEnd());
  NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclGroupSimulateEnd(&info));
  EXPECT_EQ(info.estimatedTime, NCCL_UNDEF_FLOAT);
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclGroupSimulateEnd(nullptr));
  info.magic = 1;
  NCCL_OK(ncclGroupStart());
  NCCL_IS(ncclInvalidArgument, ncclGroupSimulateEnd(&info));
  NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
}

TEST(NcclC06Codes, EveryCodeHasItsWords) {
  for (int code = -2; code < 12; ++code) {
    const char* words = ncclGetErrorString(static_cast<ncclResult_t>(code));
    ASSERT_NE(words, nullptr);
    EXPECT_NE(std::string(words), "");
    const bool known = code >= 0 && code < ncclNumResults;
    EXPECT_EQ(std::string(words) == "unknown result code", !known) << code;
  }
}

TEST(NcclC06Codes, TheLastErrorIsTheProcesss) {
  NCCL_IS(ncclInvalidUsage, ncclGroupEnd());
  std::string elsewhere;
  std::thread([&] { elsewhere = ncclGetLastError(nullptr); }).join();
  EXPECT_EQ(elsewhere, ncclGetLastError(nullptr));
  EXPECT_NE(elsewhere.find("ncclGroupStart"), std::string::npos);
}

TEST(NcclC06Codes, AFreedHandleIsRefusedNotFollowed) {
  ncclUniqueId id;
  ncclComm_t comm = nullptr;
  NCCL_OK(ncclGetUniqueId(&id));
  NCCL_OK(ncclCommInitRank(&comm, 1, id, 0));
  NCCL_OK(ncclCommDestroy(comm));
  float x = 0;
  int value = 0;
  NCCL_IS(ncclInvalidArgument, ncclCommDestroy(comm));
  NCCL_IS(ncclInvalidArgument, ncclCommAbort(comm));
  NCCL_IS(ncclInvalidArgument, ncclCommFinalize(comm));
  NCCL_IS(ncclInvalidArgument, ncclCommUserRank(comm, &value));
  NCCL_IS(ncclInvalidArgument, ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr));
}

TEST(NcclC06Codes, InitChecksItsArguments) {
  ncclUniqueId id;
  NCCL_OK(ncclGetUniqueId(&id));
  ncclComm_t comm = reinterpret_cast<ncclComm_t>(&id);
  NCCL_IS(ncclInvalidArgument, ncclCommInitRank(&comm, 0, id, 0));
  EXPECT_EQ(comm, nullptr);
  NCCL_IS(ncclInvalidArgument, ncclCommInitRank(&comm, 2, id, 2));
  NCCL_IS(ncclInvalidArgument, ncclCommInitRank(&comm, 2, id, -1));
  NCCL_IS(ncclInvalidArgument, ncclCommInitRank(nullptr, 1, id, 0));
  NCCL_IS(ncclInvalidArgument, ncclCommInitAll(&comm, 0, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclCommInitAll(nullptr, 1, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclCommInitRankScalable(&comm, 2, 0, 0, &id, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclCommInitRankScalable(&comm, 2, 0, 3, &id, nullptr));
  NCCL_IS(ncclInvalidArgument, ncclCommInitRankScalable(&comm, 2, 0, 1, nullptr, nullptr));
  const ncclUniqueId zero{};
  NCCL_IS(ncclInvalidArgument, ncclCommInitRank(&comm, 2, zero, 0));
}

TEST(NcclC06Codes, SeveralIdsServeOneGroup) {
  std::array<ncclUniqueId, 2> ids{};
  for (ncclUniqueId& id : ids) NCCL_OK(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      ncclComm_t comm = nullptr;
      NCCL_OK(ncclCommInitRankScalable(&comm, 3, rank, 2, ids.data(), nullptr));
      expect_sum(comm, 3);
      NCCL_OK(ncclCommDestroy(comm));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Joins a group of three by `ids` and sums, as rank `rank` on a thread of its own.
std::thread rank_by_ids(int rank, const std::array<ncclUniqueId, 3>& ids) {
  return std::thread([&ids, rank] {
    std::array<ncclUniqueId, 3> own = ids;
    ncclComm_t comm = nullptr;
    NCCL_OK(ncclCommInitRankScalable(&comm, 3, rank, 3, own.data(), nullptr));
    expect_sum(comm, 3);
    NCCL_OK(ncclCommDestroy(comm));
  });
}

// A process that makes an id, says so, and stays until it is told to end.
void make_id_and_stay(Board& board, int) {
  NCCL_OK(ncclGetUniqueId(&board.id));
  board.id_ready = true;
  board.await(1);
}

TEST(NcclC06Codes, TheNextIdServesWhenTheFirstIsGone) {
  std::array<ncclUniqueId, 3> ids{};
  Processes dead(1, make_id_and_stay), halted(1, make_id_and_stay);
  while (!dead.board().id_ready || !halted.board().id_ready) nap(1);
  ids[0] = dead.board().id;
  ids[1] = halted.board().id;
  NCCL_OK(ncclGetUniqueId(&ids[2]));
  dead.signal(0, SIGKILL);
  EXPECT_FALSE(dead.join(0));
  halted.signal(0, SIGSTOP);  // its host takes connections, and nobody answers them
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) threads.push_back(rank_by_ids(rank, ids));
  for (std::thread& thread : threads) thread.join();
}

TEST(NcclC06Codes, TheNextIdServesWhenTheFirstGoesWhileRanksWaitThere) {
  std::array<ncclUniqueId, 3> ids{};
  Processes first(1, make_id_and_stay);
  while (!first.board().id_ready) nap(1);
  ids[0] = first.board().id;
  NCCL_OK(ncclGetUniqueId(&ids[1]));
  NCCL_OK(ncclGetUniqueId(&ids[2]));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) threads.push_back(rank_by_ids(rank, ids));
  nap(300);  // both have reported there
  first.signal(0, SIGKILL);
  EXPECT_FALSE(first.join(0));
  threads.push_back(rank_by_ids(2, ids));
  for (std::thread& thread : threads) thread.join();
}

// A user who may start no more threads gets an error, and no communicator.
TEST(NcclC06Codes, NoThreadsAreASystemError) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become a user with few threads";
  Processes child(1, [](Board&, int) {
    constexpr uid_t kNobody = 65534;
    const rlimit limit{24, 24};
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &limit), 0);
    ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
    std::vector<ncclComm_t> comms(64);
    NCCL_IS(ncclSystemError, ncclCommInitAll(comms.data(), 64, nullptr));
    for (ncclComm_t comm : comms) EXPECT_EQ(comm, nullptr);
    comms.resize(1);
    NCCL_OK(ncclCommInitAll(comms.data(), 1, nullptr));
    NCCL_OK(ncclCommDestroy(comms[0]));
  });
  EXPECT_TRUE(child.join(0));
}

TEST(NcclC06Codes, OneProcessMakesAllRanks) {
  std::array<ncclComm_t, 3> comms{};
  const std::array<int, 3> devices{0, 0, 0};  // one device several times is allowed here
  NCCL_OK(ncclCommInitAll(comms.data(), 3, devices.data()));
  for (int rank = 0; rank < 3; ++rank) {
    int value = -7;
    NCCL_OK(ncclCommUserRank(comms.at(static_cast<size_t>(rank)), &value));
    EXPECT_EQ(value, rank);
    NCCL_OK(ncclCommCuDevice(comms.at(static_cast<size_t>(rank)), &value));
    EXPECT_EQ(value, -1);
  }
  for (ncclComm_t comm : comms) NCCL_OK(ncclCommDestroy(comm));
}

TEST(NcclC06Codes, DeviceCallsSayWhyTheyAreNotServed) {
  on_threads(1, [](ncclComm_t comm, int) {
    NCCL_IS(ncclInvalidUsage, ncclDevCommCreate(comm, nullptr, nullptr));
    EXPECT_NE(std::strstr(ncclGetLastError(comm), "GPU memory"), nullptr);
    NCCL_IS(ncclInvalidUsage, ncclDevCommDestroy(comm, nullptr));
    NCCL_IS(ncclInvalidUsage, ncclLLA2ACreateRequirement(1, 1, nullptr, nullptr));
    const ncclTeam_t world = ncclTeamWorld(comm);
    EXPECT_EQ(world.nRanks, 1);
    EXPECT_EQ(world.rank, 0);
    EXPECT_EQ(world.stride, 1);
    EXPECT_EQ(ncclTeamLsa(comm).nRanks, 1);
    EXPECT_EQ(ncclTeamRankToWorld(comm, ncclTeamRail(comm), 0), 0);
    EXPECT_EQ(ncclTeamRankToLsa(comm, ncclTeamLsa(comm), 0), 0);
    EXPECT_EQ(ncclLLA2ACalcSlots(3, 9), 6);
  });
}

TEST(NcclC06Codes, MemoryAndWindows) {
  void* memory = nullptr;
  NCCL_OK(ncclMemAlloc(&memory, 10'000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 4096, 0U);
  std::memset(memory, 1, 10'000);
  on_threads(1, [&](ncclComm_t comm, int) {
    void* handle = nullptr;
    NCCL_OK(ncclCommRegister(comm, memory, 10'000, &handle));
    NCCL_OK(ncclCommDeregister(comm, handle));
    NCCL_OK(ncclCommDeregister(comm, nullptr));
    NCCL_OK(ncclCommRegister(comm, nullptr, 0, &handle));
    EXPECT_EQ(handle, nullptr);
    ncclWindow_t window = nullptr;
    NCCL_OK(ncclCommWindowRegister(comm, memory, 8192, &window, NCCL_WIN_COLL_SYMMETRIC));
    EXPECT_NE(window, nullptr);
    NCCL_OK(ncclCommWindowDeregister(comm, window));
    NCCL_IS(ncclInvalidArgument, ncclCommWindowDeregister(comm, window));
    window = nullptr;
    NCCL_OK(ncclCommWindowRegister(comm, nullptr, 8192, &window, 0));
    EXPECT_EQ(window, nullptr);
    NCCL_IS(ncclInvalidArgument, ncclCommWindowRegister(comm, memory, 8192, &window, 6));
  });
  NCCL_OK(ncclMemFree(memory));
  NCCL_OK(ncclMemFree(nullptr));
  int local = 0;
  NCCL_IS(ncclInvalidArgument, ncclMemFree(&local));
  NCCL_IS(ncclInvalidArgument, ncclMemAlloc(nullptr, 1));
}

// --- configurations ------------------------------------------------------------------------------

ncclResult_t init_with(ncclConfig_t* config) {
  ncclUniqueId id;
  if (const ncclResult_t made = ncclGetUniqueId(&id); made != ncclSuccess) return made;
  ncclComm_t comm = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&comm, 1, id, 0, config);
  if (result == ncclInProgress) {
    EXPECT_EQ(settle(comm), ncclSuccess);
  }
  EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  return result;
}

TEST(NcclC10Config, NoneAndTheInitialisersOwn) {
  NCCL_IS(ncclSuccess, init_with(nullptr));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  EXPECT_EQ(config.version, 22707U);
  NCCL_IS(ncclSuccess, init_with(&config));
}

TEST(NcclC10Config, OfOlderAndNewerHeaders) {
  ncclConfig_t old = NCCL_CONFIG_INITIALIZER;
  old.size = 24;  // as of 2.14: up to and with `blocking`
  old.version = 21400;
  old.minCTAs = -5;  // not theirs
  NCCL_IS(ncclSuccess, init_with(&old));
  ncclConfig_t full = NCCL_CONFIG_INITIALIZER;
  full.version = 21300;
  full.blocking = 77;  // means nothing before 2.14
  NCCL_IS(ncclSuccess, init_with(&full));
  struct {
    ncclConfig_t known = NCCL_CONFIG_INITIALIZER;
    std::array<int, 4> unknown{1, 2, 3, 4};
  } newer;
  newer.known.size = sizeof(newer);
  newer.known.version = 23000;
  NCCL_IS(ncclSuccess, init_with(&newer.known));
  newer.known.nvlinkCentricSched = 2;
  NCCL_IS(ncclInvalidArgument, init_with(&newer.known));
  newer.known.version = 22707;  // which had no such member
  NCCL_IS(ncclSuccess, init_with(&newer.known));
}

TEST(NcclC10Config, WithoutTheInitialiser) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.magic = 1;
  NCCL_IS(ncclInvalidArgument, init_with(&config));
  config.magic = 0xcafebeef;
  config.size = 4;
  NCCL_IS(ncclInvalidArgument, init_with(&config));
}

TEST(NcclC10Config, EachMemberOutOfRange) {
  const std::vector<std::pair<int ncclConfig_t::*, int>> bad{
      {&ncclConfig_t::blocking, 2},          {&ncclConfig_t::blocking, -1},
      {&ncclConfig_t::cgaClusterSize, 9},    {&ncclConfig_t::cgaClusterSize, -1},
      {&ncclConfig_t::minCTAs, 0},           {&ncclConfig_t::maxCTAs, 0},
      {&ncclConfig_t::splitShare, 2},        {&ncclConfig_t::collnetEnable, 2},
      {&ncclConfig_t::CTAPolicy, 3},         {&ncclConfig_t::CTAPolicy, -1},
      {&ncclConfig_t::shrinkShare, 2},       {&ncclConfig_t::nvlsCTAs, 0},
      {&ncclConfig_t::trafficClass, -2},     {&ncclConfig_t::nChannelsPerNetPeer, 0},
      {&ncclConfig_t::nvlinkCentricSched, 2}};
  for (const auto& [member, value] : bad) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.version = 22809;
    config.*member = value;
    NCCL_IS(ncclInvalidArgument, init_with(&config));
    EXPECT_NE(std::strstr(ncclGetLastError(nullptr), "config."), nullptr);
  }
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.minCTAs = 4;
  config.maxCTAs = 3;
  NCCL_IS(ncclInvalidArgument, init_with(&config));
  config.maxCTAs = 4;
  NCCL_IS(ncclSuccess, init_with(&config));
}

TEST(NcclC10Config, TheEnvironmentWins) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  NCCL_IS(ncclInProgress, init_with(&config));
  const Setting blocking("NCCL_COMM_BLOCKING", "1");
  NCCL_IS(ncclSuccess, init_with(&config));
}

}  // namespace
}  // namespace gossamer::nccl_test
