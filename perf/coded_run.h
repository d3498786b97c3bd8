// Collectives that send codes, timed: what goes over the wire, and what is lost.
//
// Threads    One per rank; all ranks make the same calls.

#pragma once

#include "gossamer/communicator.h"
#include "perf/measure.h"
#include "perf/rows.h"

namespace gossamer {

// Measures options.collectives with options.codec at all types, operations and sizes; hands each
// size's cells to `row`. Values are random; what is checked is that ranks which must have the same
// bits do, and that what is lost is no more than codecs are known to lose: a rank that differs, or
// where more than half of the square is lost, counts as one wrong element.
//   kInvalidArgument  no such codec, or a type or operation that takes none
Status measure_coded(Communicator& communicator, Group& group, const PerfOptions& options,
                     Collective collective, const RowSink& row);

}  // namespace gossamer
