// Sums of codes that nobody decodes before: ranks agree on numbers, encode by them, and each adds
// up the codes of its own part.
//
// Threads    Pure.

#pragma once

#include "algorithms/coded.h"

namespace gossamer {

// Two exchanges of numbers, which are empty where the codec has none, and one of codes.
inline constexpr int kSumRounds = 3;

// Where a rank's part is encoded, what arrives for its own, and the sum of a rank's part.
inline Slice place_to(const Shape& shape, Rank rank, uint64_t count, Builder& b) {
  return b.agreed(count, CodePlaces{shape.size}.to(rank));
}
inline Slice code_from(const Shape& shape, Rank rank, uint64_t count, Builder& b) {
  if (rank == shape.rank) return b.code_of(place_to(shape, rank, count, b), count);
  return b.code(count, CodePlaces{shape.size}.from(rank));
}
inline Slice sum_of(const Shape& shape, Rank rank, uint64_t count, Builder& b) {
  return b.sum(count, CodePlaces{shape.size, 1}.to(rank));
}

// To the owner of each part goes what make(part, place) has made of it.
template <class PartOf, class Make>
void send_to_owners(const Shape& shape, const PartOf& part_of, const Make& make, Builder& b) {
  for (Rank i = 1; i <= shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank - i);
    const Slice part = part_of(peer);
    const Slice made = make(part, place_to(shape, peer, part.count, b));
    if (peer != shape.rank) b.send(peer, made);
  }
}

// Each rank tells the owner of a part what it measured of it; the owner tells all what is largest.
template <class PartOf>
void measure_parts(const Shape& shape, const PartOf& part_of, Builder& b) {
  const auto measure = [&](const Slice& part, const Slice& place) {
    b.measure(part, place, part);
    return b.numbers_of(place, part.count);
  };
  send_to_owners(shape, part_of, measure, b);
  const uint64_t count = part_of(shape.rank).count;
  const Slice own = b.numbers_of(place_to(shape, shape.rank, count, b), count);
  for (Rank i = 1; i < shape.size; ++i) {
    const Rank peer = shape.wrap(shape.rank + i);
    const Slice theirs = b.numbers(count, CodePlaces{shape.size, 1}.from(peer));
    b.recv(peer, theirs);
    b.agree(theirs, own, count);
  }
}
template <class PartOf>
void pass_numbers(const Shape& shape, const PartOf& part_of, Builder& b) {
  const auto numbers_of = [&](Rank rank) {
    const uint64_t count = part_of(rank).count;
    return b.numbers_of(place_to(shape, rank, count, b), count);
  };
  send_to_others(shape, numbers_of(shape.rank), b);
  take_other_parts(shape, numbers_of, b);
}

// The codes of this rank's part, added in rank order.
template <class PartOf>
void add_codes(const Shape& shape, const PartOf& part_of, Builder& b) {
  const auto encode = [&](const Slice& part, const Slice& place) {
    b.encode_agreed(part, place, part);
    return b.code_of(place, part.count);
  };
  send_to_owners(shape, part_of, encode, b);
  const uint64_t count = part_of(shape.rank).count;
  const auto code_of = [&](Rank rank) { return code_from(shape, rank, count, b); };
  take_other_parts(shape, code_of, b);
  const Slice sum = sum_of(shape, shape.rank, count, b);
  b.begin_sum(code_of(0), sum, count);
  for (Rank rank = 1; rank < shape.size; ++rank) b.add_code(code_of(rank), sum, count);
}

// Rounds [0, kSumRounds), after which sum_of() this rank's part is complete.
template <class PartOf>
void emit_sum(const Shape& shape, int round, const PartOf& part_of, Builder& b) {
  if (round == 0) return measure_parts(shape, part_of, b);
  if (round == 1) return pass_numbers(shape, part_of, b);
  add_codes(shape, part_of, b);
}

}  // namespace gossamer
