// What accounts of members change. They are ordered by (incarnation, state) and only a higher one
// than the one held is news; news is passed on.

#include <algorithm>
#include <utility>

#include "gossip/membership/protocol.h"

namespace gossamer::swim {
namespace {

// The accuser where somebody only was told of a death. However many repeat it, they count as one:
// when a partition heals, half of the group does.
constexpr MemberId kHearsay = 1;

std::pair<uint32_t, MemberState> order_of(const Update& update) {
  return {update.incarnation, update.state};
}
std::pair<uint32_t, MemberState> order_of(const Roster::Entry& entry) {
  return {entry.incarnation, entry.state};
}

bool same_content(const Update& update, const Roster::Entry& entry) {
  return update.metadata == entry.metadata && update.address == entry.address;
}

}  // namespace

Update Protocol::rumour_of(const Roster::Entry& entry) const {
  Update update;
  update.id = entry.id;
  update.incarnation = entry.incarnation;
  update.state = entry.state;
  if (entry.state == MemberState::kAlive) {
    update.stuck = entry.stuck;
    update.address = entry.address;
    update.metadata = entry.metadata;
  } else if (entry.state == MemberState::kSuspect) {
    update.accusers = suspicions_.at(entry.id).accusers;
  }
  return update;
}

void Protocol::apply(Instant now, const Update& update, const Message& from) {
  if (update.id == config_.id) {
    apply_to_self(now, update);
    return;
  }
  // Who joins alone gets to know of all that the others know already.
  const bool spread = from.kind != Kind::kState || !join_ || !join_->alone;
  const Roster::Entry* known = roster_.find(update.id);
  if (known == nullptr) {
    introduce(now, update, from.kind, spread);
    return;
  }
  const Roster::Entry old = *known;
  Update heard = update;
  if (from.kind == Kind::kState && heard.state == MemberState::kDead && old.is_live()) {
    heard.state = MemberState::kSuspect;
    heard.accusers = {kHearsay};
  }
  if (heard.state == MemberState::kSuspect && order_of(heard) == order_of(old)) {
    hear_suspect(now, heard, old);
  } else if (order_of(heard) > order_of(old)) {
    switch (heard.state) {
      case MemberState::kAlive:
        hear_alive(now, heard, old, spread);
        break;
      case MemberState::kSuspect:
        hear_suspect(now, heard, old);
        break;
      default:
        hear_end(now, heard, old);
    }
  }
}

// Only we know that we are alive, so whatever else is said is answered with a higher incarnation.
void Protocol::apply_to_self(Instant now, const Update& update) {
  const Roster::Entry& self = roster_.self();
  const bool taken_for_dead =
      update.state > MemberState::kSuspect && update.incarnation >= ends_heard_ && !leave_;
  if (taken_for_dead) {
    ends_heard_ = update.incarnation + 1;
    emit(MemberEventKind::kReturned, self);
  }
  if (leave_ || update.incarnation < self.incarnation ||
      (update.incarnation == self.incarnation && update.state == MemberState::kAlive)) {
    return;
  }
  if (update.state != MemberState::kAlive) health_.change(1);
  raise_incarnation(now, self, update.incarnation);
}

void Protocol::raise_incarnation(Instant now, Roster::Entry self, uint32_t above) {
  self.incarnation = std::min(above, kIncarnationMax - 1) + 1;
  roster_.put(self, now);
  rumours_.spread(self.id);
}

// Of those not known only the living are of interest. A rumour of an end is remembered, as it may
// overtake that of the beginning, but it is not passed on, and a comparison does not revive it: it
// would circle for ever among members that forget it at different times.
void Protocol::introduce(Instant now, const Update& update, Kind how, bool spread) {
  Roster::Entry entry;
  entry.id = update.id;
  entry.incarnation = update.incarnation;
  entry.state = update.state;
  if (update.state == MemberState::kAlive) {
    if (roster_.live() >= timing_.members_max) {
      ++counters_.refused_members;
      return;
    }
    entry.address = update.address;
    entry.metadata = update.metadata;
    entry.stuck = update.stuck;
    roster_.put(entry, now);
    if (spread) rumours_.spread(entry.id);
    emit(MemberEventKind::kJoined, entry);
  } else if (update.state != MemberState::kSuspect && how != Kind::kState) {
    roster_.put(entry, now);
  }
}

void Protocol::hear_alive(Instant now, const Update& update, const Roster::Entry& old,
                          bool spread) {
  if (!old.is_live() && roster_.live() >= timing_.members_max) {
    ++counters_.refused_members;
    return;
  }
  Roster::Entry entry = old;
  entry.incarnation = update.incarnation;
  entry.state = MemberState::kAlive;
  entry.address = update.address;
  entry.metadata = update.metadata;
  entry.stuck = update.stuck;
  suspicions_.erase(entry.id);
  roster_.put(entry, now);
  if (spread || !old.is_live()) rumours_.spread(entry.id);
  if (!old.is_live()) {
    emit(MemberEventKind::kReturned, entry);
  } else if (old.state == MemberState::kSuspect) {
    emit(MemberEventKind::kRefuted, entry);
  }
  if (old.is_live() && !same_content(update, old)) emit(MemberEventKind::kUpdated, entry);
  if (entry.stuck != old.stuck) {
    emit(entry.stuck ? MemberEventKind::kStuck : MemberEventKind::kMoving, entry);
  }
}

// Also when it is under the same suspicion already: who is new among its accusers confirms it.
void Protocol::hear_suspect(Instant now, const Update& update, const Roster::Entry& old) {
  if (!old.is_live()) return;  // its return comes first
  Roster::Entry entry = old;
  entry.incarnation = update.incarnation;
  entry.state = MemberState::kSuspect;
  auto found = suspicions_.find(entry.id);
  const bool is_new = found == suspicions_.end() || old.incarnation != update.incarnation;
  if (is_new) {
    Suspicion s;
    s.started = now;
    s.least = least_suspicion(timing_.probe_interval, timing_.suspicion_factor, roster_.live());
    s.most = timing_.lifeguard ? scaled(s.least, timing_.suspicion_spread) : s.least;
    // Neither it nor the first accuser can confirm.
    s.wanted = std::min({timing_.confirmations, static_cast<int>(kAccusersMax) - 1,
                         static_cast<int>(roster_.live()) - 2});
    found = suspicions_.insert_or_assign(entry.id, std::move(s)).first;
    roster_.put(entry, now);
    rumours_.spread(entry.id);
  }
  std::vector<MemberId>& accusers = found->second.accusers;
  const auto wanted = static_cast<size_t>(std::max(found->second.wanted, 0)) + 1;
  for (const MemberId accuser : update.accusers) {
    if (accusers.size() >= wanted ||
        std::find(accusers.begin(), accusers.end(), accuser) != accusers.end()) {
      continue;
    }
    accusers.push_back(accuser);
    if (!is_new) rumours_.spread(entry.id);
  }
  if (old.state != MemberState::kSuspect) emit(MemberEventKind::kSuspected, entry);
}

void Protocol::hear_end(Instant now, const Update& update, const Roster::Entry& old) {
  Roster::Entry entry = old;
  entry.incarnation = update.incarnation;
  entry.state = update.state;
  entry.stuck = false;
  suspicions_.erase(entry.id);
  roster_.put(entry, now);
  if (!old.is_live()) return;
  rumours_.spread(entry.id);
  emit(entry.state == MemberState::kLeft ? MemberEventKind::kLeft : MemberEventKind::kDied, entry);
}

void Protocol::suspect(Instant now, MemberId id) {
  const Roster::Entry* known = roster_.find(id);
  if (known == nullptr || !known->is_live()) return;
  Update update;
  update.id = id;
  update.incarnation = known->incarnation;
  update.state = MemberState::kSuspect;
  update.accusers = {config_.id};
  hear_suspect(now, update, Roster::Entry(*known));
}

void Protocol::tick_suspicions(Instant now) {
  std::vector<MemberId> over;
  for (const auto& [id, suspicion] : suspicions_) {
    if (now >= suspicion.ends()) over.push_back(id);
  }
  std::sort(over.begin(), over.end());  // equal seeds give equal runs
  for (const MemberId id : over) {
    const Roster::Entry old = *roster_.find(id);
    Update end;
    end.id = id;
    end.incarnation = old.incarnation;
    end.state = MemberState::kDead;
    hear_end(now, end, old);
  }
}

}  // namespace gossamer::swim
