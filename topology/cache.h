// The host's last-level cache, by hwloc.
//
// Threads    Any; the first call looks, the others remember.
// Units      Bytes.

#pragma once

#include <cstdint>

namespace gossamer {

// All last-level caches of this host together. 32 MiB where the host does not tell.
uint64_t last_level_cache_bytes();

}  // namespace gossamer
