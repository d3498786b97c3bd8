// Neighbor average: every rank sends its input to its targets in the graph's round, and sums what
// its sources send, each times its weight.
//   Source   the rounds of gossip: Xiao and Boyd, "Fast linear iterations for distributed
//            averaging", Systems and Control Letters 53, 2004.
//   Steps    1 exchange, of as many messages as the rank has targets and sources.
//   Bytes    the buffer to each target.
//   Scratch  out of place none; in place one buffer, or none when sends are eager; wide: fp32
//            accumulators of the buffer, rounded once.
//   Needs    a graph.
//   Bits     each rank its own: row `rank` of the mixing matrix, summed from the source behind it
//            downwards. Two ranks that take half of each other get the same.

#include <algorithm>

#include "algorithms/list.h"
#include "algorithms/neighbors.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

// In place, a fold into the output has to wait until every target has taken the input. If every
// rank waited like that before it receives, none would: so what is summed lies elsewhere until
// then, unless sends are complete without their receives.
Slice target(const Shape& shape, Builder& b) {
  const Slice whole = shape.whole();
  if (shape.wide) return b.accumulator(whole);
  const bool direct = !shape.in_place || shape.count <= shape.eager_count;
  return direct ? whole : b.scratch(shape.count);
}

// Sources in the order in which their messages come: from the one behind this rank downwards.
std::vector<Rank> sources_of(const Shape& shape) {
  std::vector<Rank> sources = shape.mixing->sources(shape.rank);
  std::reverse(sources.begin(), sources.end());
  const auto behind = std::find_if(sources.begin(), sources.end(),
                                   [&](Rank source) { return source < shape.rank; });
  std::rotate(sources.begin(), behind, sources.end());
  return sources;
}

void emit(const Shape& shape, int, Builder& b) {
  const Mixing& mixing = *shape.mixing;
  const Slice whole = shape.whole();
  const double own_weight = mixing.weight(shape.rank, shape.rank);
  const std::vector<Rank> sources = sources_of(shape);
  send_to_targets(shape, b);
  if (sources.empty()) return b.copy(input_of(whole), whole, own_weight);
  const Slice sum = target(shape, b);
  b.recv_mix(sources[0], sum, input_of(whole), {own_weight, mixing.weight(shape.rank, sources[0])});
  for (size_t k = 1; k < sources.size(); ++k) {
    b.recv_mix(sources[k], sum, sum, {1, mixing.weight(shape.rank, sources[k])});
  }
  b.settle(sum, whole);
}

}  // namespace

const Algorithm neighbor_average = {
    "neighbor_average", Collective::kNeighborAverage, true, has_mixing, rounds, emit};

}  // namespace gossamer
