// Double binary tree reduce: each half of the buffer is summed up a tree of its own.
//   Source   Sanders, Speck and Traeff, "Two-tree algorithms for full bandwidth broadcast,
//            reduction and scan", Parallel Computing 35(12), 2009.
//   Steps    1 + ceil(log2(N - 1)) messages one after another.
//   Bytes    one buffer out of every rank but the root; at most one in, for most.
//   Scratch  half a buffer where a rank that is not the root is interior in a tree.
//   Needs    nothing: any N, any count, any root; a commutative operation.
//   Bits     the root alone has the result; the trees are fixed.

#include "algorithms/list.h"
#include "algorithms/rooted_trees.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return rooted_depth(shape);
}

// The edge above a node at depth k carries its sum in round depth - k: the deepest leaves begin.
void emit(const Shape& shape, int round, Builder& b) {
  const int child_depth = rounds(shape) - round;
  for (int which : {0, 1}) {
    const Slice half = tree_half(shape, which);
    const TreeNode node = rooted_node(shape, which);
    const auto sum = [&] { return shape.is_root() ? half : b.scratch(half.count, which); };
    if (node.depth == child_depth) b.send(node.parent, node.is_leaf() ? input_of(half) : sum());
    if (node.depth + 1 != child_depth) continue;
    Slice operand = input_of(half);
    for (Rank child : node.children) {
      if (child < 0) continue;
      b.recv_reduce(child, sum(), operand);
      operand = sum();
    }
    if (shape.is_root()) b.settle(half, half);
  }
}

}  // namespace

const Algorithm double_tree_reduce = {
    "double_tree_reduce", Collective::kReduce, false, any_shape, rounds, emit};

}  // namespace gossamer
