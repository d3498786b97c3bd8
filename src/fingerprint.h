// What a message carries to prove that both ends are in the same operation.
//
// 64 bits that can be read back, so that an error can name what each side called:
//   sequence 12 | plan 8 | collective 4 | type 4 | operation 3 | count 33
// `plan` is a hash of the algorithm's name, its pieces and the root: ranks that chose differently
// must not mix. The communicator itself needs no bits: links belong to one communicator and
// authenticate for it.
//
// A collective that has a graph tells of its 36 last bits otherwise, and less of each:
//   graph 12 | round 10 | length of the count 6 | its first digits 8
// (of the graph's identity, of the round the last bits), and its plan's hash is of all of it.
//
// A call that has a codec is collective 10, and its 36 last bits are
//   collective 3 | average 1 | codec 12 | length of the count 6 | its first digits 14
// or, with a graph, collective 11 (the average) or 12 (the all-gather), and
//   graph 12 | codec 12 | length of the count 6 | its first digits 6
//
// Collective 15 is a message from one rank to another outside any collective
// (src/point_to_point.h): `sequence` counts those of its pair and direction, `plan` the collectives
// that came before it.

#pragma once

#include <cstdint>
#include <string>

#include "gossamer/transport.h"
#include "src/price.h"

namespace gossamer {

Fingerprint make_fingerprint(const Call& call, uint8_t plan_hash, uint64_t sequence);
inline Fingerprint with_sequence(Fingerprint without, uint64_t sequence) {
  return without | (sequence << 52);
}

// Whether `a` belongs to a call after b's; calls up to 2047 apart are told apart.
inline bool is_later(Fingerprint a, Fingerprint b) {
  const uint64_t ahead = ((a >> 52) - (b >> 52)) & 0xfff;
  return ahead > 0 && ahead < 0x800;
}

// Of a message outside any collective: number `sequence` from one rank to another, between the
// collectives `epoch` and epoch + 1.
Fingerprint make_letter_fingerprint(DataType type, uint64_t count, uint8_t epoch,
                                    uint64_t sequence);
bool is_letter(Fingerprint fingerprint);
// Whether `letter` was sent before its sender began the collective that `call` belongs to.
bool is_before(Fingerprint letter, Fingerprint call);

// Of what a message does not tell of the call as well.
uint8_t hash_plan(const char* algorithm, uint32_t pieces, const Call& call);

// "reduce of 100 float32 (sum), root 2, call 7".
std::string describe(const Call& call, uint64_t sequence);
// The same from a fingerprint, which does not know the root; counts and call numbers that do not
// fit say "modulo".
std::string describe(Fingerprint fingerprint);

// Replaces a transport's mismatch text by what the two ranks called.
void explain_mismatch(Rank self, Fault* fault);

}  // namespace gossamer
