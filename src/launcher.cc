// What a launcher's environment says about this process. Asked in this order:
//
//   GOSSAMER_*   GOSSAMER_RANK, GOSSAMER_SIZE and GOSSAMER_RENDEZVOUS; the last also overrides
//                where ranks of the launchers below meet
//   torchrun     when TORCHELASTIC_RUN_ID shows that it started this process
//   Open MPI     OMPI_COMM_WORLD_*; on one host ranks meet by a file named after the job
//   MPICH        PMI_RANK and PMI_SIZE (also Intel MPI); likewise, after the process manager
//   torch        RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set by hand; ranks meet at
//                MASTER_PORT + 1, because torch's own store listens on MASTER_PORT
//   Slurm        SLURM_PROCID in a job step; ranks meet on the step's first host, at a port from
//                job and step
//
// mpirun inside a Slurm job leaves Slurm's variables of another process behind, so Slurm comes
// last.

#include <fmt/format.h>
#include <unistd.h>

#include <initializer_list>
#include <optional>
#include <string>

#include "src/auth.h"
#include "src/bootstrap.h"
#include "src/env.h"
#include "src/messages.h"
#include "src/nodelist.h"
#include "src/process.h"

namespace gossamer {
namespace {

Status incomplete(const std::string& set, const std::string& missing) {
  return Status::error(Code::kInvalidArgument,
                       fmt::format("{} is set but {} is not: set both, or neither", set, missing));
}

Result<LaunchedAs> launched(const char* launcher, const char* rank_name, const char* size_name) {
  for (const auto& [set, other] : {std::pair(rank_name, size_name), {size_name, rank_name}}) {
    if (env_is_set(set) && !env_is_set(other)) {
      return incomplete(set, other);
    }
  }
  auto size = env_int(size_name, 1, 1, kSizeMax);
  if (!size) {
    return size.status();
  }
  auto rank = env_int(rank_name, 0, 0, *size - 1);
  if (!rank) {
    return rank.status();
  }
  LaunchedAs as;
  as.found = true;
  as.launcher = launcher;
  as.rank = static_cast<Rank>(*rank);
  as.size = static_cast<Rank>(*size);
  as.rendezvous = env_string("GOSSAMER_RENDEZVOUS");
  return as;
}

// A file that only the ranks of one job on one host come to name.
std::string job_file(const std::string& job) {
  const std::string all = fmt::format("{}\n{}", ::getuid(), job);
  const Key digest = hmac_sha256(std::as_bytes(std::span("gossamer job")),
                                 std::as_bytes(std::span(all.data(), all.size())));
  std::string directory = env_string("TMPDIR", "/tmp");
  if (!directory.starts_with('/')) {
    directory = "/tmp";
  }
  while (directory.size() > 1 && directory.ends_with('/')) {
    directory.pop_back();
  }
  std::string name;
  for (size_t i = 0; i < 8; ++i) {
    name += fmt::format("{:02x}", std::to_integer<unsigned>(digest[i]));
  }
  return fmt::format("file://{}/gossamer-{}-{}", directory == "/" ? "" : directory, ::getuid(),
                     name);
}

Status no_rendezvous(const LaunchedAs& as) {
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("{} started {} ranks on more than one host: set GOSSAMER_RENDEZVOUS=tcp://host:"
                  "port with the host of rank 0 (mpirun -x or -genv carries it), or join through "
                  "gossamer/mpi.h",
                  as.launcher, as.size));
}

std::string process_text(const std::optional<ProcessInfo>& process) {
  return process ? fmt::format("{}@{}", process->pid, process->start_ticks)
                 : fmt::format("{}", ::getppid());
}

// Ranks of an MPI launcher: they meet by a file when all are on this host.
Result<LaunchedAs> on_one_host(LaunchedAs as, const char* local_size_name, const std::string& job) {
  if (!as.rendezvous.empty() || as.size == 1) {
    return as;
  }
  auto local = env_int(local_size_name, 0, 0, kSizeMax);
  if (!local) {
    return local.status();
  }
  if (*local != as.size) {
    return no_rendezvous(as);
  }
  as.rendezvous = job_file(job);
  return as;
}

Result<LaunchedAs> from_gossamer() {
  auto as = launched("GOSSAMER_*", "GOSSAMER_RANK", "GOSSAMER_SIZE");
  if (as && as->rendezvous.empty() && as->size > 1) {
    return incomplete("GOSSAMER_RANK", "GOSSAMER_RENDEZVOUS (tcp://host:port or file:///path)");
  }
  return as;
}

Result<LaunchedAs> from_torch() {
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    if (!env_is_set(name)) {
      const bool has_rank = env_is_set("RANK");
      return incomplete(has_rank ? "RANK" : "WORLD_SIZE", name);
    }
  }
  auto as = launched("torchrun", "RANK", "WORLD_SIZE");
  auto port = env_int("MASTER_PORT", 0, 1, 65535);
  if (!as || !port) {
    return as ? port.status() : as.status();
  }
  if (as->rendezvous.empty()) {
    const std::string host = env_string("MASTER_ADDR");
    const bool v6 = host.find(':') != std::string::npos && !host.starts_with('[');
    as->rendezvous = fmt::format("tcp://{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "",
                                 *port == 65535 ? 65534 : *port + 1);
  }
  return as;
}

Result<LaunchedAs> from_open_mpi() {
  auto as = launched("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
  if (!as) {
    return as;
  }
  // The job's number alone repeats over time; the address of its server does not so soon.
  std::string job = env_string("PMIX_NAMESPACE", env_string("OMPI_MCA_ess_base_jobid"));
  for (const char* server : {"PMIX_SERVER_URI41", "PMIX_SERVER_URI4", "PMIX_SERVER_URI3",
                             "PMIX_SERVER_URI21", "PMIX_SERVER_URI2"}) {
    if (env_is_set(server)) {
      job += "\n" + env_string(server);
      break;
    }
  }
  if (job.find('\n') == std::string::npos) {
    job += "\n" + process_text(launching_process("mpi"));
  }
  return on_one_host(*as, "OMPI_COMM_WORLD_LOCAL_SIZE", "Open MPI\n" + job);
}

Result<LaunchedAs> from_mpich() {
  auto as = launched("MPICH", "PMI_RANK", "PMI_SIZE");
  if (!as) {
    return as;
  }
  return on_one_host(*as, "MPI_LOCALNRANKS", "MPICH\n" + process_text(launching_process("hydra_")));
}

// Below the range from which Linux hands out ports, spread over jobs and their steps.
uint16_t slurm_port(int64_t job, int64_t step) {
  constexpr int64_t kFirst = 15'000;
  constexpr int64_t kCount = 17'000;
  return static_cast<uint16_t>(kFirst + (job * 31 + step * 7) % kCount);
}

Result<LaunchedAs> from_slurm() {
  auto as = launched("Slurm", "SLURM_PROCID",
                     env_is_set("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
  if (!as || !as->rendezvous.empty() || as->size == 1) {
    return as;
  }
  const char* job_name = env_is_set("SLURM_JOB_ID") ? "SLURM_JOB_ID" : "SLURM_JOBID";
  const char* step_name = env_is_set("SLURM_STEP_ID") ? "SLURM_STEP_ID" : "SLURM_STEPID";
  const char* list_name =
      env_is_set("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_NODELIST";
  for (const char* name : {job_name, list_name}) {
    if (!env_is_set(name)) {
      return incomplete("SLURM_PROCID", name);
    }
  }
  auto job = env_int(job_name, 0, 0, UINT32_MAX);
  auto step = env_int(step_name, 0, 0, UINT32_MAX);
  auto host = first_host(env_string(list_name));
  for (const Status& status : {job.status(), step.status(), host.status()}) {
    if (!status) {
      return status;
    }
  }
  as->rendezvous = fmt::format("tcp://{}:{}", *host, slurm_port(*job, *step));
  return as;
}

bool any_set(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (env_is_set(name)) {
      return true;
    }
  }
  return false;
}

}  // namespace

Result<LaunchedAs> launcher_environment() {
  if (any_set({"GOSSAMER_RANK", "GOSSAMER_SIZE"})) {
    return from_gossamer();
  }
  if (any_set({"TORCHELASTIC_RUN_ID"}) && any_set({"RANK", "WORLD_SIZE"})) {
    return from_torch();
  }
  if (any_set({"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"})) {
    return from_open_mpi();
  }
  // In a batch script outside any step, Slurm's variables describe the job and not this process.
  const bool in_step = env_is_set("SLURM_PROCID") && any_set({"SLURM_STEP_ID", "SLURM_STEPID"});
  // srun --mpi=pmi2 sets PMI_RANK too but does not say how many ranks are local.
  if (any_set({"PMI_RANK", "PMI_SIZE"}) && (!in_step || env_is_set("MPI_LOCALNRANKS"))) {
    return from_mpich();
  }
  // RANK alone may mean anything.
  if (any_set({"RANK", "WORLD_SIZE"}) && (any_set({"MASTER_ADDR", "MASTER_PORT"}) ||
                                          (env_is_set("RANK") && env_is_set("WORLD_SIZE")))) {
    return from_torch();
  }
  if (in_step) {
    return from_slurm();
  }
  if (env_is_set("GOSSAMER_RENDEZVOUS")) {
    return incomplete("GOSSAMER_RENDEZVOUS", "GOSSAMER_RANK (and no launcher's variable)");
  }
  return LaunchedAs{};
}

}  // namespace gossamer
