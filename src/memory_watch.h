// Tells when memory of this process is unmapped, moved or given back to the system, so that what
// was remembered about it (a device's translation of it, a peer's key to it) is not used for
// whatever is mapped there next.
//
//   How        userfaultfd: the kernel holds a munmap(), mremap(), madvise(MADV_DONTNEED) or brk()
//              of a watched range until the watcher's thread has taken note, so a thread that has
//              come back from one of these always sees it noted. Page faults are left alone.
//   Where not  Not permitted (containers' seccomp filters; vm.unprivileged_userfaultfd does not
//              matter, user mode suffices), kernels before 5.7 (5.19 for shared memory), mapped
//              files, ranges another user of userfaultfd watches: watch() says no.
//   Fork       A child does not inherit it: there watch() says no.
//   Limit      A range that one thread is still inside munmap() of, and that another thread is
//              handed by mmap() meanwhile, is noted only when the first returns.
//   Threads    any. One thread of its own, asleep but for these events, from the first watch() on.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace gossamer {

struct MemoryRange {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

class MemoryWatch {
 public:
  static MemoryWatch& instance();

  // From now on changes of [begin, end), whole pages, are noted. False: this memory cannot be
  // watched.
  bool watch(MemoryRange pages);
  // Why nothing at all can be watched; empty: it can.
  std::string unavailable() const { return unavailable_; }

  // Where a reader begins.
  uint64_t now();
  // Whether gone_since(cursor) has something to say. Costs two loads.
  bool changed(uint64_t cursor);
  // Appends the ranges that have gone since *cursor, and moves it. False: too many to tell, so any
  // may have gone.
  bool gone_since(uint64_t* cursor, std::vector<MemoryRange>* gone);

 private:
  static constexpr uint64_t kKept = 4096;

  MemoryWatch();
  void listen();
  void note(MemoryRange range);

  // constant after construction
  int fd_ = -1;
  int pid_ = 0;
  std::string unavailable_;

  std::atomic<bool> reading_{false};  // an event may have been read that is not noted yet
  std::atomic<uint64_t> noted_{0};    // events so far

  std::mutex mutex_;
  std::vector<MemoryRange> gone_;  // guarded by mutex_: event i at i % kKept
};

}  // namespace gossamer
