// The two trees of a rooted collective: the root above two binary trees over all other ranks, in
// which (almost) none of them is interior twice. Each tree carries half of the buffer.
//
// Threads    Pure.

#pragma once

#include "algorithms/tree.h"
#include "gossamer/schedule.h"

namespace gossamer {

inline int rooted_depth(const Shape& shape) {
  return 1 + tree_depth(shape.size - 1);
}

// This rank's node in tree `which`, 0 or 1, by rank; the root is at depth 0.
inline TreeNode rooted_node(const Shape& shape, int which) {
  const Rank others = shape.size - 1;
  if (shape.is_root()) {
    TreeNode root;
    for (Rank i = 0; i < others; ++i) {
      if (tree_node(i, others, which).parent < 0) root.children[0] = shape.rank_at(i + 1);
    }
    return root;
  }
  TreeNode node = tree_node(shape.place() - 1, others, which);
  node.parent = node.parent < 0 ? shape.root : shape.rank_at(node.parent + 1);
  for (Rank& child : node.children) {
    if (child >= 0) child = shape.rank_at(child + 1);
  }
  ++node.depth;
  return node;
}

}  // namespace gossamer
