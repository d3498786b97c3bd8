// One-shot all-reduce: everybody sends everything to everybody; each rank sums all of it.
//   Source   the direct all-to-all broadcast of Thakur, Rabenseifner and Gropp, "Optimization of
//            collective communication operations in MPICH", Int. J. High Perform. Comput. Appl.
//            19(1), 2005, followed by a local sum.
//   Steps    1 exchange of N - 1 independent messages.
//   Bytes    N - 1 buffers, per rank.
//   Scratch  out of place none; in place one buffer, or none for N = 2 and for ranks 0 and 1 when
//            sends are eager; wide: fp32 accumulators of the whole buffer, rounded once.
//   Needs    nothing: any N, any count.
//   Bits     the same on all ranks: ((x0 + x1) + x2) + ..., where x0 + x1 may be x1 + x0.

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 1;
}

// Input and output apart, or eager sends, or neither? In place without eager sends, a fold into
// the output has to wait until every peer has taken this rank's input. If every rank waited like
// that before its first fold, none would ever receive; so only a rank's last fold goes into the
// output, and rank N - 1's last is a local one. Then nobody's arrival waits for anybody's last.
void fold(const Shape& shape, Builder& b) {
  const Slice whole = shape.whole();
  const Slice own = input_of(whole);
  const bool eager = shape.count <= shape.eager_count;
  const Rank last = shape.size - 1;
  const auto target = [&](bool own_is_in, bool is_last) {
    const bool free = !shape.in_place || (eager && own_is_in) || is_last;
    return free ? whole : b.scratch(shape.count);
  };

  Slice sum;
  Rank next = 1;  // the rank whose turn it is
  if (shape.rank == 0) {
    sum = own;
  } else if (shape.rank == 1 && (last > 1 || !shape.in_place || eager)) {
    sum = target(true, last == 1);
    b.recv_reduce(0, sum, own);
    next = 2;
  } else {
    sum = target(false, false);
    b.recv(0, sum);
  }
  for (; next <= last; ++next) {
    const Slice into = target(next >= shape.rank, next == last);
    if (next != shape.rank) {
      b.recv_reduce(next, into, sum);
    } else if (into == sum) {
      b.reduce(own, sum);
    } else {
      b.reduce(sum, into);  // in place: `into` holds this rank's input
    }
    sum = into;
  }
  b.settle(whole, whole);
}

void fold_wide(const Shape& shape, Builder& b) {
  const Slice whole = shape.whole();
  const Slice sum = b.accumulator(whole);
  for (Rank next = 0; next < shape.size; ++next) {
    if (next == shape.rank && next == 0) {
      b.copy(input_of(whole), sum);
    } else if (next == shape.rank) {
      b.reduce(input_of(whole), sum);
    } else if (next == 0) {
      b.recv(next, sum);
    } else {
      b.recv_reduce(next, sum);
    }
  }
  b.settle(sum, whole);
}

void emit(const Shape& shape, int, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    b.send(shape.wrap(shape.rank + i), input_of(shape.whole()));
  }
  if (shape.wide) {
    fold_wide(shape, b);
  } else {
    fold(shape, b);
  }
}

}  // namespace

const Algorithm one_shot = {"one_shot", Collective::kAllReduce, true, any_shape, rounds, emit};

}  // namespace gossamer
