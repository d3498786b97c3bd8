// What the ranks of a window send each other: packets, and values behind some of them.
//
//   Put, add, value   packet, then the value's elements, then an end. The receiver posts the
//                     receive when the packet comes and takes the value when the end does, so it
//                     never waits for a sender that was stopped in between.
//   Applied           the answer to an end of a put or an add; until it comes the sender keeps the
//                     value, and after a loss sends it again under the same number
//   Get               answered by a value of the same number
//   Hello             to every rank of a communicator when it is made: without a link nobody hears
//                     of a death at its other end
//   Done              the sender has called free()
//   Leave             it goes, and is not to be sent to any more
//   Stop              to oneself: the thread that serves ends
//
//   Threads   Plain data.

#pragma once

#include <cstdint>

namespace gossamer {

enum class WindowPacketKind : uint32_t {
  kNone = 0,
  kPut = 1,
  kAdd = 2,
  kValue = 3,
  kEnd = 4,
  kApplied = 5,
  kGet = 6,
  kDone = 7,
  kLeave = 8,
  kStop = 9,
  kHello = 10,
};

struct WindowPacket {
  WindowPacketKind kind = WindowPacketKind::kNone;
  uint32_t zero = 0;
  // Of puts and adds together, per direction of a pair: 1, 2, ...; of gets likewise.
  uint64_t number = 0;
  // Put, add: the sender's clock. Value: how often it has been set.
  uint64_t version = 0;
};
static_assert(sizeof(WindowPacket) == 24, "no padding travels");

}  // namespace gossamer
