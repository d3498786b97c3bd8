// Binomial reduce: sums go up a tree towards the root, half as many in every round.
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    ceil(log2 N) messages one after another.
//   Bytes    one buffer out of every rank but the root; up to ceil(log2 N) into one.
//   Scratch  one buffer where a rank that is not the root folds.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; the tree is fixed.

#include "algorithms/binomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return binomial_rounds(shape.size);
}

// The nearest first: whoever sends has folded all of its subtree.
void emit(const Shape& shape, int round, Builder& b) {
  const Slice whole = shape.whole();
  const Rank place = shape.place();
  const BinomialEdge edge(place, shape.size, 1 << round);
  const bool has_sum = round > 0 && place + 1 < shape.size && place % 2 == 0;
  const auto sum = [&] { return shape.is_root() ? whole : b.scratch(shape.count); };
  if (edge.is_child) b.send(shape.rank_at(edge.other), has_sum ? sum() : input_of(whole));
  if (edge.is_parent) {
    b.recv_reduce(shape.rank_at(edge.other), sum(), has_sum ? sum() : input_of(whole));
  }
  if (shape.is_root() && round == rounds(shape) - 1) b.settle(whole, whole);
}

}  // namespace

const Algorithm binomial_reduce = {
    "binomial_reduce", Collective::kReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
