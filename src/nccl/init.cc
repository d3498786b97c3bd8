// Making communicators: unique ids, and joining by one.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <span>
#include <vector>

#include "src/nccl/environment.h"
#include "src/nccl/export.h"
#include "src/nccl/group.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

ncclResult_t no(const char* call, const std::string& why) {
  return note(refuse(ncclInvalidArgument, fmt::format("{}: {}", call, why)));
}

// NCCL_COMM_ID=host:port: where ranks meet, whatever id they were given.
std::string fixed_rendezvous() {
  const std::string place = setting("NCCL_COMM_ID");
  return place.empty() ? "" : "tcp://" + place;
}

UniqueId native_id(const ncclUniqueId& id) {
  UniqueId native;
  static_assert(sizeof(id.internal) == sizeof(native.bytes));
  std::memcpy(native.bytes.data(), id.internal, sizeof(id.internal));
  return native;
}

ncclResult_t make_id(ncclUniqueId* id) {
  if (id == nullptr) return no("ncclGetUniqueId", "the pointer for the id is NULL");
  start_once();
  if (const std::string place = fixed_rendezvous(); !place.empty()) {
    std::memset(id, 0, sizeof(*id));
    std::memcpy(id->internal, place.data(), std::min(place.size(), sizeof(id->internal) - 1));
    return ncclSuccess;
  }
  const Result<UniqueId> made = UniqueId::create();
  if (!made) return refuse(result_of(made.status().code(), false), made.status().to_string());
  std::memcpy(id->internal, made->bytes.data(), sizeof(id->internal));
  return ncclSuccess;
}

void close_all(std::span<const UniqueId> ids) {
  for (const UniqueId& id : ids) id.close();
}

// Joins by the first of the ids that is served, on whichever thread.
ncclResult_t join(ncclComm_t comm, uint64_t life, std::span<const UniqueId> ids) {
  const Visit visit(comm, life);
  if (!visit) {
    close_all(ids);  // without this rank the group will never meet
    return refuse(ncclInternalError, "the communicator was aborted while it was made");
  }
  Communicator::Options options;
  options.rank = comm->rank;
  options.size = comm->size;
  options.name = comm->config.name;
  options.transport = comm->config.transport;
  options.cancelled = &comm->cancelled;
  // One rank alone goes to its meeting point, too: it closes when its group has met.
  options.rendezvous = comm->size > 1 ? fixed_rendezvous() : "";
  if (fixed_rendezvous().empty()) {
    options.id = ids.data();
    options.other_ids = ids.subspan(1);
  }
  Result<std::unique_ptr<Communicator>> made = Communicator::create(options);
  if (!made) {
    const bool own = comm->cancelled.load();
    if (own) close_all(ids);
    return refuse(result_of(made.status().code(), own), made.status().to_string(), comm->identity);
  }
  close_all(ids.subspan(1));  // nobody will need them: the group has met
  occupy(comm, std::move(made).value());
  return ncclSuccess;
}

Job job_of(ncclComm_t* comm, std::vector<UniqueId> ids) {
  ncclComm_t seat = *comm;
  const uint64_t life = seat->life.load();
  Job job;
  job.comm = seat;
  job.life = life;
  job.blocking = seat->config.blocking;
  job.made = comm;
  job.run = [seat, life, ids = std::move(ids)] { return join(seat, life, ids); };
  return job;
}

ncclResult_t init_rank(const char* call, ncclComm_t* comm, int nranks,
                       std::span<const ncclUniqueId> ids, int rank, const ncclConfig_t* given) {
  if (comm == nullptr) return no(call, "the pointer for the communicator is NULL");
  start_once();
  hand_out(nullptr, comm);
  if (nranks < 1) return no(call, fmt::format("{} ranks; a group has at least 1", nranks));
  if (rank < 0 || rank >= nranks) {
    return no(call, fmt::format("rank {} is outside [0, {})", rank, nranks));
  }
  const Result<Config> config = read_config(given, {});
  if (!config) return no(call, config.status().message());
  hand_out(open_seat(rank, nranks, *config), comm);
  std::vector<UniqueId> natives;
  std::transform(ids.begin(), ids.end(), std::back_inserter(natives), native_id);
  return submit(job_of(comm, std::move(natives)));
}

ncclResult_t init_all(ncclComm_t* comms, int count, const int* devices) {
  constexpr const char* kCall = "ncclCommInitAll";
  if (comms == nullptr) return no(kCall, "the pointer for the communicators is NULL");
  if (count < 1) return no(kCall, fmt::format("{} devices; there must be at least 1", count));
  start_once();
  for (int i = 0; devices != nullptr && i < count; ++i) {
    if (devices[i] < 0) return no(kCall, fmt::format("device {} is negative", devices[i]));
  }
  const Result<UniqueId> id = UniqueId::create();
  if (!id) return refuse(result_of(id.status().code(), false), id.status().to_string());
  Result<Config> config = read_config(nullptr, {});
  config->blocking = true;
  std::vector<Job> jobs;
  for (int i = 0; i < count; ++i) {
    hand_out(open_seat(i, count, *config), &comms[i]);
    jobs.push_back(job_of(&comms[i], {*id}));
  }
  std::vector<uint64_t> lives;
  lives.reserve(jobs.size());
  for (const Job& job : jobs) lives.push_back(job.life);
  const ncclResult_t result = run_jobs(std::move(jobs));
  if (result == ncclSuccess) return result;
  for (int i = 0; i < count; ++i) {  // all or none
    if (comms[i] != nullptr) close_seat(comms[i], lives[static_cast<size_t>(i)]);
    hand_out(nullptr, &comms[i]);
  }
  return result;
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::guarded;
using gossamer::nccl::init_rank;

// NOLINTBEGIN(readability-identifier-naming): NCCL's names
GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGetUniqueId, ncclUniqueId* uniqueId) {
  return guarded([&] { return gossamer::nccl::make_id(uniqueId); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommInitRank, ncclComm_t* comm, int nranks,
                     ncclUniqueId commId, int rank) {
  return guarded([&] {
    return init_rank("ncclCommInitRank", comm, nranks, {&commId, 1}, rank, nullptr);
  });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommInitRankConfig, ncclComm_t* comm, int nranks,
                     ncclUniqueId commId, int rank, ncclConfig_t* config) {
  return guarded([&] {
    return init_rank("ncclCommInitRankConfig", comm, nranks, {&commId, 1}, rank, config);
  });
}

// One meeting point takes as many ranks as there are: it tells each of them O(log n) addresses. So
// the others are where ranks meet if the first one's process or host is gone.
GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommInitRankScalable, ncclComm_t* newcomm, int nranks,
                     int myrank, int nId, ncclUniqueId* commIds, ncclConfig_t* config) {
  return guarded([&] {
    constexpr const char* kCall = "ncclCommInitRankScalable";
    if (commIds == nullptr) return gossamer::nccl::no(kCall, "the pointer to the ids is NULL");
    if (nId < 1 || nId > nranks) {
      return gossamer::nccl::no(
          kCall, fmt::format("{} ids for {} ranks; there must be from 1 to {}", nId, nranks,
                             std::max(nranks, 1)));
    }
    return init_rank(kCall, newcomm, nranks, {commIds, static_cast<size_t>(nId)}, myrank, config);
  });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommInitAll, ncclComm_t* comm, int ndev,
                     const int* devlist) {
  return guarded([&] { return gossamer::nccl::init_all(comm, ndev, devlist); });
}
// NOLINTEND(readability-identifier-naming)
