#include "src/memory_watch.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "src/system_text.h"

// Newer than some headers this is built with.
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

namespace gossamer {

namespace {

constexpr uint64_t kNeeded = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_UNMAP |
                             UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP;

int open_userfaultfd() {
  const int flags = O_CLOEXEC | O_NONBLOCK;
  const auto fd = static_cast<int>(::syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY));
  if (fd >= 0 || errno != EINVAL) return fd;
  return static_cast<int>(::syscall(SYS_userfaultfd, flags));  // kernels before 5.11
}

// A descriptor with the features it can have, or -1 and why not.
int open_with_features(std::string* why) {
  const int asking = open_userfaultfd();
  if (asking < 0) {
    *why = "userfaultfd: " + system_text(errno);
    return -1;
  }
  uffdio_api api{};
  api.api = UFFD_API;
  const bool answered = ::ioctl(asking, UFFDIO_API, &api) == 0;
  ::close(asking);
  if (!answered || (api.features & kNeeded) != kNeeded) {
    *why = "userfaultfd: this kernel tells nothing of unmapping";
    return -1;
  }
  const int fd = open_userfaultfd();
  const uint64_t wanted = kNeeded | (api.features & UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
  api = {};
  api.api = UFFD_API;
  api.features = wanted;
  if (fd >= 0 && ::ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  *why = "userfaultfd: " + system_text(errno);
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

MemoryWatch& MemoryWatch::instance() {
  static auto* const kInstance = new MemoryWatch;  // its thread may outlive every static object
  return *kInstance;
}

MemoryWatch::MemoryWatch() : fd_(open_with_features(&unavailable_)), pid_(::getpid()) {
  if (fd_ < 0) return;
  gone_.resize(kKept);
  // It must not run the program's signal handlers.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([this] { listen(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Takes no lock and allocates nothing between the end of poll() and that of read(): whoever unmaps
// may hold any lock, and waits for the read.
void MemoryWatch::listen() {
  for (;;) {
    pollfd waiting{fd_, POLLIN, 0};
    (void)::poll(&waiting, 1, -1);
    reading_.store(true, std::memory_order_seq_cst);
    uffd_msg message{};
    while (::read(fd_, &message, sizeof message) == static_cast<ssize_t>(sizeof message)) {
      if (message.event == UFFD_EVENT_UNMAP || message.event == UFFD_EVENT_REMOVE) {
        note({message.arg.remove.start, message.arg.remove.end});
      } else if (message.event == UFFD_EVENT_REMAP) {
        note({message.arg.remap.from, message.arg.remap.from + message.arg.remap.len});
      }
    }
    reading_.store(false, std::memory_order_seq_cst);
  }
}

void MemoryWatch::note(MemoryRange range) {
  const std::scoped_lock lock(mutex_);
  const uint64_t index = noted_.load(std::memory_order_relaxed);
  gone_[index % kKept] = range;
  noted_.store(index + 1, std::memory_order_release);
}

bool MemoryWatch::watch(MemoryRange pages) {
  if (fd_ < 0 || ::getpid() != pid_) return false;
  uffdio_register range{};
  range.range = {pages.begin, pages.end - pages.begin};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(fd_, UFFDIO_REGISTER, &range) == 0;
}

uint64_t MemoryWatch::now() {
  return noted_.load(std::memory_order_acquire);
}

bool MemoryWatch::changed(uint64_t cursor) {
  while (reading_.load(std::memory_order_seq_cst)) ::sched_yield();
  return noted_.load(std::memory_order_acquire) != cursor;
}

bool MemoryWatch::gone_since(uint64_t* cursor, std::vector<MemoryRange>* gone) {
  const std::scoped_lock lock(mutex_);
  const uint64_t noted = noted_.load(std::memory_order_relaxed);
  const bool all_kept = noted - *cursor <= kKept;
  for (uint64_t i = all_kept ? *cursor : noted; i < noted; ++i) gone->push_back(gone_[i % kKept]);
  *cursor = noted;
  return all_kept;
}

}  // namespace gossamer
