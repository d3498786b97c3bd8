// One (peer, lane) over UCX, both ways: what is posted, what is on its way, what has arrived.
//
//   Records    A message travels as one or more records, active messages with a Header, numbered
//              because not all that a record waits for comes in order. At most kCredits are
//              unconsumed.
//                kData    carries its bytes, sent from and taken into the callers' memory
//                kLanded  its bytes were put into the receiver's landing area, a ring
//                kPlaced  all of the message was put where the receiver had said
//              The latter two follow their put once a flush has found it complete in the peer's
//              memory, whatever the order in which its parts came.
//   Notes      Where a sender waits for its receiver (Link::asks_above), the receiver tells it of
//              each long sink: kDirect, with a place in a region that was named once (kRegion), or
//              kStream, by records. A long message whose note does not come is announced, so that a
//              receiver that expects another finds out.
//   Threads    driving thread.
//   Ownership  kHeld records hold memory of UCX's that their owner must return.

#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/registration_cache.h"

struct ucp_ep;  // UCX's own; its header stays in the .cc files
struct ucp_rkey;
struct ucp_worker;

namespace gossamer::ucx {

inline constexpr uint32_t kWindow = 64;   // operations queued each way
inline constexpr uint32_t kCredits = 64;  // unconsumed records each way
// With both headers one segment of UCX's shared memory and of its tcp (8 KiB); whole elements.
inline constexpr uint64_t kFragmentBytes = 8064;
// The most that UCX's tcp sends from where it lies, in one system call at each end. 1 MiB both ways
// at once between 2 processes of 2 cores: 258 us, by kFragmentBytes 966 us.
inline constexpr uint64_t kLongFragmentBytes = 65280;
static_assert(kFragmentBytes % 192 == 0 && kLongFragmentBytes % 192 == 0);
static_assert(std::endian::native == std::endian::little, "UCX itself needs equal byte orders");

inline constexpr uint32_t kRegions = 1024;      // named at a time in one direction
inline constexpr uint64_t kKeyBytesMax = 1024;  // of a packed key

inline constexpr unsigned kRecordId = 1;  // of our active messages
enum class Kind : uint8_t {
  kData = 1,
  kLanded,    // with an Extent of the landing area
  kPlaced,    //
  kAnnounce,  // no bytes: the message waits for its receiver's note
  kCredit,
  kFarewell,
  kHello,   // with a Welcome
  kRegion,  // with an Extent of the receiver's memory, and its key
  kDirect,  // with an Extent of the region
  kStream,
};
inline bool is_record(Kind kind) {
  return kind <= Kind::kAnnounce;
}

// In front of everything that is sent, as it lies in memory. A record that is all of a message does
// without the last field: UCX's shared memory then carries a few bytes in one cache line.
struct Header {
  uint64_t proof = 0;  // that a member of the group made it for this rank, and which
  // Of the record on its lane; kFarewell: of the first that never comes; notes: the message's.
  uint16_t position = 0;
  uint16_t consumed = 0;  // records of the other direction
  Kind kind = Kind::kData;
  Lane lane = 0;
  uint16_t slot = 0;  // of a region
  Fingerprint fingerprint = 0;
  uint64_t bytes = 0;  // of the whole message
};
inline constexpr size_t kShortHeaderBytes = 24;
static_assert(sizeof(Header) == 32 && offsetof(Header, bytes) == kShortHeaderBytes);

// The low bits of a proof say who made it.
inline constexpr uint64_t kProofRankMask = 0xffffff;

// The number nearest to `near` whose low bits these are.
inline uint32_t widen(uint16_t low, uint32_t near) {
  const auto ahead = static_cast<int16_t>(static_cast<uint16_t>(low - near));
  return near + static_cast<uint32_t>(int32_t{ahead});
}

struct Extent {
  uint64_t at = 0;
  uint64_t bytes = 0;
};

struct Pipe;
struct Link;
class Ucx;

// At most kWindow items, first in first out, which stay where they are.
template <class T>
class Ring {
 public:
  bool empty() const { return head_ == tail_; }
  bool full() const { return size() == kWindow; }
  uint32_t size() const { return tail_ - head_; }
  T& front() { return items_[head_ % kWindow]; }
  T& at(uint32_t index) { return items_[(head_ + index) % kWindow]; }  // from the front
  T& push(const T& item) { return items_[tail_++ % kWindow] = item; }
  void pop() { ++head_; }
  void clear() { head_ = tail_; }

 private:
  std::array<T, kWindow> items_{};
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

struct Posted {
  Sink sink;
  Token token = 0;
  uint32_t number = 0;             // of the message on its lane
  Registration* memory = nullptr;  // not null: the sender was told to put it there
};

struct Outgoing {
  Pipe* pipe = nullptr;
  Message message;
  Token token = 0;
  uint32_t number = 0;
  uint64_t issued = 0;      // bytes handed to UCX
  uint32_t unfinished = 0;  // records that UCX still reads, and puts that are not complete
  bool all_issued = false;
  uint8_t ticks = 0;  // that have passed while it waited for its note
};

// A record of ours from when its position is taken until the peer has consumed it.
struct Departure {
  Pipe* pipe = nullptr;
  Outgoing* out = nullptr;
  uint32_t position = 0;
  Header header;  // UCX reads it and the extent
  Extent extent;
  uint64_t landing_end = 0;  // how far the peer's landing area was used with it
};

// What a receiver tells: sent when there is room, read by UCX until then.
struct Note {
  Pipe* pipe = nullptr;
  bool busy = false;
  Header header;
  uint64_t payload_bytes = 0;
  std::array<std::byte, sizeof(Extent) + kKeyBytesMax> payload{};
};

struct Grant {
  bool direct = false;
  uint32_t number = 0;
  Fingerprint fingerprint = 0;
  uint64_t bytes = 0;
  uint64_t address = 0;
  ucp_rkey* key = nullptr;
};

struct Region {
  ucp_rkey* key = nullptr;
  uint64_t address = 0;
  uint64_t bytes = 0;
};

// A record that has arrived and is not consumed.
struct Arrived {
  enum class State : uint8_t {
    kNone,
    kCopied,  // its bytes are in Pipe::kept
    kHeld,    // in memory of UCX at `data`
    kLanded,  // in the landing area at `data`
    kBare,    // it has none: kPlaced, kAnnounce
  };
  State state = State::kNone;
  Kind kind = Kind::kData;
  uint32_t position = 0;
  Fingerprint fingerprint = 0;
  uint64_t message_bytes = 0;
  uint64_t bytes = 0;
  const std::byte* data = nullptr;
};

struct Pipe {
  Link* link = nullptr;
  Lane lane = 0;
  bool active = false;      // in the transport's list of pipes that can go on
  bool introduced = false;  // the peer's hello has come

  // Outbound.
  Ring<Outgoing> outgoing;
  uint32_t issuing = 0;  // of outgoing, from its front: the first not wholly issued
  uint32_t next_number = 0;
  uint32_t position = 0;  // of the next record
  uint32_t acknowledged = 0;
  std::array<Departure, kCredits> departures{};  // by position
  uint32_t flying = 0;                           // departures that wait for their flush
  Header credit{};
  bool credit_busy = false;
  bool blocked() const { return position - acknowledged >= kCredits; }
  Region landing;              // the peer's; no bytes: it has none
  uint64_t landing_used = 0;   // grows for ever
  uint64_t landing_freed = 0;  // so much the peer has consumed
  Ring<Grant> grants;
  std::vector<Region> regions;     // the peer's, by slot
  std::vector<ucp_rkey*> retired;  // keys to give back when nothing flies

  // Inbound.
  Ring<Posted> posted;
  uint32_t next_posted = 0;                 // its number
  uint32_t untold = 0;                      // of posted: the first that may have to be told of
  std::array<Arrived, kCredits> arrived{};  // by position
  uint32_t next = 0;                        // the record to consume next: all before it are
  uint32_t told = 0;                        // how many the peer knows to be consumed
  uint64_t landed_untold = 0;               // bytes of the landing area that these free
  bool in_message = false;
  uint64_t taken = 0;           // bytes of the front message
  std::vector<std::byte> part;  // its last ones, where they are not a whole granule
  bool ended = false;           // the peer has left: `end` is the first record that never comes
  uint32_t end = 0;
  std::unique_ptr<std::byte[]> kept;  // records that came early, by position
  std::byte* landing_area = nullptr;  // ours, for what the peer puts
  uint64_t landing_bytes = 0;
  std::vector<std::byte> welcome;       // UCX may read it
  std::vector<std::byte> introduction;  // the peer's, until the link is connected
  std::unique_ptr<std::array<Note, kWindow>> notes;
  uint32_t next_note = 0;
  std::vector<uint64_t> slot_owner;  // slot to registration; searched from the newest
  uint32_t next_slot = 0;

  Departure& departure(uint32_t at) { return departures[at % kCredits]; }
  Arrived& slot(uint32_t at) { return arrived[at % kCredits]; }
  bool here(uint32_t at) {
    return slot(at).state != Arrived::State::kNone && slot(at).position == at;
  }
  bool needed() const { return !posted.empty() || !outgoing.empty(); }
};

struct Link {
  Ucx* owner = nullptr;
  Rank peer = -1;
  ucp_worker* worker = nullptr;  // that reaches the peer
  ucp_ep* endpoint = nullptr;
  void* connecting = nullptr;  // UCX's request that ends when all of the endpoint is connected
  bool ready = false;
  std::chrono::steady_clock::time_point opened{};
  uint64_t proof_out = 0;
  uint64_t proof_in = 0;
  bool same_host = false;
  bool puts = false;  // a device of ours writes the peer's memory
  // Longer messages wait for their receiver's note; and at the peer.
  uint64_t asks_above = UINT64_MAX;
  uint64_t peer_asks_above = UINT64_MAX;
  uint64_t fragment_bytes = kFragmentBytes;  // in one kData record of a long message
  bool used = false;                         // something has been sent
  bool broken = false;
  const char* why = "";  // UCX's reason
  bool suspect = false;  // something is wrong and nobody has said what
  std::chrono::steady_clock::time_point suspected{};
  std::vector<std::unique_ptr<Pipe>> pipes;  // by lane

  bool needed() const {
    for (const auto& pipe : pipes) {
      if (pipe->needed()) return true;
    }
    return false;
  }
};

}  // namespace gossamer::ucx
