// Neighbor all-gather of codes: every rank sends the code of its input to its targets in the
// graph's round.
//   Source   the direct exchange, restricted to a graph's edges.
//   Steps    1 exchange, of as many messages as the rank has targets and sources.
//   Bytes    the buffer's code to each target.
//   Scratch  codes of the buffer, one and one per source.
//   Needs    a codec and a graph.
//   Bits     what a rank's code decodes to, the same on all of its targets.
//   Error    one encoding's.
//   Residual of each element of the input; of none on a rank without targets in the round.

#include "algorithms/list.h"
#include "algorithms/neighbors.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const std::vector<Rank> sources = shape.mixing->sources(shape.rank);
  send_code_to_targets(shape, b);
  const auto code_from = [&](size_t k) { return b.code(shape.count, static_cast<int>(k) + 1); };
  for (size_t k = 0; k < sources.size(); ++k) b.recv(sources[k], code_from(k));
  for (size_t k = 0; k < sources.size(); ++k) {
    b.decode(code_from(k), shape.share(static_cast<int64_t>(k)));
  }
}

}  // namespace

const Algorithm coded_neighbor_all_gather = {"coded_neighbor_all_gather",
                                             Collective::kNeighborAllGather,
                                             true,
                                             has_codec_and_mixing,
                                             rounds,
                                             emit,
                                             true};

}  // namespace gossamer
