// Static exponential: every rank sends to those at distance 1, 2, 4, ... ahead, in every round.
//   Source    Ying, Yuan, Chen, Hu, Pan and Yin, "Exponential graph is provably efficient for
//             decentralized deep training", NeurIPS 2021.
//   Contracts by 1 - 2 / (1 + ceil(log2 n)) per round for even n.
//   Sends     to ceil(log2 n) peers; directed, doubly stochastic.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Rank n = options.size;
  int distances = 0;
  for (int64_t d = 1; d < n; d *= 2) ++distances;
  Mixing mixing(n);
  for (Rank r = 0; r < n; ++r) {
    for (int64_t d = 1; d < n; d *= 2) {
      mixing.add(static_cast<Rank>((r + d) % n), r, 1.0 / (distances + 1));
    }
  }
  mixing.keep_the_rest();
  return repeat_rounds({std::move(mixing)});
}

}  // namespace

const GraphFactory static_exponential_graph = {
    "static_exponential", "ranks 1, 2, 4, ... ahead, all in every round", "", create};

}  // namespace gossamer
