// Ring all-gather: shares travel once around a ring.
//   Source   Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication: theory,
//            practice, and experience", Concurrency and Computation 19(13), 2007.
//   Steps    N - 1 messages one after another.
//   Bytes    N - 1 shares, per rank.
//   Scratch  none.
//   Needs    nothing: any N, any count.
//   Bits     copies only.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice own = {Buffer::kInput, 0, shape.count};
  b.send(shape.next(), round == 0 ? own : shape.share(shape.rank - round));
  if (round == 0) b.copy(own, shape.share(shape.rank));
  b.recv(shape.prev(), shape.share(shape.rank - round - 1));
}

}  // namespace

const Algorithm ring_all_gather = {
    "ring_all_gather", Collective::kAllGather, false, any_shape, rounds, emit};

}  // namespace gossamer
