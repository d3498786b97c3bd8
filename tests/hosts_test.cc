// Ranks on several hosts: here processes that claim to be on different ones (GOSSAMER_HOSTID), so
// that shared memory is used inside a host and tcp between hosts.
//
// ctest: TIMEOUT 600

#include "algorithms/hosts.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip.h"
#include "gossamer/schedule.h"
#include "tests/exact_calls.h"
#include "tests/forked.h"
#include "tests/temporary_folder.h"

namespace gossamer {
namespace {

void join_as(Rank rank, const std::string& hosts, const std::string& algorithm,
             const std::string& place, const std::function<void(Communicator&)>& body) {
  setenv("GOSSAMER_HOSTID", std::string(1, hosts[static_cast<size_t>(rank)]).c_str(), 1);
  Communicator::Options options;
  options.rank = rank;
  options.size = static_cast<Rank>(hosts.size());
  options.rendezvous = place;
  options.algorithm = algorithm;
  options.timeout = std::chrono::seconds(30);
  auto comm = Communicator::create(options);
  EXPECT_TRUE(comm.is_ok()) << comm.status().to_string();
  if (comm) body(**comm);
}

// Runs `body` in one process per rank; rank r is on host hosts[r].
void on_hosts(const std::string& hosts, const std::string& algorithm,
              const std::function<void(Communicator&)>& body) {
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  const TemporaryFolder folder;
  std::vector<pid_t> ranks;
  for (size_t r = 0; r < hosts.size(); ++r) {
    ranks.push_back(forked(
        300, [&] { join_as(static_cast<Rank>(r), hosts, algorithm, folder.place("id"), body); }));
  }
  for (size_t r = 0; r < ranks.size(); ++r) {
    int status = 0;
    ASSERT_EQ(waitpid(ranks[r], &status, 0), ranks[r]);
    EXPECT_EQ(status, 0) << "rank " << r << " of hosts " << hosts << ", " << algorithm;
  }
}

std::vector<ExactCall> some_calls() {
  std::vector<ExactCall> calls;
  uint64_t seed = 0;
  for (const uint64_t count : {0, 1, 3, 4, 5, 1000, 100'003}) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMin}) {
      ++seed;
      ExactCall call;
      call.op = op;
      call.type = seed % 2 == 0 ? DataType::kFloat32 : DataType::kBfloat16;
      call.count = count;
      call.in_place = seed % 3 == 0;
      call.seed = seed;
      calls.push_back(call);
    }
    ExactCall gather = calls.back();
    gather.collective = Collective::kAllGather;
    gather.op = ReduceOp::kSum;
    calls.push_back(gather);
    gather.in_place = !gather.in_place;
    calls.push_back(gather);
  }
  return calls;
}

void check_all(Communicator& comm) {
  for (const ExactCall& call : some_calls()) ExactData(call, comm.size()).check(comm);
}

Communicator::Choice choice_of(Communicator& comm, Collective collective, uint64_t count) {
  const auto choice = comm.explain(collective, count, DataType::kFloat32, ReduceOp::kSum, true);
  EXPECT_TRUE(choice.is_ok()) << choice.status().to_string();
  return choice ? *choice : Communicator::Choice();
}

TEST(Hosts, SharedMemoryInsideTcpBetween) {
  for (const std::string hosts : {"aabb", "abab", "abba", "aba", "abc", "aaab", "abcbca"}) {
    on_hosts(hosts, "", [&](Communicator& comm) {
      check_all(comm);
      EXPECT_EQ(choice_of(comm, Collective::kAllReduce, 9).transport,
                hosts == "abc" ? "tcp" : "shm+tcp");
    });
  }
}

TEST(Hosts, OneHostNeedsNoTcp) {
  on_hosts("aaa", "", [](Communicator& comm) {
    check_all(comm);
    EXPECT_EQ(choice_of(comm, Collective::kAllReduce, 9).transport, "shm");
  });
}

TEST(Hosts, HierarchicalByName) {
  for (const std::string hosts : {"aabb", "abab", "abba", "aaab", "abcbca", "aab"}) {
    on_hosts(hosts, "hierarchical", [](Communicator& comm) {
      EXPECT_EQ(choice_of(comm, Collective::kAllReduce, 1000).algorithm, "hierarchical");
      check_all(comm);
    });
  }
}

TEST(Hosts, HierarchicalAllGatherByNameWhereHostsAdjoin) {
  for (const std::string hosts : {"aabb", "abab", "abba", "aaab"}) {
    on_hosts(hosts, "hierarchical_all_gather", [&](Communicator& comm) {
      const bool adjoin = hosts == "aabb" || hosts == "aaab";
      EXPECT_EQ(
          choice_of(comm, Collective::kAllGather, 1000).algorithm == "hierarchical_all_gather",
          adjoin);
      check_all(comm);
    });
  }
}

// Of the collective that the algorithm is for. Every other root is the last rank.
void check_collective(Communicator& comm, Collective collective) {
  for (ExactCall call : some_calls()) {
    call.collective = collective;
    if (!reduces(collective)) call.op = ReduceOp::kSum;
    if (has_root(collective) && call.seed % 2 == 0) call.root = comm.size() - 1;
    ExactData(call, comm.size()).check(comm);
  }
}

TEST(Hosts, EveryAlgorithmAmongInterleavedHosts) {
  for (const Algorithm* algorithm : algorithms()) {
    if (has_graph(algorithm->collective)) continue;  // AveragesWithNeighborsAmongThem
    if (algorithm->codes) continue;                  // coded_hosts_test.cc
    on_hosts("abcab", algorithm->name,
             [&](Communicator& comm) { check_collective(comm, algorithm->collective); });
  }
}

// A graph's ranks are the callers', however they are numbered inside.
TEST(Hosts, AveragesWithNeighborsAmongThem) {
  for (const std::string hosts : {"aabb", "abcab", "abba"}) {
    on_hosts(hosts, "", [&](Communicator& comm) {
      const auto graph = make_graph("one_peer_exponential", comm.size());
      ASSERT_TRUE(graph) << graph.status().to_string();
      for (uint64_t round = 0; round < 4; ++round) {
        const auto ahead = static_cast<Rank>(1 << round % (*graph)->period());
        const Rank from = (comm.rank() + comm.size() - ahead) % comm.size();
        std::vector<double> values(5000, 1 << comm.rank()), mixed(values.size());
        ASSERT_TRUE(neighbor_average(comm, values.data(), mixed.data(), values.size(),
                                     DataType::kFloat64, **graph, round));
        const double half = ((1 << comm.rank()) + (1 << from)) / 2.0;
        EXPECT_EQ(mixed, std::vector<double>(values.size(), half)) << hosts << ", round " << round;
      }
    });
  }
}

// Those whose ranks have an order to keep, such as gathers, know of hosts only here.
TEST(Hosts, EveryHierarchicalAlgorithmWhereHostsAdjoin) {
  for (const Algorithm* algorithm : algorithms()) {
    if (!std::string(algorithm->name).starts_with("hierarchical")) continue;
    for (const std::string hosts : {"aabb", "abbb", "aabccc"}) {
      on_hosts(hosts, algorithm->name, [&](Communicator& comm) {
        if (hosts == "aabb" || algorithm->accepts != has_equal_hosts) {
          EXPECT_EQ(choice_of(comm, algorithm->collective, 1000).algorithm, algorithm->name);
        }
        check_collective(comm, algorithm->collective);
      });
    }
  }
}

// With renumbered ranks, and with gathers that stay in rank order, the verifier sees what runs.
TEST(Hosts, PlansAreProvedAsTheyRun) {
  setenv("GOSSAMER_VERIFY", "1", 1);
  for (const std::string hosts : {"abab", "aba", "abbca"}) on_hosts(hosts, "", check_all);
  unsetenv("GOSSAMER_VERIFY");
}

}  // namespace
}  // namespace gossamer
