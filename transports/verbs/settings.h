// What GOSSAMER_IB_* says about connections. Names and values are those of NCCL_IB_*; READ is ours.
//
//   Patience   a peer's device that does not answer is given up after
//              (1 + retries) x 4.096 us x 2^timeout: 1.9 s unless set otherwise. The timeout, 0.27
//              s, is well above the longest round trip between sites. Soft-RoCE takes 7 retries
//              for any number.
//   Relaxed    ordering lets a host write what a device delivers in any order. Nothing here ever
//              looks at data before the completion that follows it, so it is safe, as is a network
//              that delivers packets out of order (adaptive routing).

#pragma once

#include <cstdint>

#include "gossamer/status.h"

namespace gossamer::verbs {

enum class RelaxedOrdering : uint8_t { kOff, kOn, kWherePossible };

struct Settings {
  uint8_t timeout = 16;       // GOSSAMER_IB_TIMEOUT, 1 to 31
  uint8_t retries = 6;        // GOSSAMER_IB_RETRY_CNT, 0 to 7
  uint8_t service_level = 0;  // GOSSAMER_IB_SL, 0 to 15
  uint8_t traffic_class = 0;  // GOSSAMER_IB_TC, 0 to 255; Ethernet's DSCP in its upper six bits
  RelaxedOrdering relaxed_ordering = RelaxedOrdering::kWherePossible;  // ..._PCI_RELAXED_ORDERING
  bool reads = false;  // GOSSAMER_IB_READ: receivers read long messages (pulls.cc)

  // kInvalidArgument: one is no number, or out of its range; the message says which.
  static Result<Settings> read();
};

}  // namespace gossamer::verbs
