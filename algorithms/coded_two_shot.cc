// Two-shot all-reduce of codes: every rank sums its block of what everybody encoded, and hands the
// sum, encoded once more, to everybody.
//   Source   the compressed all-reduce of Tang et al., "1-bit Adam: communication efficient
//            large-scale training with Adam's convergence speed", ICML 2021.
//   Steps    2 exchanges of N - 1 independent messages each.
//   Bytes    2(N - 1)/N of the buffer's code, per rank.
//   Scratch  codes of three buffers; fp32 accumulators of one block where the elements are others.
//   Needs    a codec that is not sparse, or one of votes: the code of a sum of votes is what most
//            ranks say; any N, any count, empty blocks included.
//   Bits     the same on all ranks: each block is summed by its owner, in rank order and fp32, and
//            the owner keeps what its code decodes to.
//   Error    two encodings', whatever N is.
//   Residual of each element of the input, and the owner's of its block.

#include "algorithms/coded_two_shot.h"

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_dense_codec(shape) || has_vote_codec(shape);
}

int rounds(const Shape&) {
  return kCodedTwoShotRounds;
}

void reduce_blocks(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  const Slice sum = sum_coded_part(
      shape, own, [&](Rank r) { return input_of(shape.block(r)); }, b);
  b.settle(sum, sum);
  const Slice code = b.code(own.count, CodePlaces{shape.size, 1}.to(shape.rank));
  b.encode(sum, code, own, Builder::Residual::kOwn);
}

void gather_blocks(const Shape& shape, Builder& b) {
  const CodePlaces places{shape.size, 1};
  const Slice own = shape.block(shape.rank);
  const Slice code = b.code(own.count, places.to(shape.rank));
  send_to_others(shape, code, b);
  const auto code_from = [&](Rank rank) {
    return b.code(shape.block(rank).count, places.from(rank));
  };
  take_other_parts(shape, code_from, b);
  b.decode(code, own);
  decode_others(
      shape, code_from, [&](Rank r) { return shape.block(r); }, b);
}

}  // namespace

void emit_coded_two_shot(const Shape& shape, int round, Builder& b) {
  if (round == 0) return reduce_blocks(shape, b);
  gather_blocks(shape, b);
}

const Algorithm coded_two_shot = {"coded_two_shot", Collective::kAllReduce, true, accepts,
                                  rounds,           emit_coded_two_shot,    true};

}  // namespace gossamer
