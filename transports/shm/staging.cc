#include "transports/shm/staging.h"

#include <bit>
#include <cstring>

#include "src/check.h"

namespace gossamer::shm {

bool Staging::stage(Link* link, const Message& message, uint64_t from, uint64_t bytes,
                    Place* place) {
  if (message.share != 0) {
    for (int16_t i = 0; i < static_cast<int16_t>(kPoolSlots); ++i) {
      Slot& slot = slots_[static_cast<size_t>(i)];
      // Only while someone still reads it: a slot given back may be anybody's.
      if (slot.references > 0 && slot.share == message.share && slot.from == from &&
          slot.bytes == bytes && slot.fingerprint == message.fingerprint) {
        ++slot.references;
        *place = {i, CellKind::kPoolSlot, kPage + uint64_t{static_cast<uint16_t>(i)} * slot_bytes_,
                  false};
        return true;
      }
    }
  }
  if (free_count_ > 0) {
    take(message, message.share, from, bytes, place);
    return true;
  }
  const uint32_t taken = link->own_slots_used;
  if (taken == (1U << kOwnSlots) - 1) return false;
  const auto own = static_cast<uint32_t>(std::countr_one(taken));
  link->own_slots_used |= 1U << own;
  const uint64_t offset = sizeof(Area) + uint64_t{own} * slot_bytes_;
  std::memcpy(link->area.base + offset, message.data + from, bytes);
  *place = {static_cast<int16_t>(-2 - static_cast<int>(own)), CellKind::kOwnSlot, offset};
  return true;
}

bool Staging::may_travel(const Link& link, uint64_t slots) const {
  const auto away = static_cast<uint32_t>(std::popcount(link.travellers));
  return slots <= free_count_ && away + slots <= kTravellersMax;
}

bool Staging::stage_travelling(Link* link, const Message& message, uint64_t from, uint64_t bytes,
                               Place* place) {
  if (!may_travel(*link, 1)) return false;
  take(message, 0, from, bytes, place);
  link->travellers |= 1U << static_cast<uint32_t>(place->slot);
  *place = {-1, CellKind::kTravellingSlot, place->offset};  // consuming the cell frees nothing
  return true;
}

int16_t Staging::traveller_at(const Link& link, uint64_t offset) const {
  if (offset < kPage || (offset - kPage) % slot_bytes_ != 0) return -1;
  const uint64_t slot = (offset - kPage) / slot_bytes_;
  if (slot >= kPoolSlots || (link.travellers >> slot & 1) == 0) return -1;
  return static_cast<int16_t>(slot);
}

void Staging::come_home(Link* link, int16_t slot) {
  link->travellers &= ~(1U << static_cast<uint32_t>(slot));
  release(link, slot);
}

void Staging::take(const Message& message, uint32_t share, uint64_t from, uint64_t bytes,
                   Place* place) {
  const int16_t index = free_[--free_count_];
  slots_[static_cast<size_t>(index)] = {1, share, message.fingerprint, from, bytes};
  const uint64_t offset = kPage + uint64_t{static_cast<uint16_t>(index)} * slot_bytes_;
  std::memcpy(pool_ + offset, message.data + from, bytes);
  *place = {index, CellKind::kPoolSlot, offset};
}

void Staging::release(Link* link, int16_t slot) {
  if (slot >= 0) {
    Slot& s = slots_[static_cast<size_t>(slot)];
    GOSSAMER_CHECK(s.references > 0);
    if (--s.references == 0) free_[free_count_++] = slot;
  } else if (slot <= -2) {
    link->own_slots_used &= ~(1U << static_cast<uint32_t>(-2 - slot));
  }
}

}  // namespace gossamer::shm
