// What hierarchical all-reduces do inside a host: direct exchanges among its ranks, each of which
// owns a block of the buffer.
//
// Threads    Pure.

#pragma once

#include "algorithms/hosts.h"

namespace gossamer {

// The buffer cut among the ranks of this host.
inline Shape inside(const Shape& shape, const Hosts& hosts) {
  Shape s = shape;
  s.rank = hosts.index;
  s.size = hosts.size();
  return s;
}

// The sum of this rank's block over the host, not settled yet.
inline Slice sum_own_block(const Hosts& hosts, const Shape& in, Builder& b) {
  const Slice own = in.block(in.rank);
  const Slice sum = b.accumulator(own);
  for (Rank i = 1; i < in.size; ++i) {
    const Rank peer = in.wrap(in.rank - i);
    b.send(hosts.leader() + peer, input_of(in.block(peer)));
  }
  if (in.wide) b.copy(input_of(own), sum);
  for (Rank i = 1; i < in.size; ++i) {
    const bool first = i == 1 && !in.wide;
    b.recv_reduce(hosts.leader() + in.wrap(in.rank + i), sum, first ? input_of(own) : sum);
  }
  return sum;
}

inline void gather_blocks(const Hosts& hosts, const Shape& in, Builder& b) {
  for (Rank i = 1; i < in.size; ++i) {
    b.send(hosts.leader() + in.wrap(in.rank - i), in.block(in.rank));
  }
  for (Rank i = 1; i < in.size; ++i) {
    const Rank peer = in.wrap(in.rank + i);
    b.recv(hosts.leader() + peer, in.block(peer));
  }
}

}  // namespace gossamer
