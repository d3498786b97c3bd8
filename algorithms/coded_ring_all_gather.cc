// Ring all-gather of codes: they travel once around a ring, as they were made.
//   Source   Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication: theory,
//            practice, and experience", Concurrency and Computation 19(13), 2007.
//   Steps    N - 1 messages one after another.
//   Bytes    N - 1 codes of a share, per rank.
//   Scratch  codes of N shares.
//   Needs    a codec; any N, any count.
//   Bits     the same on all ranks: a code is passed on untouched, and a rank's own share is what
//            its code decodes to.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return shape.size - 1;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Slice input = {Buffer::kInput, 0, shape.count};
  const Rank incoming = shape.wrap(shape.rank - round - 1);
  const Slice outgoing = b.code(shape.count, shape.wrap(shape.rank - round));
  if (round == 0) b.encode(input, outgoing, input, Builder::Residual::kOfElements);
  b.send(shape.next(), outgoing);
  if (round == 0) b.decode(outgoing, shape.share(shape.rank));
  b.recv(shape.prev(), b.code(shape.count, incoming));
  b.decode(b.code(shape.count, incoming), shape.share(incoming));
}

}  // namespace

const Algorithm coded_ring_all_gather = {
    "coded_ring_all_gather", Collective::kAllGather, true, has_codec, rounds, emit, true};

}  // namespace gossamer
