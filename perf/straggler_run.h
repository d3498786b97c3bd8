// What one slow rank costs the others: the same training loop, its steps computed and then averaged
// in one way after another, with one rank slower than the rest.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

struct StragglerOptions {
  uint64_t count = 0;      // floats that are averaged
  double compute_ms = 10;  // of a step, on all ranks but the slow one
  double slow = 10;        // times as long on the last rank
  double seconds = 3;      // per method
  std::string graph;       // of neighbor_average and of pairwise averages
  std::string pairwise_graph;
};

struct StragglerRow {
  std::string method;
  double healthy_steps_s = 0;  // mean over the ranks that are not slow
  double slow_steps_s = 0;
  double mean_moved =
      0;  // the mean over ranks and elements, relative: what averaging must not move
};

// Every rank calls it; rank 0 gets the rows. The first one only computes.
Result<std::vector<StragglerRow>> measure_straggler(Communicator& communicator,
                                                    const StragglerOptions& options);

}  // namespace gossamer
