// Reduce-scatter of codes: every rank sums its share of what everybody encoded.
//   Source   the first half of coded_two_shot.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 codes of a share, per rank.
//   Scratch  codes of two buffers; fp32 accumulators of one share where the elements are others.
//   Needs    a codec whose codes are decoded to be added; any N, any count.
//   Bits     each share is summed by its owner, in rank order and fp32.
//   Error    one encoding's. Votes are counted: the owner encodes their sum and decodes that.
//   Residual of each element of the input, all shares; and of votes the owner's of its share.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_codec(shape) && !has_adding_codec(shape);
}

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice sum = sum_coded_part(
      shape, shape.whole(), [&](Rank r) { return shape.input_share(r); }, b);
  if (!has_vote_codec(shape)) return b.settle(sum, shape.whole());
  b.settle(sum, sum);
  const Slice code = b.code(shape.count, CodePlaces{shape.size, 1}.to(shape.rank));
  b.encode(sum, code, shape.whole(), Builder::Residual::kOwn);
  b.decode(code, shape.whole());
}

}  // namespace

const Algorithm coded_reduce_scatter = {
    "coded_reduce_scatter", Collective::kReduceScatter, true, accepts, rounds, emit, true};

}  // namespace gossamer
