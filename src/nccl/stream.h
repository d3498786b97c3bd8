// Where a call runs: on the caller's thread, or on a stream, in its order.
//
//   NULL, and CUDA's names for its default streams (1 and 2)   on the caller's thread, at once
//   a gossamerStream_t of libgossamer.so                       asynchronously, on it
//   anything else                                              refused: a CUDA stream needs a build
//                                                              that serves device memory
//
// libgossamer.so is another library than this one and need not be there; its streams are asked for
// through its own C functions, found at run time.
//
// Threads    Any.

#pragma once

#include <functional>
#include <string>

#include "nccl/nccl.h"

namespace gossamer::nccl {

// Whether a call on `stream` has completed when it returns.
inline bool runs_at_once(cudaStream_t stream) {
  return reinterpret_cast<uintptr_t>(stream) <= 2;
}

// Puts `function` behind what is on `stream`. False: it is no stream known here.
bool run_on(cudaStream_t stream, std::function<void()> function);

std::string why_no_stream(cudaStream_t stream);

}  // namespace gossamer::nccl
