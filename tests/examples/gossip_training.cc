// Decentralized training: every rank takes gradient steps on data of its own and mixes its model
// with those of a few neighbors, instead of summing gradients over all ranks.
//
//   mpirun -n 6 example_gossip_training
//
// Each rank's data pull the model towards a point of their own; what is wanted is the point in the
// middle. With base:k=1, a rank has one peer per round at most.
//
// run: 6 processes

#include <cmath>
#include <cstdio>
#include <vector>

#include "gossamer/gossip.h"

namespace {

int fail(const gossamer::Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

}  // namespace

int main() {
  constexpr size_t kElements = 1000;
  constexpr uint64_t kSteps = 2000;
  auto joined = gossamer::Communicator::from_environment();
  if (!joined) return fail(joined.status());
  gossamer::Communicator& comm = **joined;
  auto graph = gossamer::make_graph("base:k=1", comm.size());
  if (!graph) return fail(graph.status());

  std::vector<float> model(kElements, 0.0F);
  const auto own_point = static_cast<float>(comm.rank());
  for (uint64_t round = 0; round < kSteps; ++round) {
    const float rate = 1.0F / (10.0F + static_cast<float>(round));
    for (float& x : model) x -= rate * (x - own_point);
    const gossamer::Status mixed = neighbor_average(comm, model.data(), model.data(), model.size(),
                                                    gossamer::DataType::kFloat32, **graph, round);
    if (!mixed) return fail(mixed);
  }
  const float middle = static_cast<float>(comm.size() - 1) / 2;
  const float away = std::abs(model.back() - middle);
  if (comm.rank() == 0) std::printf("rank 0 is %.4f from the middle\n", static_cast<double>(away));
  const gossamer::Status left = comm.barrier();  // nobody leaves while another averages
  if (!left) return fail(left);
  return away < 0.1F ? 0 : 1;
}
