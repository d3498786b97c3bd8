// Two-shot all-reduce: every rank sums its block from everybody, then hands it to everybody.
//   Source   direct reduce-scatter and all-gather: Thakur, Rabenseifner and Gropp, "Optimization
//            of collective communication operations in MPICH", Int. J. High Perform. Comput. Appl.
//            19(1), 2005 (pairwise and direct exchange).
//   Steps    2 exchanges of N - 1 independent messages each.
//   Bytes    2(N - 1)/N of the buffer, per rank.
//   Scratch  none; wide: fp32 accumulators of one block, rounded once.
//   Needs    nothing: any N, any count, empty blocks included.
//   Bits     the same on all ranks; each block is summed by its owner, in a fixed order.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

// Owner r folds from r + 1, r + 2, ...: everybody starts with another peer, and every sender
// serves first whoever waits for it first.
void reduce_blocks(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  const Slice sum = b.accumulator(own);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    b.send(peer, input_of(shape.block(peer)));
  }
  if (shape.wide) b.copy(input_of(own), sum);
  for (Rank i = 1; i < shape.size; ++i) {
    const bool first = i == 1 && !shape.wide;
    b.recv_reduce(shape.wrap(shape.rank + i), sum, first ? input_of(own) : sum);
  }
  b.settle(sum, own);
}

void gather_blocks(const Shape& shape, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    b.send(shape.wrap(shape.rank - i), shape.block(shape.rank));
  }
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.recv(peer, shape.block(peer));
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) {
    reduce_blocks(shape, b);
  } else {
    gather_blocks(shape, b);
  }
}

}  // namespace

const Algorithm two_shot = {"two_shot", Collective::kAllReduce, true, any_shape, rounds, emit};

}  // namespace gossamer
