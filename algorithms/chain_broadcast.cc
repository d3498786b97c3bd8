// Chain broadcast: every rank passes the buffer on to the next; cut into pieces, all links are
// busy.
//   Source   the pipelined linear broadcast of Traeff and Ripke, "Optimal broadcast for fully
//            connected processor-node networks", J. Parallel Distrib. Comput. 68(7), 2008.
//   Steps    N - 1 messages one after another.
//   Bytes    one buffer into every rank but the root, and one out of every rank but the last.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice whole = shape.whole();
  if (shape.place() == round + 1) b.recv(shape.prev(), whole);
  if (shape.place() == round) b.send(shape.next(), shape.is_root() ? input_of(whole) : whole);
  if (shape.is_root() && round == 0) b.copy(input_of(whole), whole);
}

}  // namespace

const Algorithm chain_broadcast = {
    "chain_broadcast", Collective::kBroadcast, false, any_shape, rounds, emit};

}  // namespace gossamer
