// Rotating partners, as in GossipGraD: each rank averages with one other in turn of a hypercube's
// dimensions, or, where the number of ranks is no power of two, takes half of the one 1, 2, 4, ...
// before it; and after each such sequence all ranks change places at random, so that in time
// everybody meets everybody. DecentralizedSgd over it is GossipGraD, but for samples, which the
// caller may rotate among ranks.
//   Source    Daily, Vishnu, Siegel, Warfel and Amatya, "GossipGraD: scalable deep learning using
//             gossip communication based asynchronous gradient descent", 2018.
//   Contracts exactly to the mean in the log2 n rounds of a sequence, where n is a power of two.
//   Sends     to 1 peer; doubly stochastic, symmetric where n is a power of two.

#include <bit>

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

class Rotating final : public Graph {
 public:
  explicit Rotating(const GraphOptions& options)
      : size_(options.size),
        seed_(options.seed),
        rounds_(std::bit_width(static_cast<uint32_t>(options.size - 1))) {}
  Rank size() const override { return size_; }
  uint64_t period() const override { return 0; }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    const auto sequence = round / static_cast<uint64_t>(rounds_);
    const std::vector<Rank> order = shuffled(size_, seed_, sequence);
    const auto distance = static_cast<size_t>(1) << round % static_cast<uint64_t>(rounds_);
    const bool paired = std::has_single_bit(order.size());
    Mixing mixing(size_);
    for (size_t place = 0; place < order.size(); ++place) {
      const size_t other = paired ? place ^ distance : (place + distance) % order.size();
      mixing.add(order[other], order[place], 0.5);
    }
    mixing.keep_the_rest();
    return std::make_shared<const Mixing>(std::move(mixing));
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<Rotating>(*this); }
  const Rank size_;
  const uint64_t seed_;
  const int rounds_;  // of a sequence
};

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  return std::unique_ptr<Graph>(std::make_unique<Rotating>(options));
}

}  // namespace

const GraphFactory rotating_graph = {
    "rotating", "one partner per round, a hypercube's in turn, among ranks that change places", "",
    create};

}  // namespace gossamer
