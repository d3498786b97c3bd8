// Double binary tree broadcast: each half of the buffer goes down a tree of its own.
//   Source   Sanders, Speck and Traeff, "Two-tree algorithms for full bandwidth broadcast,
//            reduction and scan", Parallel Computing 35(12), 2009.
//   Steps    1 + ceil(log2(N - 1)) messages one after another.
//   Bytes    one buffer into every rank but the root; at most one out, for most.
//   Scratch  none.
//   Needs    nothing: any N, any count, any root.
//   Bits     copies only.

#include "algorithms/list.h"
#include "algorithms/rooted_trees.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return rooted_depth(shape);
}

void emit(const Shape& shape, int round, Builder& b) {
  for (int which : {0, 1}) {
    const Slice half = tree_half(shape, which);
    const TreeNode node = rooted_node(shape, which);
    if (node.depth == round + 1) b.recv(node.parent, half);
    if (node.depth != round) continue;
    for (Rank child : node.children) {
      if (child >= 0) b.send(child, shape.is_root() ? input_of(half) : half);
    }
  }
  if (shape.is_root() && round == 0) b.copy(input_of(shape.whole()), shape.whole());
}

}  // namespace

const Algorithm double_tree_broadcast = {
    "double_tree_broadcast", Collective::kBroadcast, false, any_shape, rounds, emit};

}  // namespace gossamer
