// A spanning tree by breadth-first search from the middle of a long path.
//   Source    Two searches find the longest path of a tree: Bulterman, van der Sommen, Zwaan,
//             Verhoeff, van Gasteren and Feijen, "On computing a longest path in a tree",
//             Information Processing Letters 81, 2002. In other graphs they find a long one.

#include <fmt/format.h>

#include "gossamer/gossip_groups.h"

namespace gossamer {
namespace {

using Neighbors = std::vector<std::vector<Rank>>;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

struct Search {
  std::vector<Rank> parent;  // of each rank; its own of the first, -1 where none leads there
  Rank last = 0;             // as far from the first as any
};

Search search_from(const Neighbors& neighbors, Rank first) {
  Search found;
  found.parent.assign(neighbors.size(), -1);
  found.parent[static_cast<size_t>(first)] = first;
  std::vector<Rank> order = {first};
  for (size_t i = 0; i < order.size(); ++i) {
    const Rank at = order[i];
    for (const Rank next : neighbors[static_cast<size_t>(at)]) {
      if (found.parent[static_cast<size_t>(next)] >= 0) continue;
      found.parent[static_cast<size_t>(next)] = at;
      order.push_back(next);
    }
  }
  found.last = order.back();
  return found;
}

}  // namespace

Result<std::unique_ptr<Graph>> spanning_tree(const Graph& graph) {
  if (graph.period() == 0) {
    return invalid(fmt::format("graph {} is drawn anew every round; a tree needs edges that stay",
                               graph.name()));
  }
  const auto n = static_cast<size_t>(graph.size());
  Neighbors neighbors(n);
  for (uint64_t t = 0; t < graph.period(); ++t) {
    const std::shared_ptr<const Mixing> mixing = graph.mixing(t);
    for (Rank r = 0; r < graph.size(); ++r) {
      for (const Rank to : mixing->targets(r)) {
        neighbors[static_cast<size_t>(r)].push_back(to);
        neighbors[static_cast<size_t>(to)].push_back(r);
      }
    }
  }
  const Rank end = search_from(neighbors, 0).last;
  const Search across = search_from(neighbors, end);
  std::vector<Rank> path = {across.last};
  while (path.back() != end) path.push_back(across.parent[static_cast<size_t>(path.back())]);
  const Search tree = search_from(neighbors, path[path.size() / 2]);
  std::vector<Edge> edges;
  for (size_t r = 0; r < n; ++r) {
    if (tree.parent[r] < 0) {
      return invalid(fmt::format("graph {} does not connect rank {} and rank {}", graph.name(), r,
                                 path[path.size() / 2]));
    }
    if (tree.parent[r] != static_cast<Rank>(r)) {
      edges.push_back({static_cast<Rank>(r), tree.parent[r]});
    }
  }
  return make_graph(graph.size(), edges);
}

}  // namespace gossamer
