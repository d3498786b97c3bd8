// One rank's end of the edge to a neighbor in PairwiseSgd, and what travels on it.
//
//   Packet     kind 8, number of the exchange 8, then values: of a request and an answer all of
//              them; of an end and a resumption as many bytes, which nobody reads
//   Resume     After shrink() both tell the last exchange that is done on their side, before
//              anything else. They differ by one at most, and by one only where an answer was lost:
//              it is sent again. Then, or at once, a request that is open.
//   Threads    The method's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gossamer/gossip_methods.h"

namespace gossamer {

enum class PacketKind : uint64_t { kRequest = 1, kAnswer = 2, kEnd = 3, kResume = 4 };

struct PacketHead {
  PacketKind kind = PacketKind::kRequest;
  uint64_t number = 0;
};
inline constexpr size_t kPacketHeadBytes = sizeof(PacketHead);

struct PairwiseSgd::Edge {
  // The exchanges up to this one are done on this side.
  uint64_t done = 0;
  bool asked = false;     // `request` holds that of exchange done + 1, and no answer has come
  bool answered = false;  // exchange `done` was answered by this side, with `answer`
  std::vector<std::byte> request;
  std::vector<std::byte> answer;
  // Of step() and finish(): one receive is always posted, but after the neighbor's end and its
  // answer to what was asked before that.
  std::vector<std::byte> arriving;
  bool listens = false;
  bool ended = false;
  // After shrink().
  bool resumes = false;     // until the neighbor's resumption has come
  bool asks_again = false;  // the request is still to be sent
  std::vector<std::byte> resumption;
  Work receive;
  Work sends_request;
  Work sends_answer;
};

}  // namespace gossamer
