// Ring all-reduce: reduce-scatter, then all-gather, around one ring.
//   Source   Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
//            workstations", J. Parallel Distrib. Comput. 69(2), 2009.
//   Steps    2(N - 1) messages one after another.
//   Bytes    2(N - 1)/N of the buffer, per rank.
//   Scratch  none.
//   Needs    nothing: any N, any count, empty blocks included.
//   Bits     the same on all ranks; each block is summed once and then only copied.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return 2 * (shape.size - 1);
}

// In round k a rank passes block (rank - k) on and takes block (rank - k - 1). After N - 1 rounds
// it holds the finished block (rank + 1), which is exactly what round N - 1 passes on: one rule
// serves both halves, and only the first half reduces. Every block is folded once, with this
// rank's input, so no copy of the input is needed first.
void emit(const Shape& shape, int round, Builder& b) {
  const Slice outgoing = shape.block(shape.rank - round);
  const Slice incoming = shape.block(shape.rank - round - 1);
  b.send(shape.next(), round == 0 ? input_of(outgoing) : outgoing);
  if (round < shape.size - 1) {
    b.recv_reduce(shape.prev(), incoming, input_of(incoming));
  } else {
    b.recv(shape.prev(), incoming);
  }
  if (round == shape.size - 2) b.settle(incoming, incoming);
}

}  // namespace

const Algorithm ring = {"ring", Collective::kAllReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
