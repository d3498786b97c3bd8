// Collectives that have a graph, timed: neighbor_average and neighbor_all_gather. Operations take
// the graph's rounds in turn, or one round all the time.
//
// Threads    One per rank; all ranks make the same calls.

#pragma once

#include "gossamer/communicator.h"
#include "perf/measure.h"
#include "perf/rows.h"

namespace gossamer {

// Measures options.collectives.front() at all types and sizes; hands each size's cells to `row`.
//   kInvalidArgument  the graph does not fit, or a type is none that can be averaged
Status measure_neighbors(Communicator& communicator, Group& group, const PerfOptions& options,
                         const RowSink& row);

}  // namespace gossamer
