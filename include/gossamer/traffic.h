// What transports have done with a rank's messages: how they travelled and what that cost.
//
// Units      Counts, since the transport was made; they never fall.

#pragma once

#include <cstdint>

#include "gossamer/export.h"

namespace gossamer {

struct GOSSAMER_API Traffic {
  // Copies of message bytes by the transport itself: into or out of memory of its own. The last
  // move, a fold or a copy from the sender's own memory into the sink's target, is not one.
  uint64_t copies = 0;
  uint64_t bytes_copied = 0;
  uint64_t registrations = 0;    // of memory with a device, and mappings of a peer's window
  uint64_t exchanges = 0;        // messages that describe memory: an address, a key, a descriptor
  uint64_t inline_messages = 0;  // sent within the flag, cell or record that announces them
  uint64_t staged_messages = 0;  // sent through memory of the transport
  uint64_t direct_messages = 0;  // sent from, or taken in, the caller's own memory

  Traffic& operator+=(const Traffic& other);
};

}  // namespace gossamer
