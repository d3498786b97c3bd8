// Scatter broadcast of codes: the root deals the codes of its blocks out, then everybody hands the
// code it got to everybody.
//   Source   the long-vector broadcast of Barnett, Gupta, Payne, Shuler, van de Geijn and Watts,
//            "Interprocessor collective communication library (InterCom)", SHPCC 1994; here with
//            direct exchanges.
//   Steps    1 round of N - 1 independent messages from the root, 1 exchange of N - 2 or N - 1.
//   Bytes    2(N - 1)/N of the buffer's code from the root, (N - 2)/N from the others.
//   Scratch  a code of the buffer.
//   Needs    a codec; any N, any count, any root, empty blocks included.
//   Bits     the same on all ranks, the root too: all decode the same codes.
//   Error    one encoding's.
//   Residual of each element of the root's input.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

Slice code_of(const Shape& shape, Rank rank, Builder& b) {
  return b.code(shape.block(rank).count, rank);
}

// Rank r's block is block r; the root needs nobody's. It encodes first what it sends first.
void deal(const Shape& shape, Builder& b) {
  if (!shape.is_root()) {
    b.recv(shape.root, code_of(shape, shape.rank, b));
    return;
  }
  for (Rank i = 1; i <= shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    const Slice block = shape.block(peer);
    const Slice code = code_of(shape, peer, b);
    b.encode(input_of(block), code, block, Builder::Residual::kOfElements);
    if (peer != shape.rank) b.send(peer, code);
  }
}

void exchange(const Shape& shape, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    if (peer != shape.root) b.send(peer, code_of(shape, shape.rank, b));
  }
  if (!shape.is_root()) {
    take_other_parts(
        shape, [&](Rank r) { return code_of(shape, r, b); }, b);
  }
  for (Rank i = 0; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.decode(code_of(shape, peer, b), shape.block(peer));
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return deal(shape, b);
  exchange(shape, b);
}

}  // namespace

const Algorithm coded_scatter_broadcast = {
    "coded_scatter_broadcast", Collective::kBroadcast, true, has_codec, rounds, emit, true};

}  // namespace gossamer
