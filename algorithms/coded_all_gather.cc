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
  send_to_others(shape, own, b);
  const auto code_from = [&](Rank rank) { return b.code(shape.count, places.from(rank)); };
  take_other_parts(shape, code_from, b);
  b.decode(own, shape.share(shape.rank));
  decode_others(
      shape, code_from, [&](Rank r) { return shape.share(r); }, b);
}

}  // namespace

const Algorithm coded_all_gather = {
    "coded_all_gather", Collective::kAllGather, true, has_codec, rounds, emit, true};

}  // namespace gossamer
