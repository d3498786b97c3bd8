// Direct reduce-scatter: every rank folds its share from everybody.
//   Source   the direct exchange of Thakur, Rabenseifner and Gropp, "Optimization of collective
//            communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 shares, per rank.
//   Scratch  none; wide: fp32 accumulators of one share, rounded once.
//   Needs    nothing: any N, any count.
//   Bits     each share is summed by its owner, in a fixed order.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

// Owner r folds from r + 1, r + 2, ...: everybody starts with another peer, and every sender
// serves first whoever waits for it first.
void emit(const Shape& shape, int, Builder& b) {
  const Slice result = shape.whole();
  const Slice own = shape.input_share(shape.rank);
  const Slice sum = b.accumulator(result);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    b.send(peer, shape.input_share(peer));
  }
  if (shape.wide) b.copy(own, sum);
  for (Rank i = 1; i < shape.size; ++i) {
    const bool first = i == 1 && !shape.wide;
    b.recv_reduce(shape.wrap(shape.rank + i), sum, first ? own : sum);
  }
  b.settle(sum, result);
}

}  // namespace

const Algorithm direct_reduce_scatter = {
    "direct_reduce_scatter", Collective::kReduceScatter, true, any_shape, rounds, emit};

}  // namespace gossamer
