// Ring reduce-scatter: sums of shares travel once around a ring, each ending with its owner.
//   Source   the first half of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
//            clusters of workstations", J. Parallel Distrib. Comput. 69(2), 2009.
//   Steps    N - 1 messages one after another.
//   Bytes    N - 1 shares, per rank.
//   Scratch  two shares that take turns; one for N = 3, none for N = 2.
//   Needs    nothing: any N, any count; a commutative operation.
//   Bits     each share is summed once around the ring, in a fixed order.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

// In round k a rank passes the sum of share (rank - 1 - k) on and folds share (rank - 2 - k), which
// is its own in the last round.
void emit(const Shape& shape, int round, Builder& b) {
  const Slice operand = shape.input_share(shape.rank - 2 - round);
  b.send(shape.next(),
         round == 0 ? shape.input_share(shape.rank - 1) : b.scratch(shape.count, (round - 1) % 2));
  if (round < shape.size - 2) {
    b.recv_reduce(shape.prev(), b.scratch(shape.count, round % 2), operand);
  } else {
    b.recv_reduce(shape.prev(), shape.whole(), operand);
    b.settle(shape.whole(), shape.whole());
  }
}

}  // namespace

const Algorithm ring_reduce_scatter = {
    "ring_reduce_scatter", Collective::kReduceScatter, false, any_shape, rounds, emit};

}  // namespace gossamer
