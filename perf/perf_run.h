// One rank's part in `gossamer perf`: joins the group, measures every cell, rank 0 reports.

#pragma once

#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "perf/table.h"

namespace gossamer {

struct PerfOptions {
  std::vector<Collective> collectives;
  std::string exchange;  // "sendrecv" or "hypercube" instead; else empty
  std::vector<DataType> types{DataType::kFloat32};
  std::vector<ReduceOp> ops{ReduceOp::kSum};
  std::vector<uint64_t> sizes;  // bytes, ascending
  Rank root = 0;                // of the collectives that have one; -1: every rank in turn
  bool out_of_place = true;
  bool in_place = true;
  bool swap = false;  // each operation takes what the one before has left: two buffers in turn
  bool check = true;
  bool registered = false;  // buffers from allocate_memory()
  bool persistent = false;  // collectives bound to their buffers once per cell
  bool counters = false;    // printed at the end
  bool nccl = false;        // nccl-tests' table
  std::string baseline;     // "rpc" or "push": compare with all-reduces made of such; else empty
  bool touch = false;       // then: each rank writes its buffer before every operation, timed
  int iterations = 0;       // 0: by time
  int warmup = 5;
  double seconds = 0.5;  // per cell
  double timeout_s = 30;
  std::string algorithm;
  std::string transport = "auto";
  std::string codec;  // messages are its codes; empty: they are elements
  std::string graph;  // of the collectives that have one
  uint64_t seed = 1;  // of a random graph
  int round = -1;     // of the graph; -1: one after another
  std::string csv;
  std::string json;
  std::string plot;
};

// `ranks_wanted`: what the user asked for; 0: whatever the launcher says. Returns the exit code.
int run_perf(const PerfOptions& options, int ranks_wanted);

// The combinations that mean something: a reduction to those that reduce, a root to those that have
// one.
std::vector<Cell> kinds_of(Collective collective, const PerfOptions& o, Rank size);
inline bool is_ever_in_place(Collective collective) {
  return collective != Collective::kAllToAll && collective != Collective::kNeighborAllGather;
}

// Sizes from `begin` to `end`: times `factor` (when > 1), else plus `step`.
std::vector<uint64_t> sweep_sizes(uint64_t begin, uint64_t end, double factor, uint64_t step);

}  // namespace gossamer
