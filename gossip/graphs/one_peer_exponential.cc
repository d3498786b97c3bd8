// One-peer exponential: in round t every rank sends to the one at distance 2^(t mod ceil(log2 n))
// ahead and takes half of what the one behind it sends.
//   Source    Ying, Yuan, Chen, Hu, Pan and Yin, "Exponential graph is provably efficient for
//             decentralized deep training", NeurIPS 2021.
//   Contracts exactly to the mean in log2 n rounds, any consecutive ones, where n is a power
//             of two.
//   Sends     to 1 peer; directed, doubly stochastic.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Rank n = options.size;
  std::vector<Mixing> rounds;
  for (int64_t d = 1; d < n; d *= 2) {
    Mixing mixing(n);
    for (Rank r = 0; r < n; ++r) mixing.add(static_cast<Rank>((r + d) % n), r, 0.5);
    mixing.keep_the_rest();
    rounds.push_back(std::move(mixing));
  }
  return repeat_rounds(std::move(rounds));
}

}  // namespace

const GraphFactory one_peer_exponential_graph = {
    "one_peer_exponential", "one rank per round, 1, 2, 4, ... ahead in turn", "", create};

}  // namespace gossamer
