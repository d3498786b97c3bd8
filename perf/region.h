// Buffers that are measured: page-aligned, ordinary or from the library.
//
// Ownership  Freed with the object.
// Units      Bytes.

#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "gossamer/memory.h"
#include "perf/table.h"

namespace gossamer {

class Region {
 public:
  Region() = default;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region() {
    if (data_ == nullptr) return;
    if (registered_)
      static_cast<void>(free_memory(data_));
    else
      munmap(data_, bytes_);
  }

  Status allocate(uint64_t bytes, bool registered) {
    bytes_ = std::max<uint64_t>(bytes, 4096);
    registered_ = registered;
    if (registered) {
      const Result<void*> made = allocate_memory(bytes_);
      if (!made) return made.status();
      data_ = *made;
    } else {
      void* made =
          mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (made == MAP_FAILED)
        return Status::error(Code::kSystem, "not enough memory for a buffer of " +
                                                bytes_text(bytes_) + "; lower -e");
      data_ = made;
    }
    std::memset(data_, 0, bytes_);
    return Status::ok();
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
  uint64_t bytes_ = 0;
  bool registered_ = false;
};

}  // namespace gossamer
