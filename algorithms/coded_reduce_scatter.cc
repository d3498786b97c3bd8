// Reduce-scatter of codes: every rank sums its share of what everybody encoded.
//   Source   the first half of coded_two_shot.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 codes of a share, per rank.
//   Scratch  codes of two buffers; fp32 accumulators of one share where the elements are others.
//   Needs    a codec; any N, any count.
//   Bits     each share is summed by its owner, in rank order and fp32.
//   Error    one encoding's.
//   Residual of each element of the input, all shares.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

void emit(const Shape& shape, int, Builder& b) {
  const Slice sum = sum_coded_part(
      shape, shape.whole(), [&](Rank r) { return shape.input_share(r); }, b);
  b.settle(sum, shape.whole());
}

}  // namespace

const Algorithm coded_reduce_scatter = {
    "coded_reduce_scatter", Collective::kReduceScatter, true, has_codec, rounds, emit, true};

}  // namespace gossamer
