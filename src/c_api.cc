// The C API: communicators, collectives, works, plans, memory.

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gossamer/memory.h"
#include "src/c_boundary.h"

using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace): all of it is this
                                     // file's
using gossamer::Code;
using gossamer::Communicator;
using gossamer::DataType;
using gossamer::ReduceOp;
using gossamer::Reduction;
using gossamer::Result;
using gossamer::Status;

namespace {

thread_local std::string shown_error;

Reduction reduction_of(gossamerRedOp_t op) {
  return {static_cast<ReduceOp>(op)};
}

gossamerResult_t join(gossamerComm_t* comm, int nranks, const gossamer::UniqueId* id,
                      const char* rendezvous, int rank, const gossamerConfig_t* config) {
  if (comm == nullptr) return refuse("the communicator pointer is null");
  *comm = nullptr;
  Result<Communicator::Options> options = options_of(config);
  if (!options) return finish(options.status());
  options->rank = rank;
  options->size = nranks;
  options->id = id;
  if (rendezvous != nullptr) options->rendezvous = rendezvous;
  return hand_over(Communicator::create(*options), comm);
}

gossamerResult_t reduce(const void* in, void* out, size_t count, DataType type,
                        const Reduction& reduction, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded(
      [&] { return finish(comm->communicator->all_reduce(in, out, count, type, reduction)); });
}

// Of a Work or a PersistentCollective; below 0 ms: as long as it takes.
template <class Operation>
gossamerResult_t wait_for(Operation& operation, int timeout_ms) {
  if (timeout_ms < 0) return finish(operation.wait());
  const Status status = operation.wait(std::chrono::milliseconds(timeout_ms));
  if (status.code() != Code::kTimeout) return finish(status);
  // Its own failure, or that of the wait.
  return operation.test() ? finish(operation.wait()) : gossamerInProgress;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerGetVersion(int* version) {
  if (version == nullptr) return refuse(kNoResult);
  *version = GOSSAMER_VERSION_CODE;
  return gossamerSuccess;
}

gossamerResult_t gossamerGetUniqueId(gossamerUniqueId* id) {
  if (id == nullptr) return refuse(kNoResult);
  return guarded([&] {
    Result<gossamer::UniqueId> made = gossamer::UniqueId::create();
    if (!made) return finish(made.status());
    std::memcpy(id->internal, made->bytes.data(), sizeof(id->internal));
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommInitConfig(gossamerComm_t* comm, int nranks, gossamerUniqueId id,
                                        int rank, const gossamerConfig_t* config) {
  gossamer::UniqueId unique;
  std::memcpy(unique.bytes.data(), id.internal, sizeof(id.internal));
  return guarded([&] { return join(comm, nranks, &unique, nullptr, rank, config); });
}

gossamerResult_t gossamerCommInit(gossamerComm_t* comm, int nranks, gossamerUniqueId id, int rank) {
  return gossamerCommInitConfig(comm, nranks, id, rank, nullptr);
}

gossamerResult_t gossamerCommInitRendezvous(gossamerComm_t* comm, int nranks,
                                            const char* rendezvous, int rank,
                                            const gossamerConfig_t* config) {
  return guarded([&] { return join(comm, nranks, nullptr, rendezvous, rank, config); });
}

gossamerResult_t gossamerCommInitEnv(gossamerComm_t* comm, const gossamerConfig_t* config) {
  if (comm == nullptr) return refuse("the communicator pointer is null");
  *comm = nullptr;
  return guarded([&] {
    Result<Communicator::Options> options = options_of(config);
    if (!options) return finish(options.status());
    return hand_over(Communicator::from_environment(*options), comm);
  });
}

gossamerResult_t gossamerCommDestroy(gossamerComm_t comm) {
  return guarded([&] {
    delete comm;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommAbort(gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    comm->communicator->abort();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommCount(gossamerComm_t comm, int* count) {
  if (comm == nullptr) return refuse(kNoComm);
  if (count == nullptr) return refuse(kNoResult);
  *count = comm->communicator->size();
  return gossamerSuccess;
}

gossamerResult_t gossamerCommUserRank(gossamerComm_t comm, int* rank) {
  if (comm == nullptr) return refuse(kNoComm);
  if (rank == nullptr) return refuse(kNoResult);
  *rank = comm->communicator->rank();
  return gossamerSuccess;
}

gossamerResult_t gossamerCommGetAsyncError(gossamerComm_t comm, gossamerResult_t* error) {
  if (comm == nullptr) return refuse(kNoComm);
  if (error == nullptr) return refuse(kNoResult);
  return guarded([&] {
    *error = result_of(comm->communicator->status().code());
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommFailedRank(gossamerComm_t comm, int* rank) {
  if (comm == nullptr) return refuse(kNoComm);
  if (rank == nullptr) return refuse(kNoResult);
  return guarded([&] {
    *rank = comm->communicator->status().rank();
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommStuckRanks(gossamerComm_t comm, int* count, int* ranks) {
  if (comm == nullptr) return refuse(kNoComm);
  if (count == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const std::vector<gossamer::Rank> stuck = comm->communicator->stuck_ranks();
    *count = static_cast<int>(stuck.size());
    if (ranks != nullptr) std::copy(stuck.begin(), stuck.end(), ranks);
    return gossamerSuccess;
  });
}

const char* gossamerGetErrorString(gossamerResult_t result) {
  switch (result) {
    case gossamerSuccess:
      return "no error";
    case gossamerInvalidArgument:
      return "invalid argument";
    case gossamerUnavailable:
      return "unavailable";
    case gossamerTimeout:
      return "timeout";
    case gossamerPeerLost:
      return "peer lost";
    case gossamerMismatch:
      return "ranks called different operations";
    case gossamerAborted:
      return "aborted";
    case gossamerSystemError:
      return "system error";
    case gossamerInProgress:
      return "in progress";
  }
  return "unknown result code";
}

const char* gossamerGetLastError(gossamerComm_t comm) {
  const gossamerResult_t copied = guarded([&] {
    const Status status = comm != nullptr ? comm->communicator->status() : Status::ok();
    shown_error = status.is_ok() ? last_sentence() : status.to_string();
    return gossamerSuccess;
  });
  return copied == gossamerSuccess ? shown_error.c_str() : "out of memory";
}

gossamerResult_t gossamerAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                                   gossamerDataType_t datatype, gossamerRedOp_t op,
                                   gossamerComm_t comm) {
  if (!plain(op)) return refuse(kNoOp);
  return reduce(sendbuff, recvbuff, count, type_of(datatype), reduction_of(op), comm);
}

gossamerResult_t gossamerAllReducePreMulSum(const void* sendbuff, void* recvbuff, size_t count,
                                            gossamerDataType_t datatype, double scalar,
                                            gossamerComm_t comm) {
  return reduce(sendbuff, recvbuff, count, type_of(datatype), Reduction::pre_mul_sum(scalar), comm);
}

gossamerResult_t gossamerAllReduceUser(const void* sendbuff, void* recvbuff, size_t count,
                                       gossamerDataType_t datatype, gossamerReduceFunction function,
                                       void* context, gossamerComm_t comm) {
  return reduce(sendbuff, recvbuff, count, type_of(datatype), Reduction::user(function, context),
                comm);
}

gossamerResult_t gossamerAllReduceStart(const void* sendbuff, void* recvbuff, size_t count,
                                        gossamerDataType_t datatype, gossamerRedOp_t op,
                                        gossamerComm_t comm, gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  if (!plain(op)) return refuse(kNoOp);
  return guarded([&] {
    return hand_over(comm->communicator->start_all_reduce(sendbuff, recvbuff, count,
                                                          type_of(datatype), reduction_of(op)),
                     work);
  });
}

gossamerResult_t gossamerAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                                   gossamerDataType_t datatype, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(comm->communicator->all_gather(sendbuff, recvbuff, sendcount, type_of(datatype)));
  });
}

gossamerResult_t gossamerAllGatherStart(const void* sendbuff, void* recvbuff, size_t sendcount,
                                        gossamerDataType_t datatype, gossamerComm_t comm,
                                        gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] {
    return hand_over(
        comm->communicator->start_all_gather(sendbuff, recvbuff, sendcount, type_of(datatype)),
        work);
  });
}

gossamerResult_t gossamerWorkTest(gossamerWork_t work, int* done) {
  if (work == nullptr) return refuse(kNoWork);
  if (done == nullptr) return refuse(kNoResult);
  *done = work->work.test() ? 1 : 0;
  return gossamerSuccess;
}

gossamerResult_t gossamerWorkWait(gossamerWork_t work, int timeout_ms) {
  if (work == nullptr) return refuse(kNoWork);
  return guarded([&] { return wait_for(work->work, timeout_ms); });
}

gossamerResult_t gossamerWorkFree(gossamerWork_t work) {
  return guarded([&] {
    delete work;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerAllReduceInit(const void* sendbuff, void* recvbuff, size_t count,
                                       gossamerDataType_t datatype, gossamerRedOp_t op,
                                       gossamerComm_t comm, gossamerPlan_t* plan) {
  if (comm == nullptr) return refuse(kNoComm);
  if (plan == nullptr) return refuse(kNoResult);
  *plan = nullptr;
  if (!plain(op)) return refuse(kNoOp);
  return guarded([&] {
    return hand_over(comm->communicator->plan_all_reduce(sendbuff, recvbuff, count,
                                                         type_of(datatype), reduction_of(op)),
                     plan);
  });
}

gossamerResult_t gossamerAllGatherInit(const void* sendbuff, void* recvbuff, size_t sendcount,
                                       gossamerDataType_t datatype, gossamerComm_t comm,
                                       gossamerPlan_t* plan) {
  if (comm == nullptr) return refuse(kNoComm);
  if (plan == nullptr) return refuse(kNoResult);
  *plan = nullptr;
  return guarded([&] {
    return hand_over(
        comm->communicator->plan_all_gather(sendbuff, recvbuff, sendcount, type_of(datatype)),
        plan);
  });
}

gossamerResult_t gossamerStart(gossamerPlan_t plan) {
  if (plan == nullptr) return refuse(kNoPlan);
  if (const char* const fault = renew_compression(plan); fault != nullptr) return refuse(fault);
  return guarded([&] { return finish(plan->collective.start()); });
}

gossamerResult_t gossamerTest(gossamerPlan_t plan, int* done) {
  if (plan == nullptr) return refuse(kNoPlan);
  if (done == nullptr) return refuse(kNoResult);
  return guarded([&] {
    *done = plan->collective.test() ? 1 : 0;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerWait(gossamerPlan_t plan, int timeout_ms) {
  if (plan == nullptr) return refuse(kNoPlan);
  return guarded([&] { return wait_for(plan->collective, timeout_ms); });
}

gossamerResult_t gossamerPlanFree(gossamerPlan_t plan) {
  return guarded([&] {
    delete plan;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommRegister(gossamerComm_t comm, void* buff, size_t bytes,
                                      void** handle) {
  if (comm == nullptr) return refuse(kNoComm);
  if (handle == nullptr) return refuse(kNoResult);
  *handle = nullptr;
  return guarded([&] {
    Result<gossamer::RegistrationId> id = comm->communicator->register_memory(buff, bytes);
    if (!id) return finish(id.status());
    // an opaque number, never followed
    *handle =
        reinterpret_cast<void*>(static_cast<uintptr_t>(*id));  // NOLINT(performance-no-int-to-ptr)
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommDeregister(gossamerComm_t comm, void* handle) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(comm->communicator->deregister_memory(reinterpret_cast<uintptr_t>(handle)));
  });
}

gossamerResult_t gossamerMemAlloc(void** ptr, size_t bytes) {
  if (ptr == nullptr) return refuse(kNoResult);
  *ptr = nullptr;
  return guarded([&] {
    Result<void*> memory = gossamer::allocate_memory(bytes);
    if (!memory) return finish(memory.status());
    *ptr = *memory;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerMemFree(void* ptr) {
  return guarded([&] { return finish(gossamer::free_memory(ptr)); });
}

}  // extern "C"
