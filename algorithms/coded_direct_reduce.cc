// Direct reduce of codes: everybody sends the code of everything to the root, which decodes and
// sums them.
//   Source   the flat tree of Chan, Heimlich, Purkayastha and van de Geijn, "Collective
//            communication: theory, practice, and experience", Concurrency and Computation 19(13),
//            2007.
//   Steps    1 round of N - 1 independent messages.
//   Bytes    one code of the buffer from every rank but the root, which takes N - 1.
//   Scratch  codes of N buffers at the root; fp32 accumulators of the buffer where the elements are
//            others.
//   Needs    a codec, no votes, which nobody would count; any N, any count, any root. Codes that
//            could be added as they are are decoded, like others.
//   Bits     the root alone has the result; it sums in rank order, its own code too.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_codec(shape) && !has_vote_codec(shape);
}

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice whole = shape.whole();
  const auto code_of = [&](Rank rank) { return b.code(shape.count, rank); };
  const Slice own = code_of(shape.rank);
  b.encode(input_of(whole), own, whole, Builder::Residual::kOfElements);
  if (!shape.is_root()) return b.send(shape.root, own);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.recv(peer, code_of(peer));
  }
  b.settle(sum_codes(shape, whole, code_of, b), whole);
}

}  // namespace

const Algorithm coded_direct_reduce = {
    "coded_direct_reduce", Collective::kReduce, true, accepts, rounds, emit, true};

}  // namespace gossamer
