// OD-EquiDyn: in every round all ranks send the same random distance ahead.
//   Source    Song, Li, Jin, Shi, Yan, Yin and Yuan, "Communication-efficient topologies for
//             decentralized learning with O(1) consensus rate", NeurIPS 2022.
//   Contracts E||.||^2 by 1 - 2 eta (1 - eta) - 2 eta^2 / n per round, half at eta = 1/2, for
//             any n.
//   Sends     to 1 peer; directed, doubly stochastic.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

constexpr double kEta = 0.5;

class EquiDyn final : public Graph {
 public:
  explicit EquiDyn(const GraphOptions& options) : size_(options.size), seed_(options.seed) {}
  Rank size() const override { return size_; }
  uint64_t period() const override { return 0; }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    const auto n = static_cast<uint64_t>(size_);
    const auto shift = static_cast<Rank>(1 + draw(seed_, round, 0) % (n - 1));
    Mixing mixing(size_);
    for (Rank r = 0; r < size_; ++r) {
      mixing.add((r + shift) % size_, r,
                 kEta * static_cast<double>(n - 1) / static_cast<double>(n));
    }
    mixing.keep_the_rest();
    return std::make_shared<const Mixing>(std::move(mixing));
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<EquiDyn>(*this); }
  const Rank size_;
  const uint64_t seed_;
};

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  return std::unique_ptr<Graph>(std::make_unique<EquiDyn>(options));
}

}  // namespace

const GraphFactory equi_dyn_graph = {
    "equi_dyn", "one rank per round, a common random distance ahead", "", create};

}  // namespace gossamer
