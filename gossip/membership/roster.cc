#include "gossip/membership/roster.h"

#include <algorithm>

#include "src/check.h"

namespace gossamer::swim {
namespace {

uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

uint64_t Random::operator()() {
  state_ += 0x9e3779b97f4a7c15;
  return mixed(state_);
}

Roster::Roster(const Entry& self, uint64_t seed) : self_(self.id), random_(seed) {
  entries_.emplace(self.id, self);
  count_in_digest(self);
}

const Roster::Entry* Roster::find(MemberId id) const {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

// Suspects count as living: a suspicion passes, and must not make two members send each other all
// they know.
void Roster::count_in_digest(const Entry& entry) {
  if (entry.is_live()) digests_[bucket_of(entry.id)] ^= mixed(entry.id ^ mixed(entry.incarnation));
}

void Roster::put(const Entry& entry, Instant now) {
  const auto [at, is_new] = entries_.try_emplace(entry.id, entry);
  const bool was_live = !is_new && at->second.is_live();
  const bool was_dead = !is_new && !was_live;
  if (!is_new) {
    count_in_digest(at->second);  // takes the old account out again
    at->second = entry;
  }
  count_in_digest(entry);
  if (entry.id == self_) return;
  if (entry.is_live() && !was_live) enter_order(entry.id);
  if (!entry.is_live() && was_live) leave_order(entry.id);
  if (entry.is_live() && was_dead) {
    std::erase_if(tombstones_, [&](const Tombstone& t) { return t.id == entry.id; });
  }
  if (!entry.is_live() && !was_dead) {
    tombstones_.push_back({now, entry.id});
    if (tombstones_.size() > kTombstonesMax) {
      entries_.erase(tombstones_.front().id);
      tombstones_.pop_front();
    }
  }
}

void Roster::set_progress(MemberId id, uint64_t progress) {
  const auto found = entries_.find(id);
  if (found != entries_.end()) found->second.progress = progress;
}

void Roster::forget(Instant since) {
  while (!tombstones_.empty() && tombstones_.front().since < since) {
    entries_.erase(tombstones_.front().id);
    tombstones_.pop_front();
  }
}

void Roster::enter_order(MemberId id) {
  const size_t place = random_.below(order_.size() + 1);
  order_.insert(order_.begin() + static_cast<std::ptrdiff_t>(place), id);
  if (place < next_) ++next_;
}

void Roster::leave_order(MemberId id) {
  const auto at = std::find(order_.begin(), order_.end(), id);
  GOSSAMER_CHECK(at != order_.end());
  if (static_cast<size_t>(at - order_.begin()) < next_) --next_;
  order_.erase(at);
}

const Roster::Entry* Roster::next_target() {
  if (order_.empty()) return nullptr;
  if (next_ >= order_.size()) {
    std::shuffle(order_.begin(), order_.end(), random_);
    next_ = 0;
  }
  return &entries_.at(order_[next_++]);
}

// Few out of many are drawn until enough are new and suitable, which in a large group that is half
// dead may not be the case; otherwise a shuffled copy is gone through.
template <class Suits>
std::vector<const Roster::Entry*> Roster::pick_suitable(size_t count, const Suits& suits) {
  std::vector<const Entry*> picked;
  picked.reserve(count);
  const auto take = [&](MemberId id) {
    const Entry* entry = &entries_.at(id);
    if (!suits(*entry) || std::find(picked.begin(), picked.end(), entry) != picked.end()) return;
    picked.push_back(entry);
  };
  if (order_.size() > 4 * (count + 1)) {
    for (size_t tries = 8 * count; picked.size() < count && tries > 0; --tries) {
      take(order_[random_.below(order_.size())]);
    }
    return picked;
  }
  std::vector<MemberId> ids = order_;
  std::shuffle(ids.begin(), ids.end(), random_);
  for (size_t i = 0; i < ids.size() && picked.size() < count; ++i) take(ids[i]);
  return picked;
}

std::vector<const Roster::Entry*> Roster::pick(size_t count) {
  return pick_suitable(count, [](const Entry&) { return true; });
}

std::vector<const Roster::Entry*> Roster::pick_helpers(size_t count, MemberId except) {
  return pick_suitable(count, [&](const Entry& entry) {
    return entry.id != except && entry.state == MemberState::kAlive;
  });
}

const Roster::Entry* Roster::pick_dead() {
  constexpr int kTries = 8;
  for (int i = 0; i < kTries && !tombstones_.empty(); ++i) {
    const Entry& entry = entries_.at(tombstones_[random_.below(tombstones_.size())].id);
    if (entry.state == MemberState::kDead && entry.address.family != 0) return &entry;
  }
  return nullptr;
}

}  // namespace gossamer::swim
