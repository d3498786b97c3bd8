// The C API: messages between ranks, uneven shares, groups.

#include "gossamer/group.h"
#include "src/c_boundary.h"

using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace): all of it is this
                                     // file's
using gossamer::Result;
using gossamer::Shares;

namespace {

// Null arrays are no shares, which is right where this rank is not the root.
Shares shares_of(const uint64_t* counts, const uint64_t* displacements, gossamerComm_t comm) {
  const auto size = static_cast<size_t>(comm->communicator->size());
  Shares shares;
  if (counts != nullptr) shares.counts = {counts, size};
  if (displacements != nullptr) shares.displacements = {displacements, size};
  return shares;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerSend(const void* sendbuff, size_t count, gossamerDataType_t datatype,
                              int peer, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded(
      [&] { return finish(comm->communicator->send(sendbuff, count, type_of(datatype), peer)); });
}

gossamerResult_t gossamerRecv(void* recvbuff, size_t count, gossamerDataType_t datatype, int peer,
                              gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded(
      [&] { return finish(comm->communicator->recv(recvbuff, count, type_of(datatype), peer)); });
}

gossamerResult_t gossamerSendStart(const void* sendbuff, size_t count, gossamerDataType_t datatype,
                                   int peer, gossamerComm_t comm, gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] {
    return hand_over(comm->communicator->start_send(sendbuff, count, type_of(datatype), peer),
                     work);
  });
}

gossamerResult_t gossamerRecvStart(void* recvbuff, size_t count, gossamerDataType_t datatype,
                                   int peer, gossamerComm_t comm, gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] {
    return hand_over(comm->communicator->start_recv(recvbuff, count, type_of(datatype), peer),
                     work);
  });
}

gossamerResult_t gossamerRecvAny(void* recvbuff, size_t count, gossamerDataType_t datatype,
                                 int* peer, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  if (peer == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<gossamer::Rank> from =
        comm->communicator->recv_any(recvbuff, count, type_of(datatype));
    if (from) *peer = *from;
    return finish(from.status());
  });
}

gossamerResult_t gossamerAllGatherV(const void* sendbuff, size_t sendcount, void* recvbuff,
                                    const uint64_t* recvcounts, const uint64_t* recvdispls,
                                    gossamerDataType_t datatype, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    const Shares shares = shares_of(recvcounts, recvdispls, comm);
    return finish(
        comm->communicator->all_gather_v(sendbuff, sendcount, recvbuff, shares, type_of(datatype)));
  });
}

gossamerResult_t gossamerAllToAllV(const void* sendbuff, const uint64_t* sendcounts,
                                   const uint64_t* senddispls, void* recvbuff,
                                   const uint64_t* recvcounts, const uint64_t* recvdispls,
                                   gossamerDataType_t datatype, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(comm->communicator->all_to_all_v(
        sendbuff, shares_of(sendcounts, senddispls, comm), recvbuff,
        shares_of(recvcounts, recvdispls, comm), type_of(datatype)));
  });
}

gossamerResult_t gossamerGatherV(const void* sendbuff, size_t sendcount, void* recvbuff,
                                 const uint64_t* recvcounts, const uint64_t* recvdispls,
                                 gossamerDataType_t datatype, int root, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    const Shares shares = shares_of(recvcounts, recvdispls, comm);
    return finish(comm->communicator->gather_v(sendbuff, sendcount, recvbuff, shares,
                                               type_of(datatype), root));
  });
}

gossamerResult_t gossamerScatterV(const void* sendbuff, const uint64_t* sendcounts,
                                  const uint64_t* senddispls, void* recvbuff, size_t recvcount,
                                  gossamerDataType_t datatype, int root, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    const Shares shares = shares_of(sendcounts, senddispls, comm);
    return finish(comm->communicator->scatter_v(sendbuff, shares, recvbuff, recvcount,
                                                type_of(datatype), root));
  });
}

gossamerResult_t gossamerGroupStart(void) {
  return guarded([] { return finish(gossamer::group_start()); });
}

gossamerResult_t gossamerGroupEnd(void) {
  return guarded([] { return finish(gossamer::group_end()); });
}

gossamerResult_t gossamerGroupSimulateEnd(double* us) {
  if (us == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<gossamer::GroupEstimate> estimate = gossamer::group_simulate_end();
    if (estimate) *us = estimate->us;
    return finish(estimate.status());
  });
}

}  // extern "C"
