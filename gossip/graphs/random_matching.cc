// Random matching: in every round ranks are paired at random and pairs average; with an odd number
// one rank keeps its value.
//   Source    Boyd, Ghosh, Prabhakar and Shah, "Randomized gossip algorithms", IEEE Trans. Inf.
//             Theory 52(6), 2006.
//   Contracts E||.||^2 by 1/2 - 1 / (2 (n - 1)) per round for even n.
//   Sends     to 1 peer; symmetric.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

class RandomMatching final : public Graph {
 public:
  explicit RandomMatching(const GraphOptions& options) : size_(options.size), seed_(options.seed) {}
  Rank size() const override { return size_; }
  uint64_t period() const override { return 0; }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    const std::vector<Rank> order = shuffled(size_, seed_, round);
    Mixing mixing(size_);
    for (size_t i = 0; i + 1 < order.size(); i += 2) mixing.link(order[i], order[i + 1], 0.5);
    mixing.keep_the_rest();
    return std::make_shared<const Mixing>(std::move(mixing));
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<RandomMatching>(*this); }
  const Rank size_;
  const uint64_t seed_;
};

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  return std::unique_ptr<Graph>(std::make_unique<RandomMatching>(options));
}

}  // namespace

const GraphFactory random_matching_graph = {"random_matching", "random pairs, drawn every round",
                                            "", create};

}  // namespace gossamer
