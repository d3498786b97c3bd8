// Hypercube: ranks whose numbers differ in one bit. All dimensions in every round, or one per
// round, which pairs ranks up and is exact after log2 n rounds.
//   Source    Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems and
//             Control Letters 53, 2004, for the weights; one dimension at a time is recursive
//             doubling.
//   Contracts by (log2 n - 1) / (log2 n + 1) per round; dimension by dimension, exact.
//   Sends     to log2 n peers, or to 1.
//   Needs     a power of two ranks.

#include <bit>

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Rank n = options.size;
  if (!std::has_single_bit(static_cast<uint32_t>(n))) {
    return Status::error(Code::kInvalidArgument, "a hypercube needs a power of two ranks, not " +
                                                     std::to_string(n) +
                                                     "; base fits every number");
  }
  const Result<int64_t> one = parameter(options, "one_dimension", 0, 0, 1);
  if (!one) return one.status();
  std::vector<Mixing> rounds;
  std::vector<Edge> all;
  for (Rank bit = 1; bit < n; bit *= 2) {
    std::vector<Edge> edges;
    for (Rank r = 0; r < n; ++r) {
      if ((r & bit) == 0) edges.push_back({r, r | bit});
    }
    if (*one == 1) rounds.push_back(metropolis(n, edges));
    all.insert(all.end(), edges.begin(), edges.end());
  }
  if (*one == 0) rounds.push_back(metropolis(n, all));
  return repeat_rounds(std::move(rounds));
}

}  // namespace

const GraphFactory hypercube_graph = {"hypercube", "numbers that differ in one bit",
                                      "one_dimension=0: 1 takes one bit per round", create};

}  // namespace gossamer
