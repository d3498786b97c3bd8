// What fork() means here: a child has none of its parent's threads, so its parent's communicators
// are of no use in it and are neither waited for nor taken leave of; it may make its own.
//
// Threads    Any.

#pragma once

#include <cstdint>

namespace gossamer::nccl {

// Tells this process from those forked from it.
uint32_t process_generation();
// Registers with fork(); once.
void watch_forks();

}  // namespace gossamer::nccl
