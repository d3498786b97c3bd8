// Star: rank 0 is everybody's peer, Metropolis weights. What a server would do, at its cost.
//   Source    as Metropolis weights (gossip/graph.h).
//   Contracts by 1 - 1/n per round.
//   Sends     rank 0 to n - 1 peers, the others to 1.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  std::vector<Edge> edges;
  for (Rank r = 1; r < options.size; ++r) edges.push_back({0, r});
  return repeat_rounds({metropolis(options.size, edges)});
}

}  // namespace

const GraphFactory star_graph = {"star", "rank 0 with everybody", "", create};

}  // namespace gossamer
