// All-reduce of codes that are added as they are: every rank sums the codes of its block, and hands
// that sum to everybody, who decode it.
//   Source   the homomorphic aggregation of Li, Basat, Vargaftik, Lao, Xu, Mitzenmacher and Yu,
//            "THC: accelerating distributed deep learning using tensor homomorphic compression",
//            NSDI 2024, with ranks in the place of its switch.
//   Steps    2 exchanges of N - 1 independent messages each; 2 more, of few bytes, where the codec
//            has numbers to agree on.
//   Bytes    (N - 1)/N of the buffer's code, and (N - 1)/N of its sum's, per rank; and twice
//            (N - 1)/N of its numbers.
//   Scratch  codes of two buffers and sums of one; fp32 accumulators of the buffer where the
//            elements are others.
//   Needs    a codec whose codes are added as they are; any N, any count, empty blocks included.
//   Bits     the same on all ranks: each block's codes are added by its owner, in rank order, and
//            all decode that sum.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded_sums.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return kSumRounds + 1;
}

void gather_sums(const Shape& shape, Builder& b) {
  const auto sum_from = [&](Rank rank) { return sum_of(shape, rank, shape.block(rank).count, b); };
  send_to_others(shape, sum_from(shape.rank), b);
  take_other_parts(shape, sum_from, b);
  for (Rank i = 0; i < shape.size; ++i) {
    const Rank rank = shape.wrap(shape.rank + i);
    const Slice block = shape.block(rank);
    const Slice decoded = b.accumulator(block);
    b.decode_sum(sum_from(rank), decoded);
    b.settle(decoded, block);
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == kSumRounds) return gather_sums(shape, b);
  emit_sum(
      shape, round, [&](Rank r) { return input_of(shape.block(r)); }, b);
}

}  // namespace

const Algorithm coded_sum = {
    "coded_sum", Collective::kAllReduce, true, has_adding_codec, rounds, emit, true};

}  // namespace gossamer
