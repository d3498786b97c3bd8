// Split all-reduce of sparse codes: every rank sums its block of what everybody encoded, and hands
// the sum to everybody without further loss: packed while it is sparse, else as elements.
//   Source   the sparse split and all-gather of Renggli et al., "SparCML: high-performance sparse
//            communication for machine learning", SC 2019.
//   Steps    2 exchanges of N - 1 independent messages each.
//   Bytes    (N - 1)/N of the buffer's code, then (N - 1)/N of N times its entries, or of the
//            buffer once they fill it, per rank. Which, follows from what the codec promises; so a
//            sum is never longer than it would be dense.
//   Scratch  codes of two buffers, and packed sums of one; fp32 accumulators of one block where the
//            elements are others.
//   Needs    a sparse codec, as coded_one_shot needs; any N, any count, empty blocks included.
//   Bits     the same on all ranks: each block is summed by its owner, in rank order and fp32, and
//            nothing is lost after that.
//   Error    one encoding's.
//   Residual of each element of the input.

#include "algorithms/coded.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

// Where the packed sum of a rank's block lies; empty: it is sent as elements.
Slice packed_of(const Shape& shape, Rank rank, Builder& b) {
  return b.packed(shape.block(rank).count, CodePlaces{shape.size, 1}.from(rank));
}

void reduce_blocks(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  const Slice packed = packed_of(shape, shape.rank, b);
  const Slice sum = sum_coded_part(
      shape, own, [&](Rank r) { return input_of(shape.block(r)); }, b);
  if (packed.count == 0) return b.settle(sum, own);
  b.settle(sum, sum);
  b.pack(sum, packed);
}

void gather_blocks(const Shape& shape, Builder& b) {
  const auto sum_of = [&](Rank rank) {
    const Slice packed = packed_of(shape, rank, b);
    return packed.count > 0 ? packed : shape.block(rank);
  };
  send_to_others(shape, sum_of(shape.rank), b);
  take_other_parts(shape, sum_of, b);
  for (Rank rank = 0; rank < shape.size; ++rank) {
    const Slice theirs = packed_of(shape, rank, b);
    // What this rank has summed itself is in its place already, unless it has to be rounded.
    const bool in_place = rank == shape.rank && !shape.wide;
    if (theirs.count > 0 && !in_place) b.unpack(theirs, shape.block(rank));
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return reduce_blocks(shape, b);
  gather_blocks(shape, b);
}

}  // namespace

const Algorithm coded_split = {
    "coded_split", Collective::kAllReduce, true, has_sparse_codec, rounds, emit, true};

}  // namespace gossamer
