// Direct reduce-scatter: every rank folds its share from everybody.
//   Source   the direct exchange of Thakur, Rabenseifner and Gropp, "Optimization of collective
//            communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 shares, per rank.
//   Scratch  none; wide: fp32 accumulators of one share, rounded once.
//   Needs    nothing: any N, any count.
//   Bits     each share is summed by its owner, in a fixed order.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  sum_own_part(
      shape, shape.whole(), [&](Rank r) { return shape.input_share(r); }, b);
}

}  // namespace

const Algorithm direct_reduce_scatter = {
    "direct_reduce_scatter", Collective::kReduceScatter, true, any_shape, rounds, emit};

}  // namespace gossamer
