// One shared memory link: the cells both ways, what is posted and what is under way.
//
// Threads    Driving thread.
// Blocking   Never.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/check.h"
#include "transports/shm/layout.h"

namespace gossamer::shm {

// A FIFO of at most `capacity` entries that never allocates after construction.
template <class T>
class Fifo {
 public:
  void reserve(uint32_t capacity) {
    GOSSAMER_CHECK((capacity & (capacity - 1)) == 0);
    entries_ = std::make_unique<T[]>(capacity);
    mask_ = capacity - 1;
  }
  bool empty() const { return head_ == tail_; }
  bool full() const { return tail_ - head_ > mask_; }
  T& front() { return entries_[head_ & mask_]; }
  void push(const T& value) { entries_[tail_++ & mask_] = value; }
  void pop() { ++head_; }
  void clear() { head_ = tail_; }

 private:
  std::unique_ptr<T[]> entries_;
  uint32_t mask_ = 0;
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

// Shared memory of ours or of a peer's, unmapped with the object.
struct Mapping {
  std::byte* base = nullptr;
  uint64_t bytes = 0;

  Mapping() = default;
  Mapping(std::byte* b, uint64_t n) : base(b), bytes(n) {}
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  bool contains(uint64_t offset, uint64_t run) const {
    return offset <= bytes && run <= bytes - offset;
  }
};

struct PeerWindow {
  uint32_t id = 0;
  Mapping memory;
};

struct Link {
  static constexpr uint32_t kWindow = 256;  // operations queued each way

  struct Posted {
    Sink sink;
    Token token;
  };
  struct Outgoing {
    Message message;
    Token token;
    uint64_t sent;  // bytes already handed over
  };
  struct Lent {  // a cell of a window or of memory: complete once the peer has consumed it
    uint32_t sequence;
    Token token;
  };

  Rank peer = -1;
  bool local = false;   // on this host at all
  bool listed = false;  // in the transport's active list
  bool connecting = false;
  bool connected = false;     // our control socket is authenticated
  bool announced = false;     // our setup has been sent
  bool mapped = false;        // theirs has arrived
  bool gone = false;          // their process or communicator is
  bool left = false;          // they said goodbye first
  bool same_process = false;  // each reads where the other keeps it
  std::string socket_name;
  std::string gone_why;
  int64_t gone_at_ns = 0;  // when somebody first needed it and it was gone

  // Outbound: our area, the peer's count of what it took.
  Mapping area;
  const std::atomic<uint32_t>* peer_consumed = nullptr;
  uint32_t head = 0;                           // next cell to fill
  uint32_t consumed_seen = 0;                  // the peer's count when last looked at
  uint32_t released = 0;                       // cells whose slots have been given back
  std::array<int16_t, kCells> slot_of_cell{};  // pool slot >= 0, own slot -2 - index, none -1
  uint32_t slots_held = 0;                     // cells that have not given back a slot
  uint32_t own_slots_used = 0;                 // bit mask
  Fifo<Outgoing> outgoing;
  Fifo<Lent> lent;
  uint32_t travellers = 0;           // bit mask of our pool's slots that are away at the peer
  std::vector<uint64_t> guests;      // offsets of slots of the peer's pool that we write next
  bool answering = false;            // the current message is being answered in place
  bool answered = false;             // the next send is in the peer's hands already
  std::byte* answer_here = nullptr;  // where the peer was last told to write an answer
  std::vector<uint32_t> windows_announced;  // ids, sorted
  bool announced_windows = false;           // since the last cell
  uint64_t pins_announced = 0;              // of ShmTransport::pins_

  // Inbound: the peer's area and pool, our count.
  Mapping peer_area;
  Mapping peer_pool;
  uint32_t peer_slot_bytes = 0;
  uint32_t tail = 0;             // next cell to take
  uint32_t counted = 0;          // cells that the peer has been told are taken
  uint64_t arrived = 0;          // bytes of the current message
  std::vector<std::byte> carry;  // its last bytes, where they are not a whole granule
  uint32_t peer_nap_woken = 0;
  Fifo<Posted> posted;
  std::vector<PeerWindow> peer_windows;

  Area* ours() const { return reinterpret_cast<Area*>(area.base); }
  const Area* theirs() const { return reinterpret_cast<const Area*>(peer_area.base); }
  const Pool* their_pool() const { return reinterpret_cast<const Pool*>(peer_pool.base); }
  bool usable() const { return announced && mapped; }
  bool busy() const;
  // Something here goes on, or completes, when the peer has consumed more.
  bool awaits_consumption() const;
};

inline bool Link::awaits_consumption() const {
  return !outgoing.empty() || !lent.empty();
}

inline bool Link::busy() const {
  return !posted.empty() || awaits_consumption();
}

}  // namespace gossamer::shm
