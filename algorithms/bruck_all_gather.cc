// Bruck all-gather: what a rank holds doubles in every round.
//   Source   Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//            communications in multiport message-passing systems", IEEE TPDS 8(11), 1997; here
//            without its final rotation, as shares arrive where they belong.
//   Steps    ceil(log2 N) rounds one after another; one or two messages each way per round, or one
//            per share when the call is cut into pieces.
//   Bytes    N - 1 shares, per rank.
//   Scratch  none.
//   Needs    nothing: any N, any count.
//   Bits     copies only.

#include <bit>

#include "algorithms/list.h"
#include "algorithms/shares.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return std::bit_width(static_cast<uint32_t>(shape.size - 1));
}

// Rank r holds shares [r, r + d), wrapping, and takes the next ones from r + d.
void emit(const Shape& shape, int round, Builder& b) {
  const Rank d = 1 << round;
  const Rank m = std::min(d, shape.size - d);
  if (round == 0) {
    const Slice own = {Buffer::kInput, 0, shape.count};
    b.send(shape.prev(), own);
    b.copy(own, shape.share(shape.rank));
  } else {
    for_each_share_run(shape, shape.rank, m,
                       [&](Slice run) { b.send(shape.wrap(shape.rank - d), run); });
  }
  for_each_share_run(shape, shape.rank + d, m,
                     [&](Slice run) { b.recv(shape.wrap(shape.rank + d), run); });
}

}  // namespace

const Algorithm bruck_all_gather = {
    "bruck_all_gather", Collective::kAllGather, false, any_shape, rounds, emit};

}  // namespace gossamer
