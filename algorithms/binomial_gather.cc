// Binomial gather: runs of shares grow on their way up a tree to the root.
//   Source   Chan, Heimlich, Purkayastha and van de Geijn, "Collective communication: theory,
//            practice, and experience", Concurrency and Computation 19(13), 2007.
//   Steps    ceil(log2 N) rounds one after another, of one message each, into the root two where
//            its run of ranks wraps, and one per share when the call is cut into pieces.
//   Bytes    its subtree's shares out of every rank, (N - 1) shares into the root.
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
  const Slice own = {Buffer::kInput, 0, shape.count};
  const auto shares = static_cast<uint64_t>(binomial_subtree(shape.place(), shape.size));
  return shares == 1 ? own : b.scratch(shares * shape.count);
}

void send_up(const Shape& shape, Rank parent, Builder& b) {
  const Slice all = subtree(shape, b);
  if (parent != 0) {
    b.send(shape.rank_at(parent), all);
    return;
  }
  uint64_t sent = 0;  // cut as it lies in the root's output
  for_each_share_run(shape, shape.rank, binomial_subtree(shape.place(), shape.size),
                     [&](Slice run) {
                       b.send(shape.root, all.part(sent, run.count));
                       sent += run.count;
                     });
}

// The nearest first: whoever sends has all of its subtree.
void emit(const Shape& shape, int round, Builder& b) {
  const Slice own = {Buffer::kInput, 0, shape.count};
  const Rank place = shape.place();
  const KnomialNode node(place, shape.size, round, 2);
  if (node.parent >= 0) send_up(shape, node.parent, b);
  node.for_each_child([&](Rank child) {
    const Rank peer = shape.rank_at(child);
    const Rank shares = node.subtree(child);
    if (shape.is_root()) {
      for_each_share_run(shape, peer, shares, [&](Slice run) { b.recv(peer, run); });
      return;
    }
    const Slice all = subtree(shape, b);
    if (round == 0) b.copy(own, all.part(0, shape.count));
    const auto first = static_cast<uint64_t>(child - place);
    b.recv(peer, all.part(first * shape.count, static_cast<uint64_t>(shares) * shape.count));
  });
  if (shape.is_root() && round == 0) b.copy(own, shape.share(shape.rank));
}

}  // namespace

const Algorithm binomial_gather = {
    "binomial_gather", Collective::kGather, false, any_shape, rounds, emit};

}  // namespace gossamer
