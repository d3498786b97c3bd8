// Complete: everybody with everybody, weights 1/n: the exact mean in one round.
//   Source    as Metropolis weights (gossip/graph.h).
//   Sends     to n - 1 peers.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

constexpr Rank kRanksMax = 4096;  // the matrix has n^2 entries

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  if (options.size > kRanksMax) {
    return Status::error(Code::kInvalidArgument,
                         "the complete graph is for at most 4096 ranks; use all_reduce, or a "
                         "sparse graph such as base");
  }
  std::vector<Edge> edges;
  for (Rank a = 0; a < options.size; ++a) {
    for (Rank b = 0; b < a; ++b) edges.push_back({a, b});
  }
  return repeat_rounds({metropolis(options.size, edges)});
}

}  // namespace

const GraphFactory complete_graph = {"complete", "everybody with everybody", "", create};

}  // namespace gossamer
