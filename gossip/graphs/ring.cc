// Ring: ranks i - 1 and i + 1, weights 1/3.
//   Source    Lian, Zhang, Zhang, Hsieh, Zhang and Liu, "Can decentralized algorithms outperform
//             centralized algorithms?", NeurIPS 2017.
//   Contracts by 1/3 + 2/3 cos(2 pi / n) per round.
//   Sends     to 2 peers; to 1 where there are only 2 ranks.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  std::vector<Edge> edges;
  for (Rank r = 0; r < options.size; ++r) edges.push_back({r, (r + 1) % options.size});
  return repeat_rounds({metropolis(options.size, edges)});
}

}  // namespace

const GraphFactory ring_graph = {"ring", "the next and the previous rank", "", create};

}  // namespace gossamer
