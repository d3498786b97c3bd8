// What members send each other: one datagram, one message, and as many accounts of members
// ("updates") behind it as fit.
//
//   Header     magic 2, version 1, kind 1, sender's id 8, receiver's id 8 (kWho: 0), counter 8,
//              sender's progress 8 and the milliseconds since it moved 4
//   Body       by kind, see Message
//   Update     id 8, incarnation 4, state (bit 7: stuck) 1; alive: family 1, port 2, host 4 or 16,
//              metadata length 1 and bytes; suspect: number of accusers 1, their ids 8 each
//   Tag        16 bytes behind it all (seal.h)
//   Limits     kDatagramBytesMax fits every IPv6 path without fragments (1280 less 40 of IP and 8
//              of UDP). decode() accepts only what it consumes wholly; what it allocates is at most
//              an Update per 13 bytes and the metadata in the datagram.
//   Threads    pure functions and plain values.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gossip/membership/member.h"
#include "src/wire.h"

namespace gossamer::swim {

inline constexpr size_t kDatagramBytesMax = 1232;
inline constexpr size_t kTagBytes = 16;
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kUpdateBytesMin = 13;
inline constexpr size_t kAccusersMax = 4;  // the first and three confirmations
inline constexpr size_t kBuckets = 64;
// Higher ones are refused: a member raises its own by one at a time.
inline constexpr uint32_t kIncarnationMax = 1u << 30;

enum class Kind : uint8_t {
  kPing = 1,         // sequence
  kAck = 2,          // sequence of the ping, or of the request that it answers
  kPingRequest = 3,  // sequence, subject and its endpoint: ping it for me
  kNack = 4,         // sequence of the request: no answer so far, but I am here
  kWho = 5,          // to an address whose member is not known
  kHere = 6,         // the answer
  kGone = 7,         // sequence, subject: you pinged `subject`, but this address is mine
  kSync = 8,         // members and digests: compare, send what differs and a kSyncReply
  kSyncReply = 9,    // members and digests: compare and send what differs
  kState = 10,       // nothing but updates: all that is known of some buckets
};

struct Update {
  MemberId id = 0;
  uint32_t incarnation = 0;
  MemberState state = MemberState::kAlive;
  bool stuck = false;
  Endpoint address;                // alive
  std::string metadata;            // alive
  std::vector<MemberId> accusers;  // suspect: 1 to kAccusersMax
};

// Two members whose live members agree have equal digests. Bucket b covers ids whose highest bits
// are b, so that what differs can be sent without the rest.
using Digests = std::array<uint64_t, kBuckets>;
inline size_t bucket_of(MemberId id) {
  return static_cast<size_t>(id >> 58);
}

struct Message {
  Kind kind = Kind::kPing;
  MemberId from = 0;
  MemberId to = 0;
  uint64_t counter = 0;
  uint64_t progress = 0;
  uint32_t progress_age_ms = 0;
  uint32_t sequence = 0;
  MemberId subject = 0;
  Endpoint endpoint;
  uint32_t members = 0;  // alive or suspect, oneself included
  Digests digests{};
  std::vector<Update> updates;
};

size_t bytes_of(const Update& update);  // as written

// A datagram in the making, without its tag.
class DatagramWriter {
 public:
  explicit DatagramWriter(const Message& message);  // its updates included; they must fit
  // False, and nothing written, when it does not fit any more.
  bool add(const Update& update);
  bool full() const { return out_.size() + kTagBytes + kUpdateBytesMin > kDatagramBytesMax; }
  std::vector<std::byte> take() { return out_.take(); }

 private:
  WireWriter out_;
};

// The message in these bytes (without the tag), or nothing when a field is out of its range.
std::optional<Message> decode(std::span<const std::byte> bytes);

}  // namespace gossamer::swim
