// k-nomial trees over places 0 to N - 1, place 0 at the root: the parent of a place lacks its
// lowest digit in base k that is not 0, so that a subtree is a run of places. Binomial: k = 2.
//
// An edge of level l spans 1 to k - 1 times k^l places, from a multiple of k^(l + 1). What goes
// down the tree passes the highest level first, what goes up level 0.
//
// Threads    Pure.

#pragma once

#include <algorithm>

#include "gossamer/schedule.h"

namespace gossamer {

inline int knomial_levels(Rank size, Rank radix) {
  int levels = 0;
  for (int64_t reach = 1; reach < size; reach *= radix) ++levels;
  return levels;
}

// A place's edges of one level: to its parent, or to children, or none.
struct KnomialNode {
  KnomialNode(Rank place, Rank ranks, int level, Rank radix) : size(ranks) {
    for (int l = 0; l < level; ++l) length *= radix;
    if (place % length != 0) return;
    const auto above = static_cast<Rank>(place % (length * radix));
    if (above != 0) {
      parent = place - above;
      return;
    }
    first_child = place + length;
    end = std::min<int64_t>(place + length * radix, size);
  }

  bool is_parent() const { return first_child < end; }
  // Calls use(child) for the children at this level, the nearest first.
  template <class Use>
  void for_each_child(Use use) const {
    for (int64_t child = first_child; child < end; child += length) use(static_cast<Rank>(child));
  }
  // Places in the subtree of a place that hangs at this level, itself included.
  Rank subtree(Rank child) const {
    return static_cast<Rank>(std::min<int64_t>(length, size - child));
  }

  Rank size;
  Rank parent = -1;    // -1: it does not hang at this level
  int64_t length = 1;  // from one child to the next
  int64_t first_child = 0;
  int64_t end = 0;
};

// Places in the subtree of `place` of a binomial tree, itself included.
inline Rank binomial_subtree(Rank place, Rank size) {
  return place == 0 ? size : std::min(place & -place, size - place);
}

// Whether a place has children at a level below this one.
inline bool has_children_below(Rank place, Rank size, int level, Rank radix) {
  return level > 0 && place % radix == 0 && place + 1 < size;
}

// Round `round` of knomial_levels() of a broadcast.
inline void emit_knomial_broadcast(const Shape& shape, Rank radix, int round, Builder& b) {
  const Slice whole = shape.whole();
  const int level = knomial_levels(shape.size, radix) - 1 - round;
  const KnomialNode node(shape.place(), shape.size, level, radix);
  if (node.parent >= 0) b.recv(shape.rank_at(node.parent), whole);
  node.for_each_child(
      [&](Rank child) { b.send(shape.rank_at(child), shape.is_root() ? input_of(whole) : whole); });
  if (shape.is_root() && level == 0) b.copy(input_of(whole), whole);
}

// Round `round` of knomial_levels() of a reduce: whoever sends has folded all of its subtree.
inline void emit_knomial_reduce(const Shape& shape, Rank radix, int round, Builder& b) {
  const Slice whole = shape.whole();
  const Rank place = shape.place();
  const KnomialNode node(place, shape.size, round, radix);
  const auto sum = [&] { return shape.is_root() ? whole : b.scratch(shape.count); };
  bool has_sum = has_children_below(place, shape.size, round, radix);
  if (node.parent >= 0) b.send(shape.rank_at(node.parent), has_sum ? sum() : input_of(whole));
  node.for_each_child([&](Rank child) {
    b.recv_reduce(shape.rank_at(child), sum(), has_sum ? sum() : input_of(whole));
    has_sum = true;
  });
  if (shape.is_root() && round == knomial_levels(shape.size, radix) - 1) b.settle(whole, whole);
}

template <Rank kRadix>
constexpr Algorithm knomial_broadcast_algorithm(const char* name) {
  return {name,
          Collective::kBroadcast,
          false,
          any_shape,
          [](const Shape& shape) { return knomial_levels(shape.size, kRadix); },
          [](const Shape& shape, int round, Builder& b) {
            emit_knomial_broadcast(shape, kRadix, round, b);
          }};
}

template <Rank kRadix>
constexpr Algorithm knomial_reduce_algorithm(const char* name) {
  return {name,
          Collective::kReduce,
          false,
          any_shape,
          [](const Shape& shape) { return knomial_levels(shape.size, kRadix); },
          [](const Shape& shape, int round, Builder& b) {
            emit_knomial_reduce(shape, kRadix, round, b);
          }};
}

}  // namespace gossamer
