// Direct gather of codes: everybody sends the code of its share to the root.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    one code of a share from every rank but the root.
//   Scratch  codes of N shares at the root, of one elsewhere.
//   Needs    a codec; any N, any count, any root.
//   Bits     the root alone has the result: what codes decode to, of its own share too.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice input = {Buffer::kInput, 0, shape.count};
  const Slice own = b.code(shape.count, shape.rank);
  b.encode(input, own, input, Builder::Residual::kOfElements);
  if (!shape.is_root()) return b.send(shape.root, own);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.recv(peer, b.code(shape.count, peer));
  }
  for (Rank i = 0; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.decode(b.code(shape.count, peer), shape.share(peer));
  }
}

}  // namespace

const Algorithm coded_gather = {
    "coded_gather", Collective::kGather, true, has_codec, rounds, emit, true};

}  // namespace gossamer
