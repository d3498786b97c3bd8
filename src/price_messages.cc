#include "src/price_messages.h"

#include <algorithm>

namespace gossamer {

double price_messages(const Machine& machine, Rank self, std::span<const PricedMessage> messages) {
  double processor_us = 0;
  double out_us = 0;
  double in_us = 0;
  double latency_us = 0;
  for (const PricedMessage& message : messages) {
    const auto bytes = static_cast<double>(message.bytes);
    processor_us += machine.step_us;
    if (message.peer == self) {  // its two ends share one copy
      processor_us += message.sends ? bytes * machine.copy_us_per_byte : 0;
      continue;
    }
    const LinkCost& link = machine.link(self, message.peer);
    const double per_byte = message.sends ? link.send_us_per_byte : link.recv_us_per_byte;
    const double beyond = std::max(0.0, bytes - link.long_bytes);
    processor_us += link.overhead_us + bytes * per_byte + beyond * link.long_us_per_byte;
    (message.sends ? out_us : in_us) += bytes * link.wire_us_per_byte;
    latency_us = std::max(latency_us, link.latency_us);
  }
  return std::max({processor_us, out_us, in_us}) + latency_us;
}

}  // namespace gossamer
