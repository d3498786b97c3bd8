// Binomial broadcast: those who have the buffer pass it on, twice as many in every round.
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    ceil(log2 N) messages one after another.
//   Bytes    one buffer into every rank but the root; up to ceil(log2 N) out of one.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/binomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return binomial_rounds(shape.size);
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice whole = shape.whole();
  const BinomialEdge edge(shape.place(), shape.size, 1 << (rounds(shape) - 1 - round));
  if (edge.is_child) b.recv(shape.rank_at(edge.other), whole);
  if (edge.is_parent) {
    b.send(shape.rank_at(edge.other), shape.is_root() ? input_of(whole) : whole);
  }
  if (shape.is_root() && round == rounds(shape) - 1) b.copy(input_of(whole), whole);
}

}  // namespace

const Algorithm binomial_broadcast = {
    "binomial_broadcast", Collective::kBroadcast, false, any_shape, rounds, emit};

}  // namespace gossamer
