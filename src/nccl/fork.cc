#include "src/nccl/fork.h"

#include <pthread.h>

#include <atomic>

#include "src/nccl/debug.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

std::atomic<uint32_t> generation{1};

// The child must find no lock held by a thread that it does not have.
void before_fork() {
  lock_seats();
  lock_debug();
}
void in_parent() {
  unlock_debug();
  unlock_seats();
}
void in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
  forget_seats();
  in_parent();
}

}  // namespace

uint32_t process_generation() {
  return generation.load(std::memory_order_relaxed);
}

void watch_forks() {
  ::pthread_atfork(before_fork, in_parent, in_child);
}

}  // namespace gossamer::nccl
