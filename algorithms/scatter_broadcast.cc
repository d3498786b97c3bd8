// Scatter broadcast: the root deals blocks out, then everybody hands its block to everybody.
//   Source   the long-vector broadcast of Barnett, Gupta, Payne, Shuler, van de Geijn and Watts,
//            "Interprocessor collective communication library (InterCom)", SHPCC 1994; here with
//            direct exchanges.
//   Steps    1 round of N - 1 independent messages from the root, 1 exchange of N - 2 or N - 1.
//   Bytes    2(N - 1)/N of the buffer from the root, (N - 2)/N from the others.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root, empty blocks included.
//   Bits     copies only.

#include "algorithms/direct.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

// Rank r's block is block r; the root needs nobody's.
void deal(const Shape& shape, Builder& b) {
  if (!shape.is_root()) {
    b.recv(shape.root, shape.block(shape.rank));
    return;
  }
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.rank_at(i);
    b.send(peer, input_of(shape.block(peer)));
  }
}

void exchange(const Shape& shape, Builder& b) {
  const Slice own = shape.block(shape.rank);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    if (peer != shape.root) b.send(peer, shape.is_root() ? input_of(own) : own);
  }
  if (shape.is_root()) {
    b.copy(input_of(shape.whole()), shape.whole());
  } else {
    take_other_parts(
        shape, [&](Rank r) { return shape.block(r); }, b);
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  if (round == 0) return deal(shape, b);
  exchange(shape, b);
}

}  // namespace

const Algorithm scatter_broadcast = {
    "scatter_broadcast", Collective::kBroadcast, false, any_shape, rounds, emit};

}  // namespace gossamer
