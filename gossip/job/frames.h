// What members of an averaging job say to each other over a connection, and what each says of
// itself through the membership.
//
//   Head     {kind 1, wide 1, refusal 1, type 1, zero 4, member 8, lane 8, sequence 8, steps 8,
//            weight 8, count 8}, little-endian; fields that a kind has no use for are zero
//   kOpen    connector's first: its id, count, type
//   kWelcome the answer: packets will be taken
//   kPush    a packet; its elements follow
//   kTaken   this packet has been taken
//   kRefused this packet has not, or, with no lane, the connection is of no use
//   kWant    "push me something": of a newcomer
//   kHurry   "take what I have sent now, without waiting for a step": of one that leaves
//   Card     metadata of a member: {"GSJ1", port 2, type 1, count 8, label}
//
//   Limits   a parser takes exactly what encode() makes and refuses all else; what follows a head
//            is as long as our own count says.
//   Threads  pure functions.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "gossamer/types.h"

namespace gossamer::job {

enum class Kind : uint8_t {
  kOpen = 1,
  kPush = 2,
  kTaken = 3,
  kRefused = 4,
  kWant = 5,
  kHurry = 6,
  kWelcome = 7
};

enum class Refusal : uint8_t {
  kNone = 0,
  kStranger = 1,  // no member that we know of: come again later
  kShape = 2,     // another count or type
  kLane = 3,      // the packet's lane is unknown: take it back and begin another
  kLeaving = 4,   // we take nothing more
  kNothing = 5,   // we have nothing to give: of kWant
};

struct Head {
  static constexpr size_t kBytes = 56;
  Kind kind = Kind::kOpen;
  bool wide = false;
  Refusal refusal = Refusal::kNone;
  DataType type = DataType{0};
  uint64_t member = 0;
  uint64_t lane = 0;
  uint64_t sequence = 0;
  uint64_t steps = 0;
  double weight = 0;
  uint64_t count = 0;
  friend bool operator==(const Head&, const Head&) = default;
};

std::array<std::byte, Head::kBytes> encode(const Head& head);
std::optional<Head> parse_head(std::span<const std::byte> bytes);

inline constexpr size_t kLabelBytesMax = 64;
struct Card {
  uint16_t port = 0;  // TCP, at the host where the member receives datagrams
  DataType type = DataType::kFloat32;
  uint64_t count = 0;
  std::string label;
  friend bool operator==(const Card&, const Card&) = default;
};
std::string encode(const Card& card);
std::optional<Card> parse_card(const std::string& metadata);

}  // namespace gossamer::job
