// Epidemic: in every round each rank sends to a few ranks that it draws, and takes the mean of what
// came and of its own. With oracle=1 each is sent to as often as it sends.
//   Source    de Vos, Farhadkhani, Guerraoui, Kermarrec, Pires and Sharma, "Epidemic learning:
//             boosting decentralized learning with randomized communication", NeurIPS 2023.
//   Contracts by .76-.79 / .59-.65 / .41-.49 per round for 1 / 2 / 4 peers, measured.
//   Sends     to `peers` peers; directed. Rows sum to 1, columns only with oracle=1: without it the
//             mean drifts.

#include <algorithm>

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

class Epidemic final : public Graph {
 public:
  Epidemic(const GraphOptions& options, Rank peers, bool oracle)
      : size_(options.size), seed_(options.seed), peers_(peers), oracle_(oracle) {}
  Rank size() const override { return size_; }
  uint64_t period() const override { return 0; }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    return std::make_shared<const Mixing>(oracle_ ? regular(round) : drawn(round));
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<Epidemic>(*this); }
  // Each draws its peers without a word, the same one never twice.
  Mixing drawn(uint64_t round) const {
    std::vector<std::vector<Rank>> sources(static_cast<size_t>(size_));
    for (Rank from = 0; from < size_; ++from) {
      const uint64_t own = draw(seed_, round, static_cast<uint64_t>(from));
      std::vector<Rank> targets;
      for (uint64_t i = 0; targets.size() < static_cast<size_t>(peers_); ++i) {
        const auto to = static_cast<Rank>(draw(own, round, i) % static_cast<uint64_t>(size_));
        if (to == from || std::find(targets.begin(), targets.end(), to) != targets.end()) continue;
        targets.push_back(to);
        sources[static_cast<size_t>(to)].push_back(from);
      }
    }
    Mixing mixing(size_);
    for (Rank into = 0; into < size_; ++into) {
      const auto& those = sources[static_cast<size_t>(into)];
      const double share = 1.0 / static_cast<double>(those.size() + 1);
      for (const Rank from : those) mixing.add(into, from, share);
    }
    mixing.keep_the_rest();
    return mixing;
  }

  // Random rings, one per peer; an edge of two of them weighs twice.
  Mixing regular(uint64_t round) const {
    Mixing mixing(size_);
    for (Rank ring = 0; ring < peers_; ++ring) {
      const uint64_t seed = draw(seed_, 0, static_cast<uint64_t>(ring));
      const std::vector<Rank> order = shuffled(size_, seed, round);
      for (size_t i = 0; i < order.size(); ++i) {
        mixing.add(order[(i + 1) % order.size()], order[i], 1.0 / static_cast<double>(peers_ + 1));
      }
    }
    mixing.keep_the_rest();
    return mixing;
  }

  const Rank size_;
  const uint64_t seed_;
  const Rank peers_;
  const bool oracle_;
};

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Result<int64_t> peers = parameter(options, "peers", 1, 1, 64);
  if (!peers) return peers.status();
  const Result<int64_t> oracle = parameter(options, "oracle", 0, 0, 1);
  if (!oracle) return oracle.status();
  if (*peers >= options.size) {
    return Status::error(Code::kInvalidArgument,
                         "each rank of epidemic pushes to " + std::to_string(*peers) +
                             " others, and there are " + std::to_string(options.size - 1));
  }
  return std::unique_ptr<Graph>(
      std::make_unique<Epidemic>(options, static_cast<Rank>(*peers), *oracle == 1));
}

}  // namespace

const GraphFactory epidemic_graph = {
    "epidemic", "random ranks to push to, drawn every round; rows alone sum to 1",
    "peers=1: whom a rank pushes to; oracle=0: 1 lets each be pushed to as often, and the mean is "
    "kept",
    create};

}  // namespace gossamer
