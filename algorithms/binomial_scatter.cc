// Binomial scatter: runs of shares shrink on their way down a tree from the root.
//   Source   Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication: theory,
//            practice, and experience", Concurrency and Computation 19(13), 2007.
//   Steps    ceil(log2 N) rounds one after another, of one message each, out of the root two where
//            its run of ranks wraps, and one per share when the call is cut into pieces.
//   Bytes    its subtree's shares into every rank, (N - 1) shares out of the root.
//   Scratch  the shares of its subtree on a rank that is neither the root nor a leaf.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/knomial.h"
#include "algorithms/list.h"
#include "algorithms/shares.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return knomial_levels(shape.size, 2);
}

// The shares of a subtree by place, this rank's first.
Slice subtree(const Shape& shape, Builder& b) {
  const auto shares = static_cast<uint64_t>(binomial_subtree(shape.place(), shape.size));
  return shares == 1 ? shape.whole() : b.scratch(shares * shape.count);
}

void take(const Shape& shape, Rank parent, Builder& b) {
  const Slice all = subtree(shape, b);
  if (parent != 0) {
    b.recv(shape.rank_at(parent), all);
  } else {
    uint64_t taken = 0;  // cut as it lies in the root's input
    for_each_share_run(shape, shape.rank, binomial_subtree(shape.place(), shape.size),
                       [&](Slice run) {
                         b.recv(shape.root, all.part(taken, run.count));
                         taken += run.count;
                       });
  }
  b.copy(all.part(0, shape.count), shape.whole());
}

void emit(const Shape& shape, int round, Builder& b) {
  const Rank place = shape.place();
  const KnomialNode node(place, shape.size, rounds(shape) - 1 - round, 2);
  if (node.parent >= 0) take(shape, node.parent, b);
  node.for_each_child([&](Rank child) {
    const Rank peer = shape.rank_at(child);
    const Rank shares = node.subtree(child);
    if (shape.is_root()) {
      for_each_share_run(shape, peer, shares, [&](Slice run) {
        b.send(peer, {Buffer::kInput, run.first, run.count});
      });
      return;
    }
    const auto first = static_cast<uint64_t>(child - place);
    b.send(peer, subtree(shape, b).part(first * shape.count,
                                        static_cast<uint64_t>(shares) * shape.count));
  });
  if (shape.is_root() && round == rounds(shape) - 1) {
    b.copy(shape.input_share(shape.rank), shape.whole());
  }
}

}  // namespace

const Algorithm binomial_scatter = {
    "binomial_scatter", Collective::kScatter, false, any_shape, rounds, emit};

}  // namespace gossamer
