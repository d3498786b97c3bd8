// Direct gather: everybody sends its share to the root.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    one share from every rank but the root: what any gather must move.
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
  const Slice own = {Buffer::kInput, 0, shape.count};
  if (!shape.is_root()) {
    b.send(shape.root, own);
    return;
  }
  b.copy(own, shape.share(shape.rank));
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.recv(peer, shape.share(peer));
  }
}

}  // namespace

const Algorithm direct_gather = {
    "direct_gather", Collective::kGather, false, any_shape, rounds, emit};

}  // namespace gossamer
