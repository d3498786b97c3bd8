// Torus: a grid of rows x columns that wraps, as square as the number of ranks allows; four peers
// at 1/5 each, or what Metropolis gives where a side is 2 or 1 and peers coincide.
//   Source    Metropolis weights (gossip/graph.h) on the wrapped grid.
//   Sends     to 4 peers at most.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  Rank rows = 1;
  for (Rank r = 1; r * r <= options.size; ++r) {
    if (options.size % r == 0) rows = r;
  }
  const Rank columns = options.size / rows;
  std::vector<Edge> edges;
  for (Rank r = 0; r < options.size; ++r) {
    const Rank row = r / columns;
    const Rank column = r % columns;
    const Rank right = row * columns + (column + 1) % columns;
    const Rank below = (row + 1) % rows * columns + column;
    if (right != r) edges.push_back({r, right});
    if (below != r) edges.push_back({r, below});
  }
  return repeat_rounds({metropolis(options.size, edges)});
}

}  // namespace

const GraphFactory torus_graph = {"torus", "a grid that wraps, up to four peers", "", create};

}  // namespace gossamer
