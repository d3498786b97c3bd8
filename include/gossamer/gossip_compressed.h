// Gossip between two ranks alone whose values travel as codes. Collectives that have a graph take a
// codec as all collectives do: gossamer/compression.h.
//
// Threads    As Communicator.
// Ownership  Buffers, compression and residuals are lent for the call.
// Units      Counts are elements.

#pragma once

#include <cstdint>

#include "gossamer/communicator.h"
#include "gossamer/compression.h"
#include "gossamer/export.h"

namespace gossamer {

// As pair_gossip() in gossamer/gossip.h, of what both ranks' codes decode to: each sends one code,
// and takes its own for what it decodes to as well, so that both have the same bits. Computed in
// fp32, rounded once. The residual has `count` floats.
//   kInvalidArgument  as there; no codec, one without a name or of votes, or whose codes differ in
//                     length; more elements than it encodes
//   kMismatch         the ranks gave different counts, types or codecs; the message names this
//                     rank's. As after any failure, the communicator may be of no more use
//   others            as there
GOSSAMER_API Status pair_gossip(Communicator& comm, const void* input, void* output, uint64_t count,
                                DataType type, Rank peer, const Compression& compression);

}  // namespace gossamer
