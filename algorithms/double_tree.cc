// Double binary tree all-reduce: each half of the buffer is reduced up one of two trees and
// broadcast down it again.
//   Source   Sanders, Speck and Traeff, "Two-tree algorithms for full bandwidth broadcast,
//            reduction and scan", Parallel Computing 35(12), 2009.
//   Steps    2 ceil(log2 N) messages one after another (the depth of the trees, up and down).
//   Bytes    at most 2 buffers sent and 2 received per rank, about 1 each for most.
//   Scratch  none.
//   Needs    nothing: any N, any count.
//   Bits     the same on all ranks; the root's sum is broadcast.

#include "algorithms/list.h"
#include "algorithms/tree.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return 2 * tree_depth(shape.size);
}

// The edge above a node at depth k carries its sum in round depth - k: the deepest leaves begin.
void up(const TreeNode& node, Slice part, int child_depth, Builder& b) {
  if (node.depth == child_depth) b.send(node.parent, node.is_leaf() ? input_of(part) : part);
  if (node.depth + 1 != child_depth) return;
  Slice sum = input_of(part);
  for (Rank child : node.children) {
    if (child < 0) continue;
    b.recv_reduce(child, part, sum);
    sum = part;
  }
  if (node.depth == 0) b.settle(part, part);
}

void down(const TreeNode& node, Slice part, int child_depth, Builder& b) {
  if (node.depth == child_depth) b.recv(node.parent, part);
  if (node.depth + 1 != child_depth) return;
  for (Rank child : node.children) {
    if (child >= 0) b.send(child, part);
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  const int depth = tree_depth(shape.size);
  for (int which : {0, 1}) {
    const TreeNode node = tree_node(shape.rank, shape.size, which);
    if (round < depth) {
      up(node, tree_half(shape, which), depth - round, b);
    } else {
      down(node, tree_half(shape, which), round - depth + 1, b);
    }
  }
}

}  // namespace

const Algorithm double_tree = {"double_tree", Collective::kAllReduce, false, any_shape, rounds,
                               emit};

}  // namespace gossamer
