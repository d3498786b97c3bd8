// Direct scatter of codes: the root sends everybody the code of its share.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    N - 1 codes of a share from the root.
//   Scratch  codes of N shares at the root, of one elsewhere.
//   Needs    a codec; any N, any count, any root.
//   Bits     what its code decodes to, on the root too.
//   Error    one encoding's.
//   Residual of each element of the root's input.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice own = b.code(shape.count, shape.rank);
  if (!shape.is_root()) b.recv(shape.root, own);
  for (Rank i = 1; shape.is_root() && i <= shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    const Slice share = shape.input_share(peer);
    const Slice code = b.code(shape.count, peer);
    b.encode(share, code, share, Builder::Residual::kOfElements);
    if (peer != shape.rank) b.send(peer, code);
  }
  b.decode(own, shape.whole());
}

}  // namespace

const Algorithm coded_scatter = {
    "coded_scatter", Collective::kScatter, true, has_codec, rounds, emit, true};

}  // namespace gossamer
