// One (peer, lane) over UCX, both ways: what is posted, what is on its way, what has arrived.
//
//   Records    A message travels as one or more records, active messages with a Header: fragments
//              that carry their bytes (eager), or chunks whose bytes the receiver fetches
//              (rendezvous) straight to where they belong. Records are numbered, because UCX orders
//              the two kinds only among themselves, and at most kCredits are unconsumed.
//   Threads    driving thread.
//   Ownership  kHeld and kAnnounced records hold descriptors of UCX's that their owner must return.

#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/transport.h"

struct ucp_ep;  // UCX's own; its header stays in the .cc files
struct ucp_worker;

namespace gossamer::ucx {

inline constexpr uint32_t kWindow = 64;   // operations queued each way
inline constexpr uint32_t kCredits = 64;  // unconsumed records each way
// With both headers one segment of UCX's shared memory and of its tcp (8 KiB); whole elements.
inline constexpr uint64_t kFragmentBytes = 8064;
inline constexpr uint64_t kChunkBytes = 512 * 1024;
static_assert(kFragmentBytes % 192 == 0);
static_assert(std::endian::native == std::endian::little, "UCX itself needs equal byte orders");

inline constexpr unsigned kRecordId = 1;  // of our active messages
enum class Kind : uint8_t { kData = 1, kCredit, kFarewell, kHello };

// In front of every record, as it lies in memory.
struct Header {
  uint64_t proof = 0;  // that a member of the group made it for this rank
  Rank from = -1;
  uint32_t position = 0;  // of the record on its lane; kFarewell: of the first that never comes
  uint32_t consumed = 0;  // records of the other direction
  Kind kind = Kind::kData;
  Lane lane = 0;
  uint16_t zero = 0;
  Fingerprint fingerprint = 0;
  uint64_t bytes = 0;  // of the whole message
};
static_assert(sizeof(Header) == 40);

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
};

struct Outgoing {
  Pipe* pipe = nullptr;
  Message message;
  Token token = 0;
  uint64_t issued = 0;      // bytes handed to UCX
  uint32_t unfinished = 0;  // records that UCX still reads
  bool all_issued = false;
};

// A record that has arrived and is not consumed.
struct Arrived {
  enum class State : uint8_t {
    kNone,
    kCopied,     // its bytes are in `own`
    kHeld,       // in memory of UCX at `data`
    kAnnounced,  // UCX knows where they are: `data` is its descriptor
    kFetching,
    kFetched,
  };
  Pipe* pipe = nullptr;
  State state = State::kNone;
  uint32_t position = 0;
  Fingerprint fingerprint = 0;
  uint64_t message_bytes = 0;
  uint64_t bytes = 0;
  void* data = nullptr;
  std::byte* landing = nullptr;      // fetched here, to be folded; null: into the target
  std::unique_ptr<std::byte[]> own;  // kFragmentBytes, allocated when first used
};

struct Pipe {
  Link* link = nullptr;
  Lane lane = 0;
  bool active = false;  // in the transport's list of pipes that can go on

  // Outbound.
  Ring<Outgoing> outgoing;
  uint32_t issuing = 0;   // of outgoing, from its front: the first not wholly issued
  uint32_t position = 0;  // of the next record
  uint32_t acknowledged = 0;
  std::array<Header, kCredits> headers{};  // UCX reads them until the record is consumed
  Header credit{};
  bool credit_busy = false;
  bool blocked() const { return position - acknowledged >= kCredits; }

  // Inbound.
  Ring<Posted> posted;
  std::array<Arrived, kCredits> arrived{};  // by position
  uint32_t next = 0;                        // the record to consume next: all before it are
  uint32_t told = 0;                        // how many the peer knows to be consumed
  uint32_t announced = 0;                   // records in state kAnnounced
  bool in_message = false;
  uint64_t taken = 0;           // bytes of the front message
  std::vector<std::byte> part;  // its last ones, where they are not a whole granule
  bool ended = false;           // the peer has left: `end` is the first record that never comes
  uint32_t end = 0;

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
  bool used = false;  // something has been sent
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
