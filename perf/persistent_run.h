// `gossamer perf --baseline rpc`: all-reduces made of remote procedure calls, ordinary calls and
// persistent collectives, side by side.

#pragma once

#include "gossamer/communicator.h"
#include "perf/measure.h"
#include "perf/perf_run.h"

namespace gossamer {

// Measures them in turn, several times over, so that what else the machine does meets all alike,
// and prints medians and ratios. Every element is checked once per size and contestant.
//   kSystem  a result was wrong
Status compare_with_rpc(Communicator& communicator, Group& group, const PerfOptions& options);

}  // namespace gossamer
