// Direct exchanges: what a rank has for each of the others goes there in one message.
//
// Threads    Pure.

#pragma once

#include "gossamer/schedule.h"

namespace gossamer {

// Every rank sums its own part of everybody's input into `result`; part_of(rank) is what that rank
// sums.
//
// Rank r folds from r + 1, r + 2, ...: everybody starts with another peer, and every sender serves
// first whoever waits for it first.
template <class PartOf>
void sum_own_part(const Shape& shape, Slice result, PartOf part_of, Builder& b) {
  const Slice own = part_of(shape.rank);
  const Slice sum = b.accumulator(result);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    b.send(peer, part_of(peer));
  }
  if (shape.wide) b.copy(own, sum);
  for (Rank i = 1; i < shape.size; ++i) {
    const bool first = i == 1 && !shape.wide;
    b.recv_reduce(shape.wrap(shape.rank + i), sum, first ? own : sum);
  }
  b.settle(sum, result);
}

// The same slice to every other rank: first to that which waits for it first.
inline void send_to_others(const Shape& shape, Slice slice, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) b.send(shape.wrap(shape.rank - i), slice);
}

// Takes every other rank's part, from that rank, into part_of(rank): those first who send here
// first.
template <class PartOf>
void take_other_parts(const Shape& shape, PartOf part_of, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.recv(peer, part_of(peer));
  }
}

}  // namespace gossamer
