// Neighbor average of codes: every rank sends the code of its input to its targets in the graph's
// round, and sums its own input and what its sources' codes decode to, each times its weight.
//   Source   the rounds of gossip of Xiao and Boyd, "Fast linear iterations for distributed
//            averaging", Systems and Control Letters 53, 2004, with lossy messages.
//   Steps    1 exchange, of as many messages as the rank has targets and sources.
//   Bytes    the buffer's code to each target.
//   Scratch  codes of the buffer, one and one per source; fp32 accumulators of the buffer where the
//            elements are others.
//   Needs    a codec, no votes, which have no weights, and a graph.
//   Bits     each rank its own: row `rank` of the mixing matrix, summed in the order of the row.
//   Error    one encoding's, of what comes from others. The mean over the ranks moves by it; with a
//            residual it comes back.
//   Residual of each element of the input; of none on a rank without targets in the round.

#include "algorithms/list.h"
#include "algorithms/neighbors.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_codec_and_mixing(shape) && !has_vote_codec(shape);
}

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Mixing& mixing = *shape.mixing;
  const Slice whole = shape.whole();
  const double own_weight = mixing.weight(shape.rank, shape.rank);
  const std::vector<Rank> sources = mixing.sources(shape.rank);
  send_code_to_targets(shape, b);
  if (sources.empty()) return b.copy(input_of(whole), whole, own_weight);
  const Slice sum = b.accumulator(whole);
  b.copy(input_of(whole), sum, own_weight);
  for (size_t k = 0; k < sources.size(); ++k) {
    b.recv(sources[k], b.code(shape.count, static_cast<int>(k) + 1));
  }
  for (size_t k = 0; k < sources.size(); ++k) {
    b.decode_reduce(b.code(shape.count, static_cast<int>(k) + 1), sum,
                    mixing.weight(shape.rank, sources[k]));
  }
  b.settle(sum, whole);
}

}  // namespace

const Algorithm coded_neighbor_average = {
    "coded_neighbor_average", Collective::kNeighborAverage, true, accepts, rounds, emit, true};

}  // namespace gossamer
