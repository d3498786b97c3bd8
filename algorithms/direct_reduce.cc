// Direct reduce: everybody sends everything to the root, which folds it as it arrives.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    one buffer from every rank but the root, which takes N - 1.
//   Scratch  none; wide: fp32 accumulators of the whole buffer, rounded once.
//   Needs    nothing: any N, any count, any root.
//   Bits     the root alone has the result; it folds in rank order from itself on.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice whole = shape.whole();
  if (!shape.is_root()) {
    b.send(shape.root, input_of(whole));
    return;
  }
  const Slice sum = b.accumulator(whole);
  if (shape.wide) b.copy(input_of(whole), sum);
  for (Rank i = 1; i < shape.size; ++i) {
    const bool first = i == 1 && !shape.wide;
    b.recv_reduce(shape.rank_at(i), sum, first ? input_of(whole) : sum);
  }
  b.settle(sum, whole);
}

}  // namespace

const Algorithm direct_reduce = {
    "direct_reduce", Collective::kReduce, true, any_shape, rounds, emit};

}  // namespace gossamer
