// Exchanges of codes: every part is encoded once, sent as it is, and decoded where it is summed.
//
// Threads    Pure.

#pragma once

#include "algorithms/direct.h"
#include "gossamer/schedule.h"

namespace gossamer {

// Places of codes in Builder::code(): those a rank makes, by the rank they go to, and those it
// gets, by the rank they come from; the same again for a second exchange.
struct CodePlaces {
  Rank size;
  int second = 0;  // 1: of the second exchange

  int to(Rank rank) const { return second * 2 * size + rank; }
  int from(Rank rank) const { return second * 2 * size + size + rank; }
};

// The code of the root's whole input, which the root makes in the first round: what a broadcast
// passes on.
inline Slice code_of_root(const Shape& shape, int round, Builder& b) {
  const Slice whole = shape.whole();
  const Slice code = b.code(shape.count);
  if (shape.is_root() && round == 0) {
    b.encode(input_of(whole), code, whole, Builder::Residual::kOfElements);
  }
  return code;
}

// The sum in rank order of what all ranks encoded, fp32 and not settled yet; code_of(rank) is what
// came from that rank.
template <class CodeOf>
Slice sum_codes(const Shape& shape, Slice result, const CodeOf& code_of, Builder& b) {
  const Slice sum = b.accumulator(result);
  b.decode(code_of(0), sum);
  for (Rank rank = 1; rank < shape.size; ++rank) b.decode_reduce(code_of(rank), sum);
  return sum;
}

// Every other rank's code into its part, in the order in which they come.
template <class CodeOf, class PartOf>
void decode_others(const Shape& shape, const CodeOf& code_of, const PartOf& part_of, Builder& b) {
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    b.decode(code_of(peer), part_of(peer));
  }
}

// Every rank sums its own part of everybody's input into the returned slice, which is fp32 and not
// settled yet; part_of(rank) is what that rank sums. Its own input is encoded like any other, so
// that a sum does not depend on who makes it, and is summed in rank order.
//
// Rank r encodes for r - 1 first, which waits for it first.
template <class PartOf>
Slice sum_coded_part(const Shape& shape, Slice result, PartOf part_of, Builder& b) {
  const CodePlaces places{shape.size};
  for (Rank i = 1; i <= shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    const Slice part = part_of(peer);
    const Slice code = b.code(part.count, places.to(peer));
    b.encode(part, code, part, Builder::Residual::kOfElements);
    if (peer != shape.rank) b.send(peer, code);
  }
  const uint64_t count = part_of(shape.rank).count;
  const auto code_from = [&](Rank rank) {
    return b.code(count, rank == shape.rank ? places.to(rank) : places.from(rank));
  };
  take_other_parts(shape, code_from, b);
  return sum_codes(shape, result, code_from, b);
}

}  // namespace gossamer
