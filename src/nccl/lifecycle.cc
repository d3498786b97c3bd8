// What becomes of a communicator: asked about, finalized, destroyed, aborted, revoked.

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "src/nccl/export.h"
#include "src/nccl/group.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

constexpr std::chrono::microseconds kLookAgain{200};

// Answers a question that may be asked as soon as set-up has succeeded.
ncclResult_t ask(const char* call, ncclComm_t comm, int* answer, int ncclComm::*rank_or_size,
                 int otherwise) {
  const Visit visit(comm);
  if (!visit || comm->setup.load() != ncclSuccess) return diagnose(comm, visit, call);
  if (answer == nullptr) {
    return refuse(ncclInvalidArgument, fmt::format("{}: the pointer for the answer is NULL", call));
  }
  *answer = rank_or_size != nullptr ? comm->*rank_or_size : otherwise;
  return ncclSuccess;
}

ncclResult_t async_error(ncclComm_t comm, ncclResult_t* error) {
  const Visit visit(comm);
  if (!visit) return diagnose(comm, visit, "ncclCommGetAsyncError");
  if (error == nullptr) {
    return refuse(ncclInvalidArgument, "ncclCommGetAsyncError: the pointer for the error is NULL");
  }
  *error = comm->setup.load();
  // A revoked one's operations were ended on purpose.
  if (*error == ncclSuccess && !comm->revoked.load()) *error = failure_of(comm);
  return ncclSuccess;
}

ncclResult_t finalize(ncclComm_t comm) {
  constexpr const char* kCall = "ncclCommFinalize";
  if (comm == nullptr) return ncclSuccess;
  const Visit visit(comm);
  if (!visit || is_foreign(comm) || comm->setup.load() != ncclSuccess) {
    return note(diagnose(comm, visit, kCall));
  }
  if (comm->finalized.exchange(true)) {
    return note(refuse(ncclInvalidArgument,
                       "ncclCommFinalize: the communicator was finalized before; destroy it",
                       comm->identity));
  }
  Job job;
  job.comm = comm;
  job.life = visit.life();
  job.blocking = comm->config.blocking;
  job.run = [comm, life = visit.life()] {
    const Visit waiting(comm, life);
    if (!waiting) return ncclInternalError;
    wait_until_idle(comm);
    return failure_of(comm);
  };
  return submit(std::move(job));
}

ncclResult_t destroy(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  uint64_t life = 0;
  {
    Visit visit(comm);
    if (!visit) return note(diagnose(comm, visit, "ncclCommDestroy"));
    life = visit.life();
    if (!is_foreign(comm)) {
      // One that is still joining is not wanted any more; what else is under way is waited for.
      if (comm->native.load() == nullptr) {
        comm->cancelled.store(true);
      } else {
        while (comm->setup.load() == ncclInProgress) std::this_thread::sleep_for(kLookAgain);
        wait_until_idle(comm);
      }
    }
  }
  close_seat(comm, life);
  return ncclSuccess;
}

ncclResult_t abort(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  uint64_t life = 0;
  {
    Visit visit(comm);
    if (!visit) return diagnose(comm, visit, "ncclCommAbort");
    life = visit.life();
    if (!is_foreign(comm)) {
      {
        const std::lock_guard lock(comm->mutex);
        comm->cancelled.store(true);
        comm->changed.notify_all();
      }
      if (Communicator* native = comm->native.load()) native->abort();
    }
  }
  close_seat(comm, life);
  return ncclSuccess;
}

ncclResult_t revoke(ncclComm_t comm, int flags) {
  if (comm == nullptr) return ncclSuccess;
  const Visit visit(comm);
  if (!visit || is_foreign(comm) || comm->setup.load() != ncclSuccess) {
    return diagnose(comm, visit, "ncclCommRevoke");
  }
  if (flags != NCCL_REVOKE_DEFAULT) {
    return refuse(ncclInvalidArgument,
                  fmt::format("ncclCommRevoke: flags are {}, but there is only "
                              "NCCL_REVOKE_DEFAULT",
                              flags),
                  comm->identity);
  }
  comm->revoked.store(true);
  comm->usable.store(nullptr);
  comm->native.load()->revoke();
  return ncclSuccess;
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::ask;
using gossamer::nccl::guarded;

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommCount, ncclComm_t comm, int* count) {
  return guarded([&] { return ask("ncclCommCount", comm, count, &ncclComm::size, 0); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommUserRank, ncclComm_t comm, int* rank) {
  return guarded([&] { return ask("ncclCommUserRank", comm, rank, &ncclComm::rank, 0); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommCuDevice, ncclComm_t comm, int* device) {
  return guarded([&] { return ask("ncclCommCuDevice", comm, device, nullptr, -1); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommGetAsyncError, ncclComm_t comm,
                     ncclResult_t* asyncError) {  // NOLINT(readability-identifier-naming)
  return guarded([&] { return gossamer::nccl::async_error(comm, asyncError); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommFinalize, ncclComm_t comm) {
  return guarded([&] { return gossamer::nccl::finalize(comm); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommDestroy, ncclComm_t comm) {
  return guarded([&] { return gossamer::nccl::destroy(comm); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommAbort, ncclComm_t comm) {
  return guarded([&] { return gossamer::nccl::abort(comm); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommRevoke, ncclComm_t comm,
                     int revokeFlags) {  // NOLINT(readability-identifier-naming)
  return guarded([&] { return gossamer::nccl::revoke(comm, revokeFlags); });
}
