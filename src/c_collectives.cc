// The C boundary of collectives beyond all-reduce and all-gather: each blocking, started, and bound
// to its buffers.

#include <utility>

#include "src/c_boundary.h"

using gossamer::Collective;
using gossamer::CollectiveCall;
using gossamer::ReduceOp;
using gossamer::Reduction;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)

namespace {

// What distinguishes one C call from another; counts are converted by whoever calls.
CollectiveCall copying(Collective collective, const void* in, void* out, size_t count,
                       const gossamerDataType_t& type, int root = 0) {
  return {collective, in, out, count, type_of(type), ReduceOp::kSum, root};
}

CollectiveCall reducing(Collective collective, const void* in, void* out, size_t count,
                        const gossamerDataType_t& type, const Reduction& reduction, int root = 0) {
  return {collective, in, out, count, type_of(type), reduction, root};
}

Reduction reduction_of(const gossamerRedOp_t& op) {
  return {static_cast<ReduceOp>(number_of(op))};
}

gossamerResult_t run(const CollectiveCall& call, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] { return finish(comm->communicator->run(call)); });
}

gossamerResult_t start(const CollectiveCall& call, gossamerComm_t comm, gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] { return hand_over(comm->communicator->start(call), work); });
}

gossamerResult_t plan(const CollectiveCall& call, gossamerComm_t comm, gossamerPlan_t* plan) {
  if (comm == nullptr) return refuse(kNoComm);
  if (plan == nullptr) return refuse(kNoResult);
  *plan = nullptr;
  return guarded([&] { return hand_over(comm->communicator->plan(call), plan); });
}

}  // namespace

extern "C" {

// --- broadcast -----------------------------------------------------------------------------------

gossamerResult_t gossamerBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                                   gossamerDataType_t datatype, int root, gossamerComm_t comm) {
  return run(copying(Collective::kBroadcast, sendbuff, recvbuff, count, datatype, root), comm);
}

gossamerResult_t gossamerBcast(void* buff, size_t count, gossamerDataType_t datatype, int root,
                               gossamerComm_t comm) {
  return gossamerBroadcast(buff, buff, count, datatype, root, comm);
}

gossamerResult_t gossamerBroadcastStart(const void* sendbuff, void* recvbuff, size_t count,
                                        gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                        gossamerWork_t* work) {
  return start(copying(Collective::kBroadcast, sendbuff, recvbuff, count, datatype, root), comm,
               work);
}

gossamerResult_t gossamerBroadcastInit(const void* sendbuff, void* recvbuff, size_t count,
                                       gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                       gossamerPlan_t* plan_made) {
  return plan(copying(Collective::kBroadcast, sendbuff, recvbuff, count, datatype, root), comm,
              plan_made);
}

// --- reduce --------------------------------------------------------------------------------------

gossamerResult_t gossamerReduce(const void* sendbuff, void* recvbuff, size_t count,
                                gossamerDataType_t datatype, gossamerRedOp_t op, int root,
                                gossamerComm_t comm) {
  if (!plain(op)) return refuse(kNoOp);
  return run(
      reducing(Collective::kReduce, sendbuff, recvbuff, count, datatype, reduction_of(op), root),
      comm);
}

gossamerResult_t gossamerReducePreMulSum(const void* sendbuff, void* recvbuff, size_t count,
                                         gossamerDataType_t datatype, double scalar, int root,
                                         gossamerComm_t comm) {
  return run(reducing(Collective::kReduce, sendbuff, recvbuff, count, datatype,
                      Reduction::pre_mul_sum(scalar), root),
             comm);
}

gossamerResult_t gossamerReduceUser(const void* sendbuff, void* recvbuff, size_t count,
                                    gossamerDataType_t datatype, gossamerReduceFunction function,
                                    void* context, int root, gossamerComm_t comm) {
  return run(reducing(Collective::kReduce, sendbuff, recvbuff, count, datatype,
                      Reduction::user(function, context), root),
             comm);
}

gossamerResult_t gossamerReduceStart(const void* sendbuff, void* recvbuff, size_t count,
                                     gossamerDataType_t datatype, gossamerRedOp_t op, int root,
                                     gossamerComm_t comm, gossamerWork_t* work) {
  if (!plain(op)) return refuse(kNoOp);
  return start(
      reducing(Collective::kReduce, sendbuff, recvbuff, count, datatype, reduction_of(op), root),
      comm, work);
}

gossamerResult_t gossamerReduceInit(const void* sendbuff, void* recvbuff, size_t count,
                                    gossamerDataType_t datatype, gossamerRedOp_t op, int root,
                                    gossamerComm_t comm, gossamerPlan_t* plan_made) {
  if (!plain(op)) return refuse(kNoOp);
  return plan(
      reducing(Collective::kReduce, sendbuff, recvbuff, count, datatype, reduction_of(op), root),
      comm, plan_made);
}

// --- reduce-scatter ------------------------------------------------------------------------------

gossamerResult_t gossamerReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                                       gossamerDataType_t datatype, gossamerRedOp_t op,
                                       gossamerComm_t comm) {
  if (!plain(op)) return refuse(kNoOp);
  return run(reducing(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype,
                      reduction_of(op)),
             comm);
}

gossamerResult_t gossamerReduceScatterPreMulSum(const void* sendbuff, void* recvbuff,
                                                size_t recvcount, gossamerDataType_t datatype,
                                                double scalar, gossamerComm_t comm) {
  return run(reducing(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype,
                      Reduction::pre_mul_sum(scalar)),
             comm);
}

gossamerResult_t gossamerReduceScatterUser(const void* sendbuff, void* recvbuff, size_t recvcount,
                                           gossamerDataType_t datatype,
                                           gossamerReduceFunction function, void* context,
                                           gossamerComm_t comm) {
  return run(reducing(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype,
                      Reduction::user(function, context)),
             comm);
}

gossamerResult_t gossamerReduceScatterStart(const void* sendbuff, void* recvbuff, size_t recvcount,
                                            gossamerDataType_t datatype, gossamerRedOp_t op,
                                            gossamerComm_t comm, gossamerWork_t* work) {
  if (!plain(op)) return refuse(kNoOp);
  return start(reducing(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype,
                        reduction_of(op)),
               comm, work);
}

gossamerResult_t gossamerReduceScatterInit(const void* sendbuff, void* recvbuff, size_t recvcount,
                                           gossamerDataType_t datatype, gossamerRedOp_t op,
                                           gossamerComm_t comm, gossamerPlan_t* plan_made) {
  if (!plain(op)) return refuse(kNoOp);
  return plan(reducing(Collective::kReduceScatter, sendbuff, recvbuff, recvcount, datatype,
                       reduction_of(op)),
              comm, plan_made);
}

// --- all-to-all ----------------------------------------------------------------------------------

gossamerResult_t gossamerAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                                  gossamerDataType_t datatype, gossamerComm_t comm) {
  return run(copying(Collective::kAllToAll, sendbuff, recvbuff, count, datatype), comm);
}

gossamerResult_t gossamerAlltoAllStart(const void* sendbuff, void* recvbuff, size_t count,
                                       gossamerDataType_t datatype, gossamerComm_t comm,
                                       gossamerWork_t* work) {
  return start(copying(Collective::kAllToAll, sendbuff, recvbuff, count, datatype), comm, work);
}

gossamerResult_t gossamerAlltoAllInit(const void* sendbuff, void* recvbuff, size_t count,
                                      gossamerDataType_t datatype, gossamerComm_t comm,
                                      gossamerPlan_t* plan_made) {
  return plan(copying(Collective::kAllToAll, sendbuff, recvbuff, count, datatype), comm, plan_made);
}

// --- gather and scatter --------------------------------------------------------------------------

gossamerResult_t gossamerGather(const void* sendbuff, void* recvbuff, size_t count,
                                gossamerDataType_t datatype, int root, gossamerComm_t comm) {
  return run(copying(Collective::kGather, sendbuff, recvbuff, count, datatype, root), comm);
}

gossamerResult_t gossamerGatherStart(const void* sendbuff, void* recvbuff, size_t count,
                                     gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                     gossamerWork_t* work) {
  return start(copying(Collective::kGather, sendbuff, recvbuff, count, datatype, root), comm, work);
}

gossamerResult_t gossamerGatherInit(const void* sendbuff, void* recvbuff, size_t count,
                                    gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                    gossamerPlan_t* plan_made) {
  return plan(copying(Collective::kGather, sendbuff, recvbuff, count, datatype, root), comm,
              plan_made);
}

gossamerResult_t gossamerScatter(const void* sendbuff, void* recvbuff, size_t count,
                                 gossamerDataType_t datatype, int root, gossamerComm_t comm) {
  return run(copying(Collective::kScatter, sendbuff, recvbuff, count, datatype, root), comm);
}

gossamerResult_t gossamerScatterStart(const void* sendbuff, void* recvbuff, size_t count,
                                      gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                      gossamerWork_t* work) {
  return start(copying(Collective::kScatter, sendbuff, recvbuff, count, datatype, root), comm,
               work);
}

gossamerResult_t gossamerScatterInit(const void* sendbuff, void* recvbuff, size_t count,
                                     gossamerDataType_t datatype, int root, gossamerComm_t comm,
                                     gossamerPlan_t* plan_made) {
  return plan(copying(Collective::kScatter, sendbuff, recvbuff, count, datatype, root), comm,
              plan_made);
}

// --- barrier -------------------------------------------------------------------------------------

gossamerResult_t gossamerBarrier(gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] { return finish(comm->communicator->barrier()); });
}

gossamerResult_t gossamerBarrierStart(gossamerComm_t comm, gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] { return hand_over(comm->communicator->start_barrier(), work); });
}

}  // extern "C"
