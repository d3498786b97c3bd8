// Chain broadcast of codes: every rank passes the root's code on to the next; cut into pieces, all
// links are busy while the root encodes and the others decode.
//   Source   the pipelined linear broadcast of Traeff and Ripke, "Optimal broadcast for fully
//            connected processor-node networks", J. Parallel Distrib. Comput. 68(7), 2008.
//   Steps    N - 1 messages one after another.
//   Bytes    one code of the buffer into every rank but the root, and out of every one but the
//            last.
//   Scratch  a code of the buffer.
//   Needs    a codec; any N, any count, any root.
//   Bits     the same on all ranks, the root too: all decode one code.
//   Error    one encoding's.
//   Residual of each element of the root's input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Rank place = shape.place();
  const bool takes = place == round + 1;
  const bool passes_on = place == round;
  if (!takes && !passes_on) return;
  const Slice code = code_of_root(shape, round, b);
  if (takes) b.recv(shape.prev(), code);
  if (passes_on) b.send(shape.next(), code);
  const bool is_last = place == shape.size - 1;
  if (passes_on || is_last) b.decode(code, shape.whole());
}

}  // namespace

const Algorithm coded_chain_broadcast = {
    "coded_chain_broadcast", Collective::kBroadcast, true, has_codec, rounds, emit, true};

}  // namespace gossamer
