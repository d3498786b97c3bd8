// The sentence every transport uses when what arrived is not what was expected.

#pragma once

#include <cinttypes>

#include "gossamer/transport.h"

namespace gossamer {

// True, and *fault set, when a message of `bytes` bytes and `fingerprint` from `peer` must not
// enter `sink` on rank `self`.
inline bool mismatched(Rank self, Rank peer, Lane lane, uint64_t bytes, Fingerprint fingerprint,
                       const Sink& sink, Fault* fault) {
  if (bytes == sink.bytes && fingerprint == sink.fingerprint) [[likely]]
    return false;
  fault->set(Code::kMismatch, peer,
             "rank %d sent %" PRIu64 " bytes of operation %016" PRIx64
             " where rank %d expected %" PRIu64 " bytes of operation %016" PRIx64
             " (lane %u); all ranks must make the same calls in the same order",
             peer, bytes, fingerprint, self, sink.bytes, sink.fingerprint, lane);
  fault->expected = sink.fingerprint;
  fault->arrived = fingerprint;
  fault->expected_bytes = sink.bytes;
  fault->arrived_bytes = bytes;
  return true;
}

}  // namespace gossamer
