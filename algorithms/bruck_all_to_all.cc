// Bruck all-to-all: shares hop towards their target, one power of two at a time, many in one
// message.
//   Source   Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//            communications in multiport message-passing systems", IEEE TPDS 8(11), 1997; here
//            without rotations, as shares leave from the input and arrive in the output.
//   Steps    ceil(log2 N) messages one after another, of about N/2 shares each.
//   Bytes    about (N/2) ceil(log2 N) shares, per rank.
//   Scratch  about N ceil(log2 N) shares: what is sent, packed, and what has arrived.
//   Needs    nothing: any N, any count.
//   Bits     copies only.

#include <bit>

#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return std::bit_width(static_cast<uint32_t>(shape.size - 1));
}

// Shares are known by how far they have to go. Bit k of the distance is gone in round k.
bool moves(Rank distance, int round) {
  return (distance >> round & 1) != 0;
}

// How many shares shorter than `distance` move in the round: the place of its share among them.
uint64_t place_of(Rank distance, int round) {
  uint64_t place = 0;
  for (Rank i = 1; i < distance; ++i) place += moves(i, round) ? 1 : 0;
  return place;
}

Slice message(const Shape& shape, int round, bool sent, Builder& b) {
  return b.scratch(place_of(shape.size, round) * shape.count, 2 * round + (sent ? 1 : 0));
}

// Where the share that goes `distance` lies before `round`: in the input, or where its last hop has
// brought it.
Slice share_before(const Shape& shape, Rank distance, int round, Builder& b) {
  const auto gone = static_cast<uint32_t>(distance) & ((1U << round) - 1);
  if (gone == 0) return shape.input_share(shape.rank + distance);
  const int last = std::bit_width(gone) - 1;
  return message(shape, last, false, b).part(place_of(distance, last) * shape.count, shape.count);
}

void emit(const Shape& shape, int round, Builder& b) {
  const Rank hop = 1 << round;
  const Slice out = message(shape, round, true, b);
  const Slice in = message(shape, round, false, b);
  uint64_t place = 0;
  for (Rank i = hop; i < shape.size; ++i) {
    if (!moves(i, round)) continue;
    b.copy(share_before(shape, i, round, b), out.part(place * shape.count, shape.count));
    ++place;
  }
  b.send(shape.wrap(shape.rank + hop), out);
  if (round == 0) b.copy(shape.input_share(shape.rank), shape.share(shape.rank));
  b.recv(shape.wrap(shape.rank - hop), in);
  place = 0;
  for (Rank i = hop; i < shape.size; ++i) {
    if (!moves(i, round)) continue;
    // Arrived for good, from as far as it had to go.
    if (i < 2 * hop) {
      b.copy(in.part(place * shape.count, shape.count), shape.share(shape.rank - i));
    }
    ++place;
  }
}

}  // namespace

const Algorithm bruck_all_to_all = {
    "bruck_all_to_all", Collective::kAllToAll, false, any_shape, rounds, emit};

}  // namespace gossamer
