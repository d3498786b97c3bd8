// What each launcher sets, and what is made of it.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>

#include "src/bootstrap.h"
#include "src/nodelist.h"
#include "src/process.h"

namespace gossamer {
namespace {

using Variables = std::map<std::string, std::string>;

constexpr const char* kPrefixes[] = {
    "GOSSAMER_", "OMPI_", "PMIX_",       "PMI_",   "MPI_",   "SLURM_",  "TORCH",
    "MASTER_",   "RANK=", "WORLD_SIZE=", "LOCAL_", "TMPDIR", "MPIEXEC_"};

// Starts from an environment in which no launcher has left anything.
class Launcher : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }

  static Result<LaunchedAs> with(const Variables& variables) {
    clear();
    for (const auto& [name, value] : variables) {
      ::setenv(name.c_str(), value.c_str(), 1);
    }
    return launcher_environment();
  }

  static void expect(const Variables& variables, const char* launcher, Rank rank, Rank size,
                     const std::string& rendezvous) {
    auto as = with(variables);
    ASSERT_TRUE(as) << as.status().message();
    EXPECT_TRUE(as->found);
    EXPECT_EQ(as->launcher, launcher);
    EXPECT_EQ(as->rank, rank);
    EXPECT_EQ(as->size, size);
    EXPECT_EQ(as->rendezvous, rendezvous);
  }

  // The message names every part.
  static void refuse(const Variables& variables, std::initializer_list<const char*> parts) {
    auto as = with(variables);
    ASSERT_FALSE(as) << as->launcher;
    EXPECT_EQ(as.status().code(), Code::kInvalidArgument);
    for (const char* part : parts) {
      EXPECT_NE(as.status().message().find(part), std::string::npos)
          << part << " in: " << as.status().message();
    }
  }

 private:
  static void clear() {
    std::vector<std::string> names;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string line(*entry);
      for (const char* prefix : kPrefixes) {
        if (line.starts_with(prefix)) {
          names.push_back(line.substr(0, line.find('=')));
        }
      }
    }
    for (const std::string& name : names) {
      ::unsetenv(name.c_str());
    }
  }
};

Variables operator+(Variables a, const Variables& b) {
  for (const auto& [name, value] : b) {
    a[name] = value;
  }
  return a;
}

Variables without(Variables all, const char* name) {
  all.erase(name);
  return all;
}

TEST_F(Launcher, FindsNobody) {
  auto as = with({});
  ASSERT_TRUE(as);
  EXPECT_FALSE(as->found);
  EXPECT_EQ(as->rank, 0);
  EXPECT_EQ(as->size, 1);
}

TEST_F(Launcher, TakesOurOwnVariablesFirst) {
  const Variables own{
      {"GOSSAMER_RANK", "2"}, {"GOSSAMER_SIZE", "4"}, {"GOSSAMER_RENDEZVOUS", "tcp://a:5"}};
  expect(own, "GOSSAMER_*", 2, 4, "tcp://a:5");
  expect(own + Variables{{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "9"}},
         "GOSSAMER_*", 2, 4, "tcp://a:5");
  refuse(without(own, "GOSSAMER_SIZE"), {"GOSSAMER_RANK is set", "GOSSAMER_SIZE is not"});
  refuse(without(own, "GOSSAMER_RANK"), {"GOSSAMER_SIZE is set", "GOSSAMER_RANK is not"});
  refuse(without(own, "GOSSAMER_RENDEZVOUS"), {"GOSSAMER_RENDEZVOUS"});
  refuse({{"GOSSAMER_RENDEZVOUS", "tcp://a:5"}}, {"GOSSAMER_RANK"});
  refuse(own + Variables{{"GOSSAMER_RANK", "4"}}, {"GOSSAMER_RANK=\"4\"", "from 0 to 3"});
  refuse(own + Variables{{"GOSSAMER_SIZE", "four"}}, {"GOSSAMER_SIZE=\"four\""});
  refuse(own + Variables{{"GOSSAMER_RANK", "-1"}}, {"GOSSAMER_RANK=\"-1\""});
  expect({{"GOSSAMER_RANK", "0"}, {"GOSSAMER_SIZE", "1"}}, "GOSSAMER_*", 0, 1, "");
}

TEST_F(Launcher, MeetsByTheJobsFileUnderOpenMpi) {
  const Variables ompi{{"OMPI_COMM_WORLD_RANK", "1"},
                       {"OMPI_COMM_WORLD_SIZE", "4"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                       {"PMIX_NAMESPACE", "1604321281"},
                       {"PMIX_SERVER_URI2", "1604321280.0;tcp4://127.0.0.1:44145"}};
  auto as = with(ompi);
  ASSERT_TRUE(as) << as.status().message();
  EXPECT_EQ(as->launcher, "Open MPI");
  EXPECT_EQ(as->rank, 1);
  EXPECT_EQ(as->size, 4);
  const std::string place = as->rendezvous;
  EXPECT_TRUE(place.starts_with("file:///tmp/gossamer-" + std::to_string(::getuid()) + "-"))
      << place;
  // The same on every rank, another in another job, in the folder asked for.
  EXPECT_EQ(with(ompi + Variables{{"OMPI_COMM_WORLD_RANK", "3"}})->rendezvous, place);
  EXPECT_NE(with(ompi + Variables{{"PMIX_NAMESPACE", "5"}})->rendezvous, place);
  EXPECT_NE(with(ompi + Variables{{"PMIX_SERVER_URI2", "x"}})->rendezvous, place);
  EXPECT_TRUE(with(ompi + Variables{{"TMPDIR", "/scratch/"}})
                  ->rendezvous.starts_with("file:///scratch/gossamer-"));
  EXPECT_TRUE(
      with(ompi + Variables{{"TMPDIR", "here"}})->rendezvous.starts_with("file:///tmp/gossamer-"));
  refuse(without(ompi, "OMPI_COMM_WORLD_RANK"), {"OMPI_COMM_WORLD_RANK is not"});
  refuse(without(ompi, "OMPI_COMM_WORLD_SIZE"), {"OMPI_COMM_WORLD_SIZE is not"});
}

TEST_F(Launcher, NeedsARendezvousAcrossHosts) {
  const Variables ompi{{"OMPI_COMM_WORLD_RANK", "1"},
                       {"OMPI_COMM_WORLD_SIZE", "4"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  refuse(ompi, {"Open MPI", "GOSSAMER_RENDEZVOUS", "gossamer/mpi.h"});
  refuse(without(ompi, "OMPI_COMM_WORLD_LOCAL_SIZE"), {"GOSSAMER_RENDEZVOUS"});
  expect(ompi + Variables{{"GOSSAMER_RENDEZVOUS", "tcp://a:5"}}, "Open MPI", 1, 4, "tcp://a:5");
  const Variables mpich{{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}, {"MPI_LOCALNRANKS", "2"}};
  refuse(mpich, {"MPICH", "GOSSAMER_RENDEZVOUS", "gossamer/mpi.h"});
  expect(mpich + Variables{{"GOSSAMER_RENDEZVOUS", "tcp://a:5"}}, "MPICH", 1, 4, "tcp://a:5");
}

TEST_F(Launcher, MeetsByTheProcessManagersFileUnderMpich) {
  const Variables mpich{{"PMI_RANK", "2"}, {"PMI_SIZE", "4"}, {"MPI_LOCALNRANKS", "4"}};
  auto as = with(mpich);
  ASSERT_TRUE(as) << as.status().message();
  EXPECT_EQ(as->launcher, "MPICH");
  EXPECT_EQ(as->rank, 2);
  EXPECT_EQ(as->size, 4);
  EXPECT_TRUE(as->rendezvous.starts_with("file:///tmp/gossamer-"));
  EXPECT_EQ(with(mpich + Variables{{"PMI_RANK", "0"}})->rendezvous, as->rendezvous);
  refuse(without(mpich, "PMI_SIZE"), {"PMI_RANK is set", "PMI_SIZE is not"});
  expect({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}, "MPICH", 0, 1, "");
}

TEST_F(Launcher, MeetsBesideTorchsStore) {
  const Variables torch{
      {"RANK", "3"}, {"WORLD_SIZE", "8"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}};
  expect(torch, "torchrun", 3, 8, "tcp://node1:29501");
  expect(torch + Variables{{"MASTER_ADDR", "fd00::1"}}, "torchrun", 3, 8, "tcp://[fd00::1]:29501");
  expect(torch + Variables{{"MASTER_PORT", "65535"}}, "torchrun", 3, 8, "tcp://node1:65534");
  expect(torch + Variables{{"GOSSAMER_RENDEZVOUS", "tcp://a:5"}}, "torchrun", 3, 8, "tcp://a:5");
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    refuse(without(torch, name), {name});
  }
  refuse(torch + Variables{{"MASTER_PORT", "high"}}, {"MASTER_PORT=\"high\""});
  // RANK alone is anybody's variable.
  auto as = with({{"RANK", "3"}});
  ASSERT_TRUE(as);
  EXPECT_FALSE(as->found);
}

const Variables kSlurm{{"SLURM_PROCID", "5"},
                       {"SLURM_NTASKS", "8"},
                       {"SLURM_JOB_ID", "1234"},
                       {"SLURM_STEP_ID", "2"},
                       {"SLURM_STEP_NODELIST", "gpu[03-05,9]"},
                       {"SLURM_NODELIST", "gpu[01-09]"}};

TEST_F(Launcher, MeetsOnTheFirstHostOfASlurmStep) {
  expect(kSlurm, "Slurm", 5, 8, "tcp://gpu03:19268");  // 15000 + (1234 * 31 + 2 * 7) % 17000
  expect(without(kSlurm, "SLURM_STEP_NODELIST"), "Slurm", 5, 8, "tcp://gpu01:19268");
  expect(kSlurm + Variables{{"SLURM_STEP_NUM_TASKS", "6"}}, "Slurm", 5, 6, "tcp://gpu03:19268");
  EXPECT_NE(with(kSlurm + Variables{{"SLURM_STEP_ID", "3"}})->rendezvous, "tcp://gpu03:19268");
  EXPECT_NE(with(kSlurm + Variables{{"SLURM_JOB_ID", "1235"}})->rendezvous, "tcp://gpu03:19268");
  expect(kSlurm + Variables{{"GOSSAMER_RENDEZVOUS", "tcp://a:5"}}, "Slurm", 5, 8, "tcp://a:5");
  refuse(without(kSlurm, "SLURM_NTASKS"), {"SLURM_PROCID is set", "SLURM_NTASKS is not"});
  refuse(without(kSlurm, "SLURM_JOB_ID"), {"SLURM_JOBID"});
  refuse(without(without(kSlurm, "SLURM_STEP_NODELIST"), "SLURM_NODELIST"), {"SLURM_NODELIST"});
  refuse(kSlurm + Variables{{"SLURM_STEP_NODELIST", "gpu[3-"}}, {"gpu[3-"});
  refuse(kSlurm + Variables{{"SLURM_PROCID", "8"}}, {"SLURM_PROCID=\"8\""});
}

TEST_F(Launcher, KnowsABatchScriptFromAStep) {
  auto as = with(without(kSlurm, "SLURM_STEP_ID"));
  ASSERT_TRUE(as) << as.status().message();
  EXPECT_FALSE(as->found);
}

TEST_F(Launcher, TrustsMpirunAndTorchrunBeforeTheSlurmJobAroundThem) {
  expect(kSlurm + Variables{{"PMI_RANK", "1"},
                            {"PMI_SIZE", "2"},
                            {"MPI_LOCALNRANKS", "1"},
                            {"GOSSAMER_RENDEZVOUS", "tcp://a:5"}},
         "MPICH", 1, 2, "tcp://a:5");
  expect(kSlurm + Variables{{"PMI_RANK", "5"}, {"PMI_SIZE", "8"}}, "Slurm", 5, 8,
         "tcp://gpu03:19268");  // srun --mpi=pmi2
  expect(kSlurm + Variables{{"TORCHELASTIC_RUN_ID", "x"},
                            {"RANK", "1"},
                            {"WORLD_SIZE", "2"},
                            {"MASTER_ADDR", "gpu03"},
                            {"MASTER_PORT", "29500"}},
         "torchrun", 1, 2, "tcp://gpu03:29501");
}

TEST(NodeList, GivesTheFirstHost) {
  for (const auto& [list, host] : {std::pair("n1", "n1"),
                                   {"n[3-5,9]", "n3"},
                                   {"gpu[003-005]-ib", "gpu003-ib"},
                                   {"a,b,c", "a"},
                                   {"login.site.org,n[1-2]", "login.site.org"},
                                   {"rack[1-2]node[4,7]", "rack1node4"},
                                   {"n[7]", "n7"}}) {
    auto first = first_host(list);
    ASSERT_TRUE(first) << list;
    EXPECT_EQ(*first, host);
  }
}

TEST(NodeList, RefusesWhatSlurmDoesNotWrite) {
  for (const char* bad :
       {"",     ",",     "a,",      ",a",    "n[",     "n]",  "n[]",  "n[1",      "n[1-]", "n[-1]",
        "n[a]", "n[1,]", "n[1--2]", "n[1]]", "n[[1]]", "a b", "a,n[", "n[1-2-3]", "../x",  "a/b"}) {
    auto first = first_host(bad);
    ASSERT_FALSE(first) << bad << " -> " << *first;
    EXPECT_EQ(first.status().code(), Code::kInvalidArgument);
  }
  EXPECT_FALSE(first_host(std::string(300, 'a')));
}

TEST(Process, ReadsProcLinesWithAnyCommand) {
  auto info = parse_process_stat(
      "17 (a (b) c) S 4 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3");
  ASSERT_TRUE(info);
  EXPECT_EQ(info->pid, 17);
  EXPECT_EQ(info->parent, 4);
  EXPECT_EQ(info->command, "a (b) c");
  EXPECT_EQ(info->start_ticks, 987654U);
  for (const char* bad : {"", "17", "17 (a", "17 (a) S 4", "x (a) S 4 1 1 1 1 1 1 1 1 1 1 1 1"}) {
    EXPECT_FALSE(parse_process_stat(bad)) << bad;
  }
  auto own = process_info(::getpid());
  ASSERT_TRUE(own);
  EXPECT_EQ(own->pid, ::getpid());
  EXPECT_EQ(own->parent, ::getppid());
  EXPECT_GT(own->start_ticks, 0U);
  auto parent = launching_process("no process is called so");
  ASSERT_TRUE(parent);
  EXPECT_EQ(parent->pid, ::getppid());
}

}  // namespace
}  // namespace gossamer
