// Memory that peers on the same host can read in place: collectives on it copy nothing.
//
// Threads    Any thread.
// Ownership  The caller frees with free_memory(), after every Work that uses it has completed.
// Units      Bytes.

#pragma once

#include <cstddef>
#include <cstdint>

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

// Zeroed, page-aligned, shareable memory.
//   kInvalidArgument  bytes is 0
//   kSystem           not enough memory for shared mappings; the message says what limits it
GOSSAMER_API Result<void*> allocate_memory(uint64_t bytes);

// Gives it back. kInvalidArgument: not an address that allocate_memory() returned.
GOSSAMER_API Status free_memory(void* memory);

}  // namespace gossamer
