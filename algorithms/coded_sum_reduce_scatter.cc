// Reduce-scatter of codes that are added as they are: every rank sums the codes of its share, and
// decodes the sum.
//   Source   as algorithms/coded_sum.cc, of which this is the first half.
//   Steps    1 exchange of N - 1 independent messages; 2 more, of few bytes, where the codec has
//            numbers to agree on.
//   Bytes    the codes of N - 1 shares, per rank; and twice their numbers.
//   Scratch  codes of two buffers and the sum of a share; fp32 accumulators of a share where the
//            elements are others.
//   Needs    a codec whose codes are added as they are; any N, any count.
//   Bits     each share is summed by its owner, in rank order.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded_sums.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return kSumRounds;
}

void emit(const Shape& shape, int round, Builder& b) {
  emit_sum(
      shape, round, [&](Rank r) { return shape.input_share(r); }, b);
  if (round + 1 < kSumRounds) return;
  const Slice share = shape.whole();
  const Slice decoded = b.accumulator(share);
  b.decode_sum(sum_of(shape, shape.rank, shape.count, b), decoded);
  b.settle(decoded, share);
}

}  // namespace

const Algorithm coded_sum_reduce_scatter = {"coded_sum_reduce_scatter",
                                            Collective::kReduceScatter,
                                            true,
                                            has_adding_codec,
                                            rounds,
                                            emit,
                                            true};

}  // namespace gossamer
