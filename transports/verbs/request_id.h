// What a completion carries: whose it is, which of a pair's connections, which attempt (a pair that
// moves to another port makes new ones), and which request or receive slot.
//
// Threads    Pure.

#pragma once

#include <cstdint>

namespace gossamer::verbs {

struct RequestId {
  uint16_t pair = 0;
  uint8_t attempt = 0;  // of 64
  bool notes = false;
  bool received = false;
  uint64_t number = 0;  // a request's, or a receive slot's

  static constexpr uint64_t kNumberMask = (uint64_t{1} << 40) - 1;
  static constexpr uint8_t kAttemptMask = 63;
  uint64_t pack() const;
  static RequestId unpack(uint64_t id);
};

}  // namespace gossamer::verbs
