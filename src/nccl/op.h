// One call, as it waits in a group or on a stream.
//
// Threads    Any; an Op is a value.

#pragma once

#include <cstdint>
#include <span>

#include "gossamer/communicator.h"
#include "nccl/nccl.h"

namespace gossamer::nccl {

enum class OpKind : uint8_t { kCollective, kSend, kRecv };

struct Op {
  OpKind kind = OpKind::kCollective;
  ncclComm_t comm = nullptr;
  uint64_t life = 0;  // of the seat when the call was made
  cudaStream_t stream = nullptr;
  CollectiveCall call;  // of a send, `input`; of a receive, `output`; `root` is the peer
  // A factor of `call.type` in memory that is read when the call runs; else null.
  const void* factor = nullptr;
};

// Runs one call on this thread, to its end; or queues it, between native group calls.
Status issue(const Op& op, Communicator* native);

// Runs calls together on this thread, to their end. What goes wrong is kept as the last warning.
ncclResult_t run_now(std::span<const Op> ops);
// Begins calls together: at once and to their end where all of their streams say so, else each when
// its stream and the communicator's earlier calls have come that far.
ncclResult_t launch(std::span<const Op> ops);

}  // namespace gossamer::nccl
