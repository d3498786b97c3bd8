// The slots a rank stages into: its pool, shared by all links, and each link's own few.
//
// A staged run is read by its receiver in place. Runs that several peers are sent (Message::share)
// are staged once and given back when the last of them has consumed its cell.
//
// Threads    Driving thread.

#pragma once

#include <array>
#include <cstdint>

#include "gossamer/transport.h"
#include "transports/shm/layout.h"
#include "transports/shm/link.h"

namespace gossamer::shm {

class Staging {
 public:
  void attach(std::byte* pool, uint32_t slot_bytes) {
    pool_ = pool;
    slot_bytes_ = slot_bytes;
    for (int16_t i = 0; i < static_cast<int16_t>(kPoolSlots); ++i) free_[i] = i;
    free_count_ = kPoolSlots;
  }
  uint32_t slot_bytes() const { return slot_bytes_; }

  struct Place {
    int16_t slot = -1;  // as in Link::slot_of_cell
    CellKind kind = CellKind::kPoolSlot;
    uint64_t offset = 0;
    bool fresh = true;  // copied there now, not found there
  };
  // Stages message bytes [from, from + bytes) for `link`, or finds them staged already. False: no
  // slot is free.
  bool stage(Link* link, const Message& message, uint64_t from, uint64_t bytes, Place* place);
  // Whether `slots` more may travel to `link`'s peer now.
  bool may_travel(const Link& link, uint64_t slots) const;
  // As stage(), into a pool slot that travels to `link`'s peer. False: none may.
  bool stage_travelling(Link* link, const Message& message, uint64_t from, uint64_t bytes,
                        Place* place);
  // The travelling slot at `offset` of the pool, or -1 if none of `link`'s is there.
  int16_t traveller_at(const Link& link, uint64_t offset) const;
  void come_home(Link* link, int16_t slot);
  void release(Link* link, int16_t slot);

 private:
  void take(const Message& message, uint32_t share, uint64_t from, uint64_t bytes, Place* place);

  struct Slot {
    uint16_t references = 0;
    uint32_t share = 0;
    Fingerprint fingerprint = 0;
    uint64_t from = 0;
    uint64_t bytes = 0;
  };

  std::byte* pool_ = nullptr;
  uint32_t slot_bytes_ = 0;
  std::array<Slot, kPoolSlots> slots_{};
  std::array<int16_t, kPoolSlots> free_{};  // a stack: the last used is the warmest
  uint32_t free_count_ = 0;
};

}  // namespace gossamer::shm
