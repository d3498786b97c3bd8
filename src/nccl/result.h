// From our codes to NCCL's, and what an extern "C" function does with exceptions.

#pragma once

#include <exception>
#include <new>
#include <string>

#include "gossamer/status.h"
#include "src/nccl/debug.h"

namespace gossamer::nccl {

// What `code` is called there. `own`: this rank itself gave up, by abort or revoke.
inline ncclResult_t result_of(Code code, bool own) {
  switch (code) {
    case Code::kOk:
      return ncclSuccess;
    case Code::kPending:
    case Code::kAgain:
      return ncclInProgress;
    case Code::kInvalidArgument:
      return ncclInvalidArgument;
    case Code::kMismatch:  // the ranks' programs do not fit together
      return ncclInvalidUsage;
    case Code::kTimeout:
    case Code::kPeerLost:
      return ncclRemoteError;
    case Code::kAborted:
      return own ? ncclInternalError : ncclRemoteError;
    case Code::kUnavailable:
    case Code::kSystem:
      return ncclSystemError;
  }
  return ncclInternalError;
}

// The standard library may throw (out of memory, no more threads); nothing else does.
template <class Call>
ncclResult_t guarded(Call call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return ncclSystemError;
  } catch (const std::exception& error) {
    try {
      return refuse(ncclSystemError, std::string("the system refused: ") + error.what());
    } catch (...) {
      return ncclSystemError;
    }
  }
}

}  // namespace gossamer::nccl
