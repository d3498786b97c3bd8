// Two binary trees over the same ranks in which (almost) no rank is interior twice.
//
// Tree 0 hangs ranks by their lowest set bit: odd ranks are leaves, rank 0 is the root. Tree 1 is
// its mirror image for even sizes and the same tree shifted by one rank for odd sizes.
//
// Each tree carries half of the buffer.
//
// Threads    Pure.

#pragma once

#include <array>
#include <bit>

#include "gossamer/schedule.h"

namespace gossamer {

struct TreeNode {
  Rank parent = -1;
  std::array<Rank, 2> children = {-1, -1};  // -1: none; a lone child comes first
  int depth = 0;

  bool is_leaf() const { return children[0] < 0; }
};

inline int tree_depth(Rank size) {
  return std::bit_width(static_cast<uint32_t>(size - 1));
}

namespace detail {

inline Rank tree_parent(Rank rank, Rank size) {
  if (rank == 0) return -1;
  const Rank bit = rank & -rank;
  const Rank parent = (rank ^ bit) | (bit << 1);
  return parent < size ? parent : rank ^ bit;
}

inline TreeNode tree_node(Rank rank, Rank size) {
  TreeNode node;
  node.parent = tree_parent(rank, size);
  for (Rank up = node.parent; up >= 0; up = tree_parent(up, size)) ++node.depth;
  if (rank == 0) {
    if (size > 1) {
      node.children[0] = static_cast<Rank>(std::bit_ceil(static_cast<uint32_t>(size)) / 2);
    }
    return node;
  }
  Rank low = (rank & -rank) / 2;
  if (low == 0) return node;
  node.children[0] = rank - low;
  while (low > 0 && rank + low >= size) low /= 2;
  if (low > 0) node.children[1] = rank + low;
  return node;
}

}  // namespace detail

// The half of the buffer that tree `which` carries.
inline Slice tree_half(const Shape& shape, int which) {
  Shape halves;
  halves.size = 2;
  halves.count = shape.count;
  halves.granule = shape.granule;
  return halves.block(which);
}

// `rank` in tree `which`, 0 or 1.
inline TreeNode tree_node(Rank rank, Rank size, int which) {
  if (which == 0) return detail::tree_node(rank, size);
  const bool mirror = size % 2 == 0;
  const auto there = [&](Rank r) { return mirror ? size - 1 - r : (r + size - 1) % size; };
  const auto back = [&](Rank r) { return r < 0 ? r : mirror ? size - 1 - r : (r + 1) % size; };
  TreeNode node = detail::tree_node(there(rank), size);
  node.parent = back(node.parent);
  for (Rank& child : node.children) child = back(child);
  return node;
}

}  // namespace gossamer
