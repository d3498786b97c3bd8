// Chain reduce: a sum travels from the farthest rank to the root; cut into pieces, all links are
// busy.
//   Source   the pipelined chain of Traeff and Ripke, "Optimal broadcast for fully connected
//            processor-node networks", J. Parallel Distrib. Comput. 68(7), 2008, run backwards.
//   Steps    N - 1 messages one after another.
//   Bytes    one buffer out of every rank but the root, and one into every rank but the last.
//   Scratch  one buffer on the ranks between.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; ranks are folded in order, going down to the root.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice whole = shape.whole();
  const Rank place = shape.place();
  const bool starts = place == shape.size - 1;
  if (place == shape.size - 1 - round) {
    b.send(shape.prev(), starts ? input_of(whole) : b.scratch(shape.count));
  }
  if (place == shape.size - 2 - round) {
    const Slice sum = shape.is_root() ? whole : b.scratch(shape.count);
    b.recv_reduce(shape.next(), sum, input_of(whole));
    if (shape.is_root()) b.settle(whole, whole);
  }
}

}  // namespace

const Algorithm chain_reduce = {
    "chain_reduce", Collective::kReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
