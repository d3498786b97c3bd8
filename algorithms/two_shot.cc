// Two-shot all-reduce: every rank sums its block from everybody, then hands it to everybody.
//   Source   direct reduce-scatter and all-gather: Thakur, Rabenseifner and Gropp, "Optimization
//            of collective communication operations in MPICH", Int. J. High Perform. Comput. Appl.
//            19(1), 2005 (pairwise and direct exchange).
//   Steps    2 exchanges of N - 1 independent messages each.
//   Bytes    2(N - 1)/N of the buffer, per rank.
//   Scratch  none; wide: fp32 accumulators of one block, rounded once.
//   Needs    nothing: any N, any count, empty blocks included.
//   Bits     the same on all ranks; each block is summed by its owner, in a fixed order.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

void reduce_blocks(const Shape& shape, Builder& b) {
  sum_own_part(
      shape, shape.block(shape.rank), [&](Rank r) { return input_of(shape.block(r)); }, b);
}

void gather_blocks(const Shape& shape, Builder& b) {
  send_to_others(shape, shape.block(shape.rank), b);
  take_other_parts(
      shape, [&](Rank r) { return shape.block(r); }, b);
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return reduce_blocks(shape, b);
  gather_blocks(shape, b);
}

}  // namespace

const Algorithm two_shot = {"two_shot", Collective::kAllReduce, true, any_shape, rounds, emit};

}  // namespace gossamer
