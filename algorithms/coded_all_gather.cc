// Direct all-gather of codes: every rank sends the code of its share to all others.
//   Source   the direct exchange of Thakur, Rabenseifner and Gropp, "Optimization of collective
//            communication operations in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 codes of a share, per rank.
//   Scratch  codes of N shares.
//   Needs    a codec; any N, any count.
//   Bits     the same on all ranks: a rank's own share is what its code decodes to.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const CodePlaces places{shape.size};
  const Slice input = {Buffer::kInput, 0, shape.count};
  const Slice own = b.code(shape.count, places.to(shape.rank));
  b.encode(input, own, input, Builder::Residual::kOfElements);
  for (Rank i = 1; i < shape.size; ++i) b.send(shape.wrap(shape.rank - i), own);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.recv(peer, b.code(shape.count, places.from(peer)));
  }
  b.decode(own, shape.share(shape.rank));
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.decode(b.code(shape.count, places.from(peer)), shape.share(peer));
  }
}

}  // namespace

const Algorithm coded_all_gather = {
    "coded_all_gather", Collective::kAllGather, true, has_codec, rounds, emit, true};

}  // namespace gossamer
