// Direct all-to-all of codes: everybody sends everybody the code of its share, all at once.
//   Source   the linear (post all) exchange of Thakur, Rabenseifner and Gropp, "Optimization of
//            collective communication operations in MPICH", Int. J. High Perform. Comput. Appl.
//            19(1), 2005.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 codes of a share, per rank.
//   Scratch  codes of 2 N - 1 shares.
//   Needs    a codec; any N, any count.
//   Bits     what codes decode to, of the share that stays too.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

// Rank r encodes for r - 1 first, which waits for it first.
void emit(const Shape& shape, int, Builder& b) {
  const CodePlaces places{shape.size};
  for (Rank i = 1; i <= shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    const Slice share = shape.input_share(peer);
    const Slice code = b.code(shape.count, places.to(peer));
    b.encode(share, code, share, Builder::Residual::kOfElements);
    if (peer != shape.rank) b.send(peer, code);
  }
  const auto code_from = [&](Rank rank) { return b.code(shape.count, places.from(rank)); };
  take_other_parts(shape, code_from, b);
  b.decode(b.code(shape.count, places.to(shape.rank)), shape.share(shape.rank));
  decode_others(
      shape, code_from, [&](Rank r) { return shape.share(r); }, b);
}

}  // namespace

const Algorithm coded_all_to_all = {
    "coded_all_to_all", Collective::kAllToAll, true, has_codec, rounds, emit, true};

}  // namespace gossamer
