// Bruck reduce-scatter: Bruck's all-gather run backwards; what a rank sums halves in every round.
//   Source   Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//            communications in multiport message-passing systems", IEEE TPDS 8(11), 1997; for any N
//            on circulant graphs: Traeff, "Optimal, non-pipelined reduce-scatter and allreduce
//            algorithms", arXiv 2410.14234, 2024.
//   Steps    ceil(log2 N) rounds one after another, of at most four messages each way (shares are
//            contiguous but for the wrap and the seams between input and sums); one per share when
//            the call is cut into pieces.
//   Bytes    N - 1 shares, per rank.
//   Scratch  the sums of up to N/2 shares.
//   Needs    nothing: any N, any count; a commutative operation.
//   Bits     each share is summed by its owner's tree, in a fixed order.

#include <algorithm>
#include <array>
#include <bit>

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return std::bit_width(static_cast<uint32_t>(shape.size - 1));
}

// One round: rank r gives its sums of shares [r + d, r + d + m) to r + d and folds what r - d has
// for shares [r, r + m). Of the shares from its own on, `folded` are sums by now, in scratch; the
// others are still the input.
struct Round {
  Round(const Shape& shape, int round) {
    const int log = rounds(shape);
    d = 1 << (log - 1 - round);
    m = std::min(d, shape.size - d);
    const Rank first_m = shape.size - (1 << (log - 1));
    folded = round == 0 ? 0 : round == 1 ? first_m : std::max(first_m, 2 * d);
    sums = std::max(first_m, (1 << log) / 4);
  }
  Rank d, m, folded;
  Rank sums;  // most that are kept at a time
};

// Shares [from, from + shares) counted from `rank`, which the caller has seen not to wrap.
Slice run_of(const Shape& shape, const Round& round, Rank rank, Rank from, Rank shares,
             Builder& b) {
  const uint64_t count = static_cast<uint64_t>(shares) * shape.count;
  if (from < round.folded) {
    const Slice sums = b.scratch(static_cast<uint64_t>(round.sums) * shape.count);
    return sums.part(static_cast<uint64_t>(from) * shape.count, count);
  }
  return {Buffer::kInput, shape.share(rank + from).first, count};
}

// Calls use(from, shares) for the runs that [0, m), counted from the share of `target`, is cut
// into: where input becomes sums at either end, where the input wraps, and between shares that do
// not touch.
template <class Use>
void for_each_run(const Shape& shape, const Round& round, Rank target, Use use) {
  if (!shape.shares_touch()) {
    for (Rank i = 0; i < round.m; ++i) use(i, 1);
    return;
  }
  const auto cut = [&](Rank at) { return std::clamp(at, 0, round.m); };
  std::array<Rank, 5> cuts = {0, cut(round.folded), cut(round.folded - round.d),
                              cut(shape.size - target), round.m};
  std::sort(cuts.begin(), cuts.end());
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    if (cuts[i + 1] > cuts[i]) use(cuts[i], cuts[i + 1] - cuts[i]);
  }
}

void emit(const Shape& shape, int index, Builder& b) {
  const Round round(shape, index);
  const Rank to = shape.wrap(shape.rank + round.d);
  for_each_run(shape, round, to, [&](Rank from, Rank shares) {
    b.send(to, run_of(shape, round, shape.rank, round.d + from, shares, b));
  });
  const bool last = index == rounds(shape) - 1;
  for_each_run(shape, round, shape.rank, [&](Rank from, Rank shares) {
    const Slice operand = run_of(shape, round, shape.rank, from, shares, b);
    Round after = round;
    after.folded = round.m;
    const Slice sum = last ? shape.whole() : run_of(shape, after, shape.rank, from, shares, b);
    b.recv_reduce(shape.wrap(shape.rank - round.d), sum, operand);
  });
  if (last) b.settle(shape.whole(), shape.whole());
}

}  // namespace

const Algorithm bruck_reduce_scatter = {
    "bruck_reduce_scatter", Collective::kReduceScatter, false, any_shape, rounds, emit};

}  // namespace gossamer
