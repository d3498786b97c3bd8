// Grouped sends and receives, timed: nccl-tests' sendrecv and hypercube.
//
//   sendrecv    each rank sends the buffer to the next and receives from the one before; bandwidth
//               is of one direction
//   hypercube   an all-gather in log2 n rounds: in round k ranks that differ in bit k exchange all
//               that they have; n is a power of two. In place; out of place, a rank's own share is
//               copied first
//
// Threads    One per rank; all ranks make the same calls.

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "perf/measure.h"
#include "perf/rows.h"

namespace gossamer {

inline constexpr const char* kSendRecv = "sendrecv";
inline constexpr const char* kHypercube = "hypercube";

bool is_exchange(const std::string& name);

// Measures options.exchange at all types and sizes; hands each size's cells to `row`.
//   kInvalidArgument  hypercube and a number of ranks that is no power of two
Status measure_exchange(Communicator& communicator, Group& group, const PerfOptions& options,
                        const RowSink& row);

}  // namespace gossamer
