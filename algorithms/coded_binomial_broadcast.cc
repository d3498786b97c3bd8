// Binomial broadcast of codes: the root encodes the buffer once, and its code goes down the tree.
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    ceil(log2 N) messages one after another.
//   Bytes    one code of the buffer into every rank but the root; up to ceil(log2 N) out of one.
//   Scratch  a code of the buffer.
//   Needs    a codec; any N, any count, any root.
//   Bits     the same on all ranks, the root too: all decode one code.
//   Error    one encoding's.
//   Residual of each element of the root's input.

#include "algorithms/coded.h"
#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

constexpr Rank kRadix = 2;

int rounds(const Shape& shape) {
  return knomial_levels(shape.size, kRadix);
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice code = code_of_root(shape, round, b);
  const int level = rounds(shape) - 1 - round;
  const KnomialNode node(shape.place(), shape.size, level, kRadix);
  if (node.parent >= 0) b.recv(shape.rank_at(node.parent), code);
  node.for_each_child([&](Rank child) { b.send(shape.rank_at(child), code); });
  if (level == 0) b.decode(code, shape.whole());
}

}  // namespace

const Algorithm coded_binomial_broadcast = {
    "coded_binomial_broadcast", Collective::kBroadcast, true, has_codec, rounds, emit, true};

}  // namespace gossamer
