// Recursive doubling all-reduce: the whole vector is exchanged at distances 1, 2, 4, ...
//   Source   Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//            in MPICH", Int. J. High Perform. Comput. Appl. 19(1), 2005.
//   Steps    log2 N exchanges one after another; 2 more when N is no power of two.
//   Bytes    floor(log2 N) buffers per active rank, one more for those that serve an idle one.
//   Scratch  one buffer, none when sends are eager or one exchange is enough out of place.
//   Needs    nothing: any N. The 2 (N - P) lowest ranks, P the largest power of two in N, work in
//            pairs: the even one hands its input to the odd one and gets the result back.
//   Bits     the same on all ranks: both ends of an exchange add the same two values.

#include <bit>

#include "algorithms/list.h"

namespace gossamer {
namespace {

struct Layout {
  explicit Layout(const Shape& shape)
      : active(static_cast<Rank>(std::bit_floor(static_cast<uint32_t>(shape.size)))),
        pairs(shape.size - active),
        doublings(std::countr_zero(static_cast<uint32_t>(active))),
        paired(shape.rank < 2 * pairs),
        idle(paired && shape.rank % 2 == 0) {}

  Rank index_of(Rank rank) const { return rank < 2 * pairs ? rank / 2 : rank - pairs; }
  Rank rank_of(Rank index) const { return index < pairs ? 2 * index + 1 : index + pairs; }

  Rank active;
  Rank pairs;
  int doublings;
  bool paired;
  bool idle;
};

int rounds(const Shape& shape) {
  const Layout layout(shape);
  return layout.doublings + (layout.pairs > 0 ? 2 : 0);
}

// Where this rank's sum lies after `done` exchanges. A sum may not be folded onto itself while it
// is being sent, unless sends are eager: two buffers take turns, so that the last is the output
// where the start leaves a choice (in place it does not, but for the fold with an idle peer).
Slice sum_after(const Shape& shape, const Layout& layout, int done, Builder& b) {
  const Slice whole = shape.whole();
  if (done == 0 && !layout.paired) return input_of(whole);
  if (shape.count <= shape.eager_count) return whole;
  const bool starts_in_output = shape.in_place && !layout.paired;
  const int turns = starts_in_output ? done : layout.doublings - done;
  return turns % 2 == 0 ? whole : b.scratch(shape.count);
}

void emit(const Shape& shape, int round, Builder& b) {
  const Layout layout(shape);
  const Slice whole = shape.whole();
  const int exchange = layout.pairs > 0 ? round - 1 : round;
  if (exchange < 0) {
    if (layout.idle) b.send(shape.rank + 1, input_of(whole));
    if (layout.paired && !layout.idle) {
      b.recv_reduce(shape.rank - 1, sum_after(shape, layout, 0, b), input_of(whole));
    }
  } else if (exchange == layout.doublings) {
    if (layout.idle) b.recv(shape.rank + 1, whole);
    if (layout.paired && !layout.idle) b.send(shape.rank - 1, whole);
  } else if (!layout.idle) {
    const Rank peer = layout.rank_of(layout.index_of(shape.rank) ^ (1 << exchange));
    const Slice before = sum_after(shape, layout, exchange, b);
    const Slice after = sum_after(shape, layout, exchange + 1, b);
    b.send(peer, before);
    b.recv_reduce(peer, after, before);
    if (exchange + 1 == layout.doublings) b.settle(after, whole);
  }
}

}  // namespace

const Algorithm recursive_doubling = {
    "recursive_doubling", Collective::kAllReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
