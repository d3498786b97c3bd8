// Direct broadcast: the root sends everything to everybody.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    N - 1 buffers from the root.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice whole = shape.whole();
  if (!shape.is_root()) {
    b.recv(shape.root, whole);
    return;
  }
  for (Rank i = 1; i < shape.size; ++i) b.send(shape.rank_at(i), input_of(whole));
  b.copy(input_of(whole), whole);
}

}  // namespace

const Algorithm direct_broadcast = {
    "direct_broadcast", Collective::kBroadcast, false, any_shape, rounds, emit};

}  // namespace gossamer
