// Random regular: the union of random rings through all ranks, uniform weights. An expander with
// high probability: its gap does not shrink with the number of ranks.
//   Source    Friedman, "A proof of Alon's second eigenvalue conjecture and related problems",
//             Memoirs of the AMS 195, 2008, for unions of random permutations.
//   Sends     to `degree` peers, to fewer where rings share an edge, which then weighs twice.

#include "gossip/graphs/list.h"

namespace gossamer {
namespace {

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Result<int64_t> degree = parameter(options, "degree", 4, 2, 64);
  if (!degree) return degree.status();
  if (*degree % 2 != 0) {
    return Status::error(
        Code::kInvalidArgument,
        "random_regular is made of rings: its degree is even, not " + std::to_string(*degree));
  }
  Mixing mixing(options.size);
  for (int64_t ring = 0; ring < *degree / 2; ++ring) {
    const std::vector<Rank> order =
        shuffled(options.size, options.seed, static_cast<uint64_t>(ring));
    for (size_t i = 0; i < order.size(); ++i) {
      mixing.link(order[i], order[(i + 1) % order.size()],
                  1.0 / (static_cast<double>(*degree) + 1.0));
    }
  }
  mixing.keep_the_rest();
  return repeat_rounds({std::move(mixing)});
}

}  // namespace

const GraphFactory random_regular_graph = {"random_regular", "a union of random rings",
                                           "degree=4: peers of a rank, even", create};

}  // namespace gossamer
