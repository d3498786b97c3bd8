// What the two forms of pair_gossip() refuse alike.
//
// Threads    Pure.

#pragma once

#include <cstddef>
#include <cstdint>

#include "gossamer/communicator.h"

namespace gossamer {

Status check_pair(const Communicator& comm, const std::byte* input, const std::byte* output,
                  uint64_t count, DataType type, Rank peer);

}  // namespace gossamer
