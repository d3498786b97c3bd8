// Windows: memory from allocate_memory(), known to this process by address and to peers on the same
// host by file descriptor. The process-wide table and a per-transport view of it.
//
// Threads    The table is guarded by a mutex; a WindowView belongs to one thread and looks up
//            without locking while the table is unchanged.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

struct SharedWindow {
  const std::byte* base = nullptr;
  uint64_t bytes = 0;
  uint32_t id = 0;  // never used again within the process
  int fd = -1;      // owned by the table; valid until the window is freed
};

class WindowView {
 public:
  // The window that contains [data, data + bytes), or null. The result is valid until the next
  // call.
  const SharedWindow* find(const std::byte* data, uint64_t bytes) {
    if (generation_ != table_generation.load(std::memory_order_acquire)) refresh();
    if (last_ < windows_.size() && contains(windows_[last_], data, bytes)) return &windows_[last_];
    return search(data, bytes);
  }
  // Ids of windows that are gone since the last call; peers may unmap them.
  std::vector<uint32_t> take_gone() { return std::exchange(gone_, {}); }
  bool any_gone() const { return !gone_.empty(); }

  static std::atomic<uint64_t> table_generation;  // moves when a window comes or goes

 private:
  static bool contains(const SharedWindow& w, const std::byte* data, uint64_t bytes) {
    return data >= w.base && data + bytes <= w.base + w.bytes;
  }
  const SharedWindow* search(const std::byte* data, uint64_t bytes);
  void refresh();

  uint64_t generation_ = 0;
  size_t last_ = 0;
  std::vector<SharedWindow> windows_;  // by address
  std::vector<uint32_t> gone_;
};

// A memfd of `bytes`, all of it backed, so that touching it cannot fail later. Nothing has a name
// in a file system, so a crash leaves nothing behind.
//   kSystem  the message says which limit refused it
Result<int> create_shared_memory(const char* name, uint64_t bytes);
// Maps it all, readable and writable.
Result<std::byte*> map_shared_memory(int fd, uint64_t bytes, bool populate);

}  // namespace gossamer
