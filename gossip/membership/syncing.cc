// Joining, and comparing all that is known with one other member.

#include <algorithm>

#include "gossip/membership/protocol.h"

namespace gossamer::swim {
namespace {

// Answers to one comparison; what does not fit comes in a later one. 32 datagrams are less than
// half of what a socket of default size keeps.
constexpr size_t kStateDatagramsMax = 32;
constexpr int kUnansweredMax = 4;  // comparisons; then the other is asked again who it is
// A group that changes all the time never compares equal; by then all of it was sent many times.
constexpr int kJoinRoundsMax = 300;

// A suspicion is not passed on with the rest: it has an end of its own and is a rumour already.
Update state_of(const Roster::Entry& entry) {
  Update update;
  update.id = entry.id;
  update.incarnation = entry.incarnation;
  update.state = entry.is_live() ? MemberState::kAlive : entry.state;
  if (entry.is_live()) {
    update.stuck = entry.stuck;
    update.address = entry.address;
    update.metadata = entry.metadata;
  }
  return update;
}

}  // namespace

Instant Protocol::next_sync_after(Instant now) {
  return now + scaled(timing_.sync_interval, 0.5 + roster_.random().real());
}

void Protocol::sync_with(MemberId id, const Endpoint& address) {
  Message sync;
  sync.kind = Kind::kSync;
  sync.to = id;
  sync.members = static_cast<uint32_t>(roster_.live());
  sync.digests = roster_.digests();
  sync.updates.push_back(rumour_of(roster_.self()));  // the other may not know us yet
  send(std::move(sync), address);
}

void Protocol::on_sync(const Message& m, const Endpoint& from) {
  send_differences(m, from);
  Message reply;
  reply.kind = Kind::kSyncReply;
  reply.to = m.from;
  reply.members = static_cast<uint32_t>(roster_.live());
  reply.digests = roster_.digests();
  reply.updates.push_back(rumour_of(roster_.self()));
  send(std::move(reply), from);
}

void Protocol::on_sync_reply(Instant now, const Message& m, const Endpoint& from) {
  const bool same = m.digests == roster_.digests();
  send_differences(m, from);
  if (!join_ || m.from != join_->peer) return;
  join_->unanswered = 0;
  if (same || roster_.live() >= m.members || ++join_->rounds >= kJoinRoundsMax) {
    joined_ = true;
    join_.reset();
  } else {
    join_->next = now;
  }
}

// Bucket by bucket, from a random one on, so that two comparisons in a row complete different ones.
void Protocol::send_differences(const Message& m, const Endpoint& to) {
  if (m.digests == roster_.digests()) return;
  const size_t first = roster_.random().below(kBuckets);
  std::vector<std::pair<size_t, const Roster::Entry*>> different;
  for (const auto& [id, entry] : roster_.entries()) {
    const size_t bucket = bucket_of(id);
    if (m.digests[bucket] == roster_.digests()[bucket]) continue;
    different.emplace_back((bucket + kBuckets - first) % kBuckets, &entry);
  }
  std::sort(different.begin(), different.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.first, a.second->state, a.second->id) <
           std::tuple(b.first, b.second->state, b.second->id);
  });
  auto next = different.begin();
  for (size_t i = 0; i < kStateDatagramsMax && next != different.end(); ++i) {
    Message state;
    state.kind = Kind::kState;
    state.to = m.from;
    size_t room = kDatagramBytesMax - kHeaderBytes - kTagBytes;
    // send() may put an account of the receiver in front.
    room -= kUpdateBytesMin + 1 + 8 * kAccusersMax;
    for (; next != different.end(); ++next) {
      Update update = state_of(*next->second);
      const size_t bytes = bytes_of(update);
      if (bytes > room) break;
      room -= bytes;
      state.updates.push_back(std::move(update));
    }
    send(std::move(state), to);
  }
}

// The dead are asked as often, in all, as there are dead in the group: each about once in an
// interval, whatever their number.
void Protocol::tick_sync(Instant now) {
  if (now < next_sync_) return;
  next_sync_ = next_sync_after(now);
  for (const Roster::Entry* other : roster_.pick(1)) sync_with(other->id, other->address);
  const double share = static_cast<double>(roster_.dead()) / static_cast<double>(roster_.live());
  if (roster_.random().real() >= share) return;
  if (const Roster::Entry* dead = roster_.pick_dead()) sync_with(dead->id, dead->address);
}

void Protocol::join(Instant now, const Endpoint& member) {
  now_ = now;
  joined_ = false;
  join_ = Join{};
  join_->through = member;
  join_->next = now;
  join_->alone = roster_.live() == 1;
  tick_join(now);
}

void Protocol::tick_join(Instant now) {
  if (!join_ || now < join_->next) return;
  join_->next = now + timing_.probe_timeout;
  if (join_->peer != 0 && ++join_->unanswered > kUnansweredMax) {
    join_->peer = 0;
    join_->unanswered = 0;
  }
  if (join_->peer != 0) {
    sync_with(join_->peer, join_->peer_address);
    return;
  }
  Message who;
  who.kind = Kind::kWho;
  send(std::move(who), join_->through);
}

}  // namespace gossamer::swim
