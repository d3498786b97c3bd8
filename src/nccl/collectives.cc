// The collectives, sends and receives: checks, then a call of the Communicator.

#include <fmt/format.h>

#include "src/enum_number.h"
#include "src/nccl/export.h"
#include "src/nccl/group.h"
#include "src/nccl/memory_kind.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"
#include "src/nccl/stream.h"

namespace gossamer::nccl {
namespace {

// As the caller wrote it.
struct Request {
  const char* name;
  OpKind kind;
  Collective collective;
  const void* input;
  void* output;
  uint64_t count;
  ncclDataType_t type;
  ncclRedOp_t op;
  int root;
  ncclComm_t comm;
  cudaStream_t stream;
};

ncclResult_t no(const Request& request, const std::string& why) {
  return refuse(ncclInvalidArgument, fmt::format("{}: {}", request.name, why),
                request.comm->identity);
}

// The operation as a Reduction; a user's is copied, so that it may be destroyed at once.
ncclResult_t resolve(const Request& request, Op* op) {
  const uint32_t number = number_of(request.op);
  if (number < ncclNumOps) {
    op->call.reduction = static_cast<ReduceOp>(number);
    return ncclSuccess;
  }
  const std::lock_guard lock(request.comm->mutex);
  const auto found = request.comm->ops.find(static_cast<int>(number));
  if (found == request.comm->ops.end()) {
    return no(request, fmt::format("operation {} is none of ncclRedOp_t nor of this communicator's "
                                   "ncclRedOpCreatePreMulSum()",
                                   number));
  }
  if (number_of(found->second.type) != number_of(request.type)) {
    return no(request, "the operation was made for another data type");
  }
  op->factor = found->second.device_factor;
  op->call.reduction = Reduction::pre_mul_sum(found->second.factor);
  return ncclSuccess;
}

ncclResult_t check(const Request& request, Op* op) {
  const uint32_t type = number_of(request.type);
  if (type >= ncclNumTypes) {
    return no(request, fmt::format("data type {} is none of ncclDataType_t", type));
  }
  const bool pairs = request.kind != OpKind::kCollective;
  if ((pairs || has_root(request.collective)) &&
      (request.root < 0 || request.root >= request.comm->size)) {
    return no(request, fmt::format("{} {} is outside [0, {})", pairs ? "peer" : "root",
                                   request.root, request.comm->size));
  }
  if (memory_kind(request.input) != MemoryKind::kHost ||
      memory_kind(request.output) != MemoryKind::kHost) {
    return refuse(ncclInvalidUsage,
                  fmt::format("{}: a buffer is in device memory, and this library serves host "
                              "memory; copy it to the host, or use NCCL",
                              request.name),
                  request.comm->identity);
  }
  op->kind = request.kind;
  op->comm = request.comm;
  op->stream = request.stream;
  op->call.collective = request.collective;
  op->call.input = request.input;
  op->call.output = request.output;
  op->call.count = request.count;
  op->call.type = static_cast<DataType>(type);
  op->call.root = request.root;
  return pairs || !reduces(request.collective) ? ncclSuccess : resolve(request, op);
}

ncclResult_t begin(const Request& request) {
  return guarded([&] {
    const Visit visit(request.comm);
    Communicator* const native = visit ? request.comm->usable.load() : nullptr;
    if (native == nullptr) return note(diagnose(request.comm, visit, request.name));
    Op op;
    op.life = visit.life();
    if (const ncclResult_t sound = check(request, &op); sound != ncclSuccess) return note(sound);
    // NCCL's rule: no elements, nothing to do, for nobody. An empty message is still one.
    if (request.count == 0 && request.kind == OpKind::kCollective) return ncclSuccess;
    const bool direct =
        !in_group() && runs_at_once(request.stream) &&
        request.comm->issued.load(std::memory_order_relaxed) == request.comm->finished.load();
    return direct ? report(request.comm, issue(op, native)) : submit(op);
  });
}

ncclResult_t collective(const char* name, Collective which, const void* input, void* output,
                        size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return begin(
      {name, OpKind::kCollective, which, input, output, count, type, op, root, comm, stream});
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::Collective;
using gossamer::nccl::collective;
using gossamer::nccl::OpKind;

// NOLINTBEGIN(readability-identifier-naming): NCCL's names
GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclAllReduce, const void* sendbuff, void* recvbuff,
                     size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                     cudaStream_t stream) {
  return collective("ncclAllReduce", Collective::kAllReduce, sendbuff, recvbuff, count, datatype,
                    op, 0, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclReduce, const void* sendbuff, void* recvbuff, size_t count,
                     ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm,
                     cudaStream_t stream) {
  return collective("ncclReduce", Collective::kReduce, sendbuff, recvbuff, count, datatype, op,
                    root, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclBroadcast, const void* sendbuff, void* recvbuff,
                     size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
                     cudaStream_t stream) {
  return collective("ncclBroadcast", Collective::kBroadcast, sendbuff, recvbuff, count, datatype,
                    ncclSum, root, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclBcast, void* buff, size_t count, ncclDataType_t datatype,
                     int root, ncclComm_t comm, cudaStream_t stream) {
  return collective("ncclBcast", Collective::kBroadcast, buff, buff, count, datatype, ncclSum, root,
                    comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclReduceScatter, const void* sendbuff, void* recvbuff,
                     size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                     cudaStream_t stream) {
  return collective("ncclReduceScatter", Collective::kReduceScatter, sendbuff, recvbuff, recvcount,
                    datatype, op, 0, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclAllGather, const void* sendbuff, void* recvbuff,
                     size_t sendcount, ncclDataType_t datatype, ncclComm_t comm,
                     cudaStream_t stream) {
  return collective("ncclAllGather", Collective::kAllGather, sendbuff, recvbuff, sendcount,
                    datatype, ncclSum, 0, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclAlltoAll, const void* sendbuff, void* recvbuff, size_t count,
                     ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
  return collective("ncclAlltoAll", Collective::kAllToAll, sendbuff, recvbuff, count, datatype,
                    ncclSum, 0, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGather, const void* sendbuff, void* recvbuff, size_t count,
                     ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  return collective("ncclGather", Collective::kGather, sendbuff, recvbuff, count, datatype, ncclSum,
                    root, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclScatter, const void* sendbuff, void* recvbuff, size_t count,
                     ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
  return collective("ncclScatter", Collective::kScatter, sendbuff, recvbuff, count, datatype,
                    ncclSum, root, comm, stream);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclSend, const void* sendbuff, size_t count,
                     ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream) {
  return gossamer::nccl::begin({"ncclSend", OpKind::kSend, Collective::kBroadcast, sendbuff,
                                nullptr, count, datatype, ncclSum, peer, comm, stream});
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclRecv, void* recvbuff, size_t count, ncclDataType_t datatype,
                     int peer, ncclComm_t comm, cudaStream_t stream) {
  return gossamer::nccl::begin({"ncclRecv", OpKind::kRecv, Collective::kBroadcast, nullptr,
                                recvbuff, count, datatype, ncclSum, peer, comm, stream});
}
// NOLINTEND(readability-identifier-naming)
