// Binomial trees over places 0 to N - 1, place 0 at the root: the parent of a place lacks its
// lowest set bit, so that a subtree is a run of places.
//
// Round k of a tree from the root down has edges of length 2^(rounds - 1 - k), from multiples of
// twice that; up to the root the same in reverse.
//
// Threads    Pure.

#pragma once

#include <algorithm>
#include <bit>

#include "gossamer/types.h"

namespace gossamer {

inline int binomial_rounds(Rank size) {
  return std::bit_width(static_cast<uint32_t>(size - 1));
}

// What a place has to do with the edges of one length.
struct BinomialEdge {
  BinomialEdge(Rank place, Rank size, Rank length)
      : is_parent(place % (2 * length) == 0 && place + length < size),
        is_child(place % (2 * length) == length),
        other(is_parent ? place + length : place - length),
        subtree(std::min(length, size - (is_parent ? other : place))) {}

  bool is_parent;
  bool is_child;
  Rank other;    // the place at the other end, where there is one
  Rank subtree;  // places in the child's subtree, itself included
};

// Places in the subtree of `place`, itself included.
inline Rank binomial_subtree(Rank place, Rank size) {
  return place == 0 ? size : std::min(place & -place, size - place);
}

}  // namespace gossamer
