// Prices messages between ranks that are all issued at once: what one rank spends on them.
//
// Threads    Pure.
// Units      Microseconds, bytes.

#pragma once

#include <span>

#include "src/price.h"

namespace gossamer {

struct PricedMessage {
  Rank peer = 0;  // its position in the machine, or `self`
  bool sends = false;
  uint64_t bytes = 0;
};

// From the first issue to the last arrival, if every peer is there: the processor handles them one
// after another, each port carries its direction's bytes, and the last one takes its latency.
double price_messages(const Machine& machine, Rank self, std::span<const PricedMessage> messages);

}  // namespace gossamer
