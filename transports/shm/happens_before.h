// What orders the two ends of a link, for the thread sanitizer. It knows memory by its address, and
// ends in one process see the cells at two, so it would take a message that is read where its
// sender keeps it for a race.
//
// Threads    Driving threads of both ends.

#pragma once

#include <cstdint>

#include "gossamer/types.h"

#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define GOSSAMER_SHM_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define GOSSAMER_SHM_TSAN 0
#endif

namespace gossamer::shm {

#if GOSSAMER_SHM_TSAN
// Stands for what `owner` writes into its area for `reader`.
inline void* order_of(uint64_t session, Rank owner, Rank reader) {
  static char orders[1 << 16];
  const uint64_t pair = static_cast<uint64_t>(owner) << 32 | static_cast<uint32_t>(reader);
  return &orders[(session ^ pair) * 0x9E3779B97F4A7C15u >> 48];
}
#endif

// Call before the store that the reader looks for.
inline void before_store([[maybe_unused]] uint64_t session, [[maybe_unused]] Rank owner,
                         [[maybe_unused]] Rank reader) {
#if GOSSAMER_SHM_TSAN
  __tsan_release(order_of(session, owner, reader));
#endif
}

// Call after the load that has found it.
inline void after_load([[maybe_unused]] uint64_t session, [[maybe_unused]] Rank owner,
                       [[maybe_unused]] Rank reader) {
#if GOSSAMER_SHM_TSAN
  __tsan_acquire(order_of(session, owner, reader));
#endif
}

}  // namespace gossamer::shm
