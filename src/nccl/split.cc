// Communicators made from others: split by color, and shrunk to the survivors.

#include <fmt/format.h>

#include <memory>
#include <vector>

#include "gossamer/communicator.h"
#include "src/nccl/export.h"
#include "src/nccl/group.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

using Made = Result<std::unique_ptr<Communicator>>;

ncclResult_t no(ncclComm_t comm, const char* call, const std::string& why) {
  return note(refuse(ncclInvalidArgument, fmt::format("{}: {}", call, why), comm->identity));
}

// Revoked and finalized communicators may still have children.
bool may_have_children(ncclComm_t comm) {
  return !is_foreign(comm) && comm->setup.load() == ncclSuccess;
}

// Seats the child that `make` makes of the parent. The user's handle is written before anybody can
// see that the call has succeeded.
Job job_of(ncclComm_t parent, uint64_t life, const Config& config, ncclComm_t* child,
           std::function<Made(Communicator&)> make) {
  Job job;
  job.comm = parent;
  job.life = life;
  job.blocking = parent->config.blocking;
  job.run = [parent, life, config, child, make = std::move(make)] {
    const Visit visit(parent, life);
    if (!visit) return refuse(ncclInternalError, "the parent was aborted meanwhile");
    wait_until_idle(parent);  // its place is behind the calls made before it
    Made made = make(*parent->native.load());
    if (!made) return report(parent, made.status());
    if (*made == nullptr) return ncclSuccess;  // no color, no child
    const Rank rank = (*made)->rank();
    const Rank size = (*made)->size();
    ncclComm_t seat = open_seat(rank, size, config);
    occupy(seat, std::move(made).value());
    hand_out(seat, child);
    return ncclSuccess;
  };
  return job;
}

ncclResult_t split(ncclComm_t comm, int color, int key, ncclComm_t* child,
                   const ncclConfig_t* given) {
  constexpr const char* kCall = "ncclCommSplit";
  const Visit visit(comm);
  if (!visit || !may_have_children(comm)) return note(diagnose(comm, visit, kCall));
  if (child == nullptr) return no(comm, kCall, "the pointer for the new communicator is NULL");
  if (color < 0 && color != NCCL_SPLIT_NOCOLOR) {
    return no(comm, kCall,
              fmt::format("color {} is negative; use 0 or more, or NCCL_SPLIT_NOCOLOR", color));
  }
  const Result<Config> config = read_config(given, comm->config);
  if (!config) return no(comm, kCall, config.status().message());
  hand_out(nullptr, child);
  Communicator::SplitOptions options;
  options.name = config->name;
  options.cancelled = &comm->cancelled;
  return submit(job_of(comm, visit.life(), *config, child, [=](Communicator& parent) {
    return parent.split(color == NCCL_SPLIT_NOCOLOR ? Communicator::kNoColor : color, key, options);
  }));
}

ncclResult_t shrink(ncclComm_t comm, const int* excluded, int count, ncclComm_t* child,
                    const ncclConfig_t* given, int flags) {
  constexpr const char* kCall = "ncclCommShrink";
  const Visit visit(comm);
  if (!visit || !may_have_children(comm)) return note(diagnose(comm, visit, kCall));
  if (child == nullptr) return no(comm, kCall, "the pointer for the new communicator is NULL");
  if (excluded == nullptr || count < 1) {
    return no(comm, kCall, "the list of excluded ranks is empty; name at least one");
  }
  if (flags != NCCL_SHRINK_DEFAULT && flags != NCCL_SHRINK_ABORT) {
    return no(comm, kCall,
              fmt::format("flags are {}; use NCCL_SHRINK_DEFAULT or NCCL_SHRINK_ABORT", flags));
  }
  const std::vector<Rank> ranks(excluded, excluded + count);
  for (const Rank rank : ranks) {
    if (rank < 0 || rank >= comm->size || rank == comm->rank) {
      return no(comm, kCall,
                rank == comm->rank
                    ? fmt::format("rank {} excludes itself; only those that stay call", rank)
                    : fmt::format("excluded rank {} is outside [0, {})", rank, comm->size));
    }
  }
  const Result<Config> config = read_config(given, comm->config);
  if (!config) return no(comm, kCall, config.status().message());
  hand_out(nullptr, child);
  Communicator::ShrinkOptions options;
  options.abort = flags == NCCL_SHRINK_ABORT;
  options.name = config->name;
  options.cancelled = &comm->cancelled;
  return submit(job_of(comm, visit.life(), *config, child,
                       [=](Communicator& parent) { return parent.shrink(ranks, options); }));
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::guarded;

// NOLINTBEGIN(readability-identifier-naming): NCCL's names
GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommSplit, ncclComm_t comm, int color, int key,
                     ncclComm_t* newcomm, ncclConfig_t* config) {
  return guarded([&] { return gossamer::nccl::split(comm, color, key, newcomm, config); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommShrink, ncclComm_t comm, int* excludeRanksList,
                     int excludeRanksCount, ncclComm_t* newcomm, ncclConfig_t* config,
                     int shrinkFlags) {
  return guarded([&] {
    return gossamer::nccl::shrink(comm, excludeRanksList, excludeRanksCount, newcomm, config,
                                  shrinkFlags);
  });
}
// NOLINTEND(readability-identifier-naming)
