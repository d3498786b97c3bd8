// Chain: a ring with one link cut, Metropolis weights. The slowest connected graph there is.
//   Source    as Metropolis weights (gossip/graph.h).
//   Sends     to 2 peers at most.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  std::vector<Edge> edges;
  for (Rank r = 0; r + 1 < options.size; ++r) edges.push_back({r, r + 1});
  return repeat_rounds({metropolis(options.size, edges)});
}

}  // namespace

const GraphFactory chain_graph = {"chain", "a line of ranks", "", create};

}  // namespace gossamer
