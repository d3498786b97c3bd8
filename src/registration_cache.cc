#include "src/registration_cache.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "src/check.h"

namespace gossamer {

namespace {

uintptr_t page_bytes() {
  static const auto kBytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return kBytes;
}

uintptr_t page_down(uintptr_t address) {
  return address & ~(page_bytes() - 1);
}

uintptr_t page_up(uintptr_t address) {
  return page_down(address + page_bytes() - 1);
}

}  // namespace

RegistrationCache::RegistrationCache(Registrar* registrar, MemoryWatch* watch, Bounds bounds)
    : registrar_(registrar), watch_(watch), bounds_(bounds) {
  if (watch_ != nullptr) cursor_ = watch_->now();
}

RegistrationCache::~RegistrationCache() {
  for (const auto& entry : entries_) registrar_->deregister_memory(entry.second->handle);
  for (const auto& registration : dying_) registrar_->deregister_memory(registration->handle);
}

void RegistrationCache::retire(std::unique_ptr<Registration> registration) {
  if (registration->uses > 0) {
    registration->gone = true;
    dying_.push_back(std::move(registration));
  } else {
    registrar_->deregister_memory(registration->handle);
  }
}

RegistrationCache::Entries::iterator RegistrationCache::drop(Entries::iterator entry) {
  std::unique_ptr<Registration> registration = std::move(entry->second);
  bytes_ -= registration->end - registration->begin;
  const auto next = entries_.erase(entry);
  retire(std::move(registration));
  return next;
}

void RegistrationCache::drop_what_has_gone() {
  if (watch_ == nullptr || !watch_->changed(cursor_)) return;
  gone_.clear();
  const bool all = !watch_->gone_since(&cursor_, &gone_);
  for (auto it = entries_.begin(); it != entries_.end();) {
    const Registration& r = *it->second;
    const auto meets = [&r](const MemoryRange& g) { return g.begin < r.end && r.begin < g.end; };
    // What was too much to keep may have held anything; a pin vouches for its memory.
    const bool gone = (all && r.pins == 0) || std::any_of(gone_.begin(), gone_.end(), meets);
    it = gone ? drop(it) : std::next(it);
  }
}

bool RegistrationCache::drop_oldest() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->second->uses > 0 || it->second->pins > 0) continue;
    if (oldest == entries_.end() || it->second->used_at < oldest->second->used_at) oldest = it;
  }
  if (oldest == entries_.end()) return false;
  drop(oldest);
  return true;
}

Registration* RegistrationCache::find(uintptr_t begin, uintptr_t end) {
  Registration* best = nullptr;
  for (auto it = entries_.upper_bound(begin); it != entries_.begin();) {
    --it;
    Registration& r = *it->second;
    if (best != nullptr && r.begin < best->begin) break;
    if (end - r.begin > longest_) break;  // nor does any that begins before it reach so far
    if (r.end >= end && (best == nullptr || r.end < best->end)) best = &r;
  }
  return best;
}

Registration* RegistrationCache::add(uintptr_t begin, uintptr_t end, bool pinned) {
  const bool watched = watch_ != nullptr && watch_->watch({begin, end});
  if (!watched && !pinned) return nullptr;
  while (entries_.size() >= bounds_.entries || bytes_ + (end - begin) > bounds_.bytes) {
    if (!drop_oldest()) {
      if (!pinned) return nullptr;  // all in use: copying is cheaper than no bound
      break;
    }
  }
  // whole pages around the memory asked for
  auto* const first = reinterpret_cast<std::byte*>(begin);  // NOLINT(performance-no-int-to-ptr)
  const std::span<std::byte> pages(first, end - begin);
  void* handle = nullptr;
  do {
    handle = registrar_->register_memory(pages, &refusal_);
  } while (handle == nullptr && drop_oldest());
  if (handle == nullptr) return nullptr;
  refusal_.clear();
  ++registrations_;
  auto made = std::make_unique<Registration>();
  made->begin = begin;
  made->end = end;
  made->id = next_id_++;
  made->handle = handle;
  made->watched = watched;
  Registration* const registration = made.get();
  entries_.emplace(begin, std::move(made));
  longest_ = std::max(longest_, end - begin);
  bytes_ += end - begin;
  return registration;
}

Registration* RegistrationCache::acquire(const std::byte* data, uint64_t bytes) {
  drop_what_has_gone();
  const uintptr_t begin = page_down(reinterpret_cast<uintptr_t>(data));
  const uintptr_t end = page_up(reinterpret_cast<uintptr_t>(data) + bytes);
  Registration* registration = find(begin, end);
  if (registration == nullptr) registration = add(begin, end, false);
  if (registration == nullptr) return nullptr;
  ++registration->uses;
  registration->used_at = ++clock_;
  return registration;
}

void RegistrationCache::release(Registration* registration) {
  GOSSAMER_CHECK(registration->uses > 0);
  if (--registration->uses > 0 || !registration->gone) return;
  const auto it = std::find_if(dying_.begin(), dying_.end(),
                               [=](const auto& dying) { return dying.get() == registration; });
  GOSSAMER_CHECK(it != dying_.end());
  registrar_->deregister_memory(registration->handle);
  dying_.erase(it);
}

Status RegistrationCache::pin(std::span<std::byte> span) {
  if (span.empty()) return Status::ok();
  drop_what_has_gone();
  const uintptr_t begin = page_down(reinterpret_cast<uintptr_t>(span.data()));
  const uintptr_t end = page_up(reinterpret_cast<uintptr_t>(span.data()) + span.size());
  const auto [first, last] = entries_.equal_range(begin);
  for (auto it = first; it != last; ++it) {
    if (it->second->end != end) continue;
    ++it->second->pins;
    return Status::ok();
  }
  Registration* const registration = add(begin, end, true);
  if (registration == nullptr) return Status::error(Code::kSystem, refusal_);
  registration->pins = 1;
  return Status::ok();
}

void RegistrationCache::unpin(std::span<std::byte> span) {
  if (span.empty()) return;
  drop_what_has_gone();
  const uintptr_t begin = page_down(reinterpret_cast<uintptr_t>(span.data()));
  const uintptr_t end = page_up(reinterpret_cast<uintptr_t>(span.data()) + span.size());
  const auto [first, last] = entries_.equal_range(begin);
  for (auto it = first; it != last; ++it) {
    if (it->second->end != end || it->second->pins == 0) continue;
    // The memory is about to be freed, so an entry that nothing watches must not outlive this.
    if (--it->second->pins == 0) drop(it);
    return;
  }
}

}  // namespace gossamer
