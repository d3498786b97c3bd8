// Two-shot reduce: every rank sums its block from everybody, then hands it to the root.
//   Source   the long-vector reduce of Rabenseifner, "Optimization of collective reduction
//            operations", ICCS 2004; here with direct exchanges.
//   Steps    1 exchange of N - 1 independent messages, 1 round of N - 1 into the root.
//   Bytes    (N - 1)/N of the buffer from the root, one buffer from the others.
//   Scratch  one block but on the root; wide: fp32 accumulators of one block, rounded once.
//   Needs    nothing: any N, any count, any root, empty blocks included; a commutative operation.
//   Bits     the root alone has the result; each block is summed by its owner, in a fixed order.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

Slice result_of(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  return shape.is_root() ? own : b.scratch(own.count);
}

void reduce_blocks(const Shape& shape, Builder& b) {
  sum_own_part(
      shape, result_of(shape, b), [&](Rank r) { return input_of(shape.block(r)); }, b);
}

void gather_blocks(const Shape& shape, Builder& b) {
  if (shape.is_root()) {
    take_other_parts(
        shape, [&](Rank r) { return shape.block(r); }, b);
  } else {
    b.send(shape.root, result_of(shape, b));
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return reduce_blocks(shape, b);
  gather_blocks(shape, b);
}

}  // namespace

const Algorithm two_shot_reduce = {
    "two_shot_reduce", Collective::kReduce, true, any_shape, rounds, emit};

}  // namespace gossamer
