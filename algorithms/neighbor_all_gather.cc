// Neighbor all-gather: every rank sends its input to its targets in the graph's round.
//   Source   the direct exchange, restricted to a graph's edges.
//   Steps    1 exchange, of as many messages as the rank has targets and sources.
//   Bytes    the buffer to each target.
//   Scratch  none.
//   Needs    a graph.
//   Bits     copies.

#include "algorithms/list.h"
#include "algorithms/neighbors.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  send_to_targets(shape, b);
  int64_t share = 0;
  for (const Rank from : shape.mixing->sources(shape.rank)) b.recv(from, shape.share(share++));
}

}  // namespace

const Algorithm neighbor_all_gather = {
    "neighbor_all_gather", Collective::kNeighborAllGather, false, has_mixing, rounds, emit};

}  // namespace gossamer
