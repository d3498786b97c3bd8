// Direct scatter: the root sends everybody its share.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    N - 1 shares from the root: what any scatter must move.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  if (!shape.is_root()) {
    b.recv(shape.root, shape.whole());
    return;
  }
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.send(peer, shape.input_share(peer));
  }
  b.copy(shape.input_share(shape.rank), shape.whole());
}

}  // namespace

const Algorithm direct_scatter = {
    "direct_scatter", Collective::kScatter, false, any_shape, rounds, emit};

}  // namespace gossamer
