#include "src/window.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

#include "gossamer/memory.h"

namespace gossamer {
namespace {

struct Table {
  std::mutex mutex;
  std::map<const std::byte*, SharedWindow> windows;  // by address
  uint32_t next_id = 1;
};

// Never destroyed: buffers may outlive static destruction.
Table& table() {
  static auto* const kTable = new Table;
  return *kTable;
}

// Why the system refused `bytes` of shared memory, and what to do.
std::string refusal(uint64_t bytes, const char* call, int error) {
  std::string remedy;
  rlimit limit{};
  if (error == EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0) {
    remedy = fmt::format("the file size limit is {} bytes; raise it with `ulimit -f unlimited`",
                         static_cast<uint64_t>(limit.rlim_cur));
  } else if (error == ENOSPC || error == ENOMEM) {
    remedy =
        "shared memory is exhausted: free memory, raise the container's memory limit (for Docker "
        "--memory and --shm-size), or lower the number of ranks per host";
  } else if (error == EMFILE || error == ENFILE) {
    remedy = "too many open files; raise the limit with `ulimit -n`";
  } else {
    remedy = "see `gossamer doctor`";
  }
  return fmt::format("{} of {} bytes of shared memory failed ({}); {}", call, bytes,
                     std::strerror(error), remedy);
}

}  // namespace

std::atomic<uint64_t> WindowView::table_generation{1};

const SharedWindow* WindowView::search(const std::byte* data, uint64_t bytes) {
  const auto after =
      std::upper_bound(windows_.begin(), windows_.end(), data,
                       [](const std::byte* p, const SharedWindow& w) { return p < w.base; });
  if (after == windows_.begin() || !contains(*(after - 1), data, bytes)) return nullptr;
  last_ = static_cast<size_t>(after - 1 - windows_.begin());
  return &windows_[last_];
}

void WindowView::refresh() {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  std::vector<SharedWindow> now;
  now.reserve(all.windows.size());
  for (const auto& [base, window] : all.windows) now.push_back(window);
  for (const SharedWindow& old : windows_) {
    const bool alive = std::any_of(now.begin(), now.end(),
                                   [&](const SharedWindow& window) { return window.id == old.id; });
    if (!alive) gone_.push_back(old.id);
  }
  windows_ = std::move(now);
  last_ = 0;
  generation_ = table_generation.load(std::memory_order_acquire);
}

Result<int> create_shared_memory(const char* name, uint64_t bytes) {
  // Past this limit the system would kill the process (SIGXFSZ) instead of refusing.
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      bytes > limit.rlim_cur) {
    return Status::error(Code::kSystem, refusal(bytes, "allocation", EFBIG));
  }
  const int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) return Status::error(Code::kSystem, refusal(bytes, "memfd_create", errno));
  // Reserving now turns a later SIGBUS into an error here.
  int error = 0;
  do {
    error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  if (error != 0) {
    close(fd);
    return Status::error(Code::kSystem, refusal(bytes, "allocation", error));
  }
  return fd;
}

Result<std::byte*> map_shared_memory(int fd, uint64_t bytes, bool populate) {
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_SHARED | (populate ? MAP_POPULATE : 0), fd, 0);
  if (base == MAP_FAILED) return Status::error(Code::kSystem, refusal(bytes, "mapping", errno));
  return static_cast<std::byte*>(base);
}

Result<void*> allocate_memory(uint64_t bytes) {
  if (bytes == 0) {
    return Status::error(Code::kInvalidArgument, "allocate_memory of 0 bytes; ask for at least 1");
  }
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (bytes > UINT64_MAX / 2) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("allocate_memory of {} bytes is more than any machine has; "
                                     "check the size for a negative or overflowed count",
                                     bytes));
  }
  const uint64_t rounded = (bytes + page - 1) / page * page;
  Result<int> fd = create_shared_memory("gossamer-window", rounded);
  if (!fd) return fd.status();
  Result<std::byte*> base = map_shared_memory(*fd, rounded, true);
  if (!base) {
    close(*fd);
    return base.status();
  }
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  all.windows[*base] = SharedWindow{*base, rounded, all.next_id++, *fd};
  WindowView::table_generation.fetch_add(1, std::memory_order_release);
  return static_cast<void*>(*base);
}

Status free_memory(void* memory) {
  if (memory == nullptr) return Status::ok();
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const auto it = all.windows.find(static_cast<const std::byte*>(memory));
  if (it == all.windows.end()) {
    return Status::error(Code::kInvalidArgument,
                         "free_memory of an address that allocate_memory did not return, or that "
                         "was freed before");
  }
  munmap(memory, it->second.bytes);
  close(it->second.fd);
  all.windows.erase(it);
  WindowView::table_generation.fetch_add(1, std::memory_order_release);
  return Status::ok();
}

}  // namespace gossamer
