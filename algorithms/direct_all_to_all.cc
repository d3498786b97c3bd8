// Direct all-to-all: everybody sends everybody its share, all at once.
//   Source   the linear (post all) exchange of Thakur, Rabenseifner and Gropp, "Optimization of
//            collective communication operations in MPICH", Int. J. High Perform. Comput. Appl.
//            19(1), 2005.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 shares, per rank.
//   Scratch  none.
//   Needs    nothing: any N, any count.
//   Bits     copies only.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

// Everybody starts with another peer, so that no rank is everybody's first.
void emit(const Shape& shape, int, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    b.send(peer, shape.input_share(peer));
  }
  b.copy(shape.input_share(shape.rank), shape.share(shape.rank));
  take_other_parts(
      shape, [&](Rank r) { return shape.share(r); }, b);
}

}  // namespace

const Algorithm direct_all_to_all = {
    "direct_all_to_all", Collective::kAllToAll, false, any_shape, rounds, emit};

}  // namespace gossamer
