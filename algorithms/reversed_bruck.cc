// Reversed-Bruck all-reduce: a reduce-scatter that is Bruck's all-gather run backwards, then the
// all-gather itself.
//   Source   Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//            communications in multiport message-passing systems", IEEE TPDS 8(11), 1997; for any N
//            on circulant graphs: Traeff, "Optimal, non-pipelined reduce-scatter and allreduce
//            algorithms", arXiv 2410.14234, 2024.
//   Steps    2 ceil(log2 N) rounds one after another, of at most three messages each way (blocks
//            are contiguous but for the wrap and for one seam when N is no power of two).
//   Bytes    2(N - 1)/N of the buffer, per rank, for every N.
//   Scratch  none; blocks are never rotated.
//   Needs    nothing: any N, any count, empty blocks included; a commutative operation.
//   Bits     the same on all ranks; each block is summed by its owner's tree, in a fixed order.

#include <algorithm>
#include <array>
#include <bit>

#include "algorithms/list.h"

namespace gossamer {
namespace {

int log2_ceil(Rank size) {
  return std::bit_width(static_cast<uint32_t>(size - 1));
}

int rounds(const Shape& shape) {
  return 2 * log2_ceil(shape.size);
}

// Calls use(slice) for the one or two runs that `blocks` blocks from `first` on, wrapping, lie in.
template <class Use>
void for_each_run(const Shape& shape, Rank first, Rank blocks, Use use) {
  const Rank begin = shape.wrap(first);
  const Rank head = std::min(blocks, shape.size - begin);
  use(shape.range(begin, head));
  if (blocks > head) use(shape.range(0, blocks - head));
}

// All-gather: rank r holds blocks [r, r + d) and takes the next ones from r + d. Run backwards, r
// gives its sums of those blocks to r + d and folds what r - d has for blocks [r, r + m).
//
// `folded` blocks from its own on hold sums in the output by now; the others are still the input.
// A message is cut where that changes at either end, so that both ends cut it alike.
void scatter(const Shape& shape, int round, Builder& b) {
  const int log = log2_ceil(shape.size);
  const Rank d = 1 << (log - 1 - round);
  const Rank m = std::min(d, shape.size - d);
  const Rank first_m = shape.size - (1 << (log - 1));
  const Rank folded = round == 0 ? 0 : round == 1 ? first_m : std::max(first_m, 2 * d);
  std::array<Rank, 4> cuts = {0, std::clamp(folded, 0, m), std::clamp(folded - d, 0, m), m};
  std::sort(cuts.begin(), cuts.end());
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const Rank from = cuts[i];
    const Rank blocks = cuts[i + 1] - from;
    if (blocks == 0) continue;
    for_each_run(shape, shape.rank + d + from, blocks, [&](Slice run) {
      b.send(shape.wrap(shape.rank + d), d + from < folded ? run : input_of(run));
    });
    for_each_run(shape, shape.rank + from, blocks, [&](Slice run) {
      b.recv_reduce(shape.wrap(shape.rank - d), run, from < folded ? run : input_of(run));
    });
  }
}

void gather(const Shape& shape, int round, Builder& b) {
  const Rank d = 1 << round;
  const Rank m = std::min(d, shape.size - d);
  for_each_run(shape, shape.rank, m, [&](Slice run) { b.send(shape.wrap(shape.rank - d), run); });
  for_each_run(shape, shape.rank + d, m,
               [&](Slice run) { b.recv(shape.wrap(shape.rank + d), run); });
}

void emit(const Shape& shape, int round, Builder& b) {
  const int log = log2_ceil(shape.size);
  if (round < log) {
    scatter(shape, round, b);
  } else {
    gather(shape, round - log, b);
  }
  if (round == log - 1) b.settle(shape.block(shape.rank), shape.block(shape.rank));
}

}  // namespace

const Algorithm reversed_bruck = {
    "reversed_bruck", Collective::kAllReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
