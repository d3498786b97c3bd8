// Ring all-reduce of codes: every rank decodes the sum so far, adds its own and encodes it again.
//   Source   the ring of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters
//            of workstations", J. Parallel Distrib. Comput. 69(2), 2009, with the requantisation at
//            every hop of Hivemind and PCCL, and a residual at every hop to make up for it.
//   Steps    2(N - 1) messages one after another.
//   Bytes    2(N - 1)/N of the buffer's code, per rank.
//   Scratch  codes of two buffers; fp32 accumulators of it where the elements are others.
//   Needs    a codec as coded_one_shot needs, that is not sparse; any N, any count, empty blocks
//            included.
//   Bits     the same on all ranks; a block's sum is encoded once and passed on as that code.
//   Error    grows with N: a block is encoded N times, and its sum grows on the way. So the planner
//            takes it only where it is much faster than others.
//   Residual of each element: every rank encodes every element once, as its input, as a sum so far,
//            or as the whole sum.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return 2 * (shape.size - 1);
}

// Codes that are sent in a round, and those that come.
Slice sent(const Shape& shape, int round, Builder& b) {
  return b.code(shape.block(shape.rank - round).count, 2 * round);
}
Slice taken(const Shape& shape, int round, Builder& b) {
  return b.code(shape.block(shape.rank - round - 1).count, 2 * round + 1);
}

// Round k, as of the plain ring: block (rank - k) goes on, with this rank's input in it, and block
// (rank - k - 1) comes.
void reduce(const Shape& shape, int round, Builder& b) {
  const Slice outgoing = shape.block(shape.rank - round);
  const Slice incoming = shape.block(shape.rank - round - 1);
  const Slice code = sent(shape, round, b);
  b.encode(round == 0 ? input_of(outgoing) : b.accumulator(outgoing), code, outgoing,
           Builder::Residual::kOfElements);
  b.send(shape.next(), code);
  const Slice sum = b.accumulator(incoming);
  b.copy(input_of(incoming), sum);
  b.recv(shape.prev(), taken(shape, round, b));
  b.decode_reduce(taken(shape, round, b), sum);
  if (round == shape.size - 2) b.settle(sum, sum);
}

// The owner's code of the whole sum goes round; everybody decodes that.
void gather(const Shape& shape, int round, Builder& b) {
  const Slice outgoing = shape.block(shape.rank - round);
  const Slice incoming = shape.block(shape.rank - round - 1);
  const bool own = round == shape.size - 1;
  const Slice code = own ? sent(shape, round, b) : taken(shape, round - 1, b);
  if (own) {
    b.encode(b.accumulator(outgoing), code, outgoing, Builder::Residual::kOfElements);
  }
  b.send(shape.next(), code);
  if (own) b.decode(code, outgoing);
  b.recv(shape.prev(), taken(shape, round, b));
  b.decode(taken(shape, round, b), incoming);
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round < shape.size - 1) {
    reduce(shape, round, b);
  } else {
    gather(shape, round, b);
  }
}

}  // namespace

const Algorithm coded_ring = {
    "coded_ring", Collective::kAllReduce, false, has_dense_codec, rounds, emit, true};

}  // namespace gossamer
