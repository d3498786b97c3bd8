// Remembers which memory is registered with a device, so that a buffer that is used again costs a
// lookup.
//
//   Rule       Memory is used from the cache only while it is known to be the same memory: either
//              its owner vouches for it, pin() to unpin(), or MemoryWatch tells of every change to
//              it. Other memory is not registered at all: acquire() returns null, and the caller
//              copies instead. An entry whose memory has gone is never found again; its
//              registration ends when its last user releases it.
//   Pinned     memory may not be unmapped before unpin(); where it can be watched, doing so
//              nonetheless ends its registration.
//   Bounds     by entries and by bytes; the least recently used go first, never those in use or
//              pinned. A registration that the system refuses is tried again without the others.
//   Intervals  entries are whole pages and may overlap. The one found is the shortest of those that
//              begin nearest below, so equal requests find equal entries.
//   Threads    one thread per object.
//   Memory     a lookup that finds does not allocate.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/status.h"
#include "src/memory_watch.h"

namespace gossamer {

// Who registers. Handles are never null.
class Registrar {
 public:
  virtual ~Registrar() = default;
  // Null: refused; *why says what to do.
  virtual void* register_memory(std::span<std::byte> pages, std::string* why) = 0;
  virtual void deregister_memory(void* handle) = 0;
};

struct Registration {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  uint64_t id = 0;  // never used again by this cache
  void* handle = nullptr;

  // the cache's own
  uint32_t uses = 0;
  uint32_t pins = 0;
  bool watched = false;
  bool gone = false;  // no longer found; ends with its last use
  uint64_t used_at = 0;
};

class RegistrationCache {
 public:
  struct Bounds {
    size_t entries = 4096;
    uint64_t bytes = uint64_t{1} << 36;
  };
  // `watch` may be null: then only pinned memory is used. Both outlive the cache.
  RegistrationCache(Registrar* registrar, MemoryWatch* watch, Bounds bounds);
  ~RegistrationCache();
  RegistrationCache(const RegistrationCache&) = delete;
  RegistrationCache& operator=(const RegistrationCache&) = delete;

  // A registration that holds [data, data + bytes), in use until release(); null: copy instead.
  Registration* acquire(const std::byte* data, uint64_t bytes);
  void release(Registration* registration);

  // The caller vouches for `span` until unpin() of the same span, as many times.
  //   kSystem  the device did not take it; the message says why and what to do
  Status pin(std::span<std::byte> span);
  void unpin(std::span<std::byte> span);

  uint64_t registrations() const { return registrations_; }  // so far
  size_t entries() const { return entries_.size(); }
  uint64_t bytes() const { return bytes_; }
  const std::string& refusal() const { return refusal_; }  // the registrar's last, or empty

 private:
  using Entries = std::multimap<uintptr_t, std::unique_ptr<Registration>>;

  Registration* find(uintptr_t begin, uintptr_t end);
  Registration* add(uintptr_t begin, uintptr_t end, bool pinned);
  void drop_what_has_gone();
  bool drop_oldest();
  Entries::iterator drop(Entries::iterator entry);
  void retire(std::unique_ptr<Registration> registration);

  Registrar* const registrar_;
  MemoryWatch* const watch_;
  const Bounds bounds_;
  Entries entries_;                                   // by begin
  std::vector<std::unique_ptr<Registration>> dying_;  // gone and in use
  uintptr_t longest_ = 0;                             // bytes of the longest entry there ever was
  uint64_t bytes_ = 0;
  uint64_t clock_ = 0;
  uint64_t next_id_ = 1;
  uint64_t registrations_ = 0;
  uint64_t cursor_ = 0;  // into the watch
  std::vector<MemoryRange> gone_;
  std::string refusal_;
};

}  // namespace gossamer
