// Two-shot reduce of codes: every rank sums its block of what everybody encoded, and hands the sum,
// encoded once more, to the root.
//   Source   the first half of coded_two_shot, and the long-vector reduce of Rabenseifner,
//            "Optimization of collective reduction operations", ICCS 2004.
//   Steps    1 exchange of N - 1 independent messages, 1 round of N - 1 into the root.
//   Bytes    (N - 1)/N of the buffer's code from the root, the buffer's code from the others.
//   Scratch  codes of three buffers, and a block but on the root; fp32 accumulators of one block
//            where the elements are others.
//   Needs    a codec as coded_two_shot needs; any N, any count, any root, empty blocks included.
//   Bits     the root alone has the result; each block is summed by its owner, in rank order and
//            fp32.
//   Error    two encodings'; one in the root's own block, but votes are counted there too.
//   Residual of each element of the input, and the owner's of its block, but not the root's unless
//            of votes.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_dense_codec(shape) || has_vote_codec(shape);
}

int rounds(const Shape&) {
  return 2;
}

// Of the sum of a rank's block, on that rank and on the root.
Slice code_of_sum(const Shape& shape, Rank rank, Builder& b) {
  return b.code(shape.block(rank).count, CodePlaces{shape.size, 1}.from(rank));
}

void reduce_blocks(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  const Slice result = shape.is_root() ? own : b.scratch(own.count);
  const Slice sum = sum_coded_part(
      shape, result, [&](Rank r) { return input_of(shape.block(r)); }, b);
  if (shape.is_root() && !has_vote_codec(shape)) return b.settle(sum, own);
  const Slice code = code_of_sum(shape, shape.rank, b);
  b.settle(sum, sum);
  b.encode(sum, code, own, Builder::Residual::kOwn);
  if (shape.is_root()) b.decode(code, own);
}

void gather_blocks(const Shape& shape, Builder& b) {
  if (!shape.is_root()) return b.send(shape.root, code_of_sum(shape, shape.rank, b));
  const auto code_of = [&](Rank rank) { return code_of_sum(shape, rank, b); };
  take_other_parts(shape, code_of, b);
  decode_others(
      shape, code_of, [&](Rank r) { return shape.block(r); }, b);
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return reduce_blocks(shape, b);
  gather_blocks(shape, b);
}

}  // namespace

const Algorithm coded_two_shot_reduce = {
    "coded_two_shot_reduce", Collective::kReduce, true, accepts, rounds, emit, true};

}  // namespace gossamer
