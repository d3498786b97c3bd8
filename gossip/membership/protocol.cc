#include "gossip/membership/protocol.h"

#include <algorithm>
#include <utility>

#include "src/check.h"

namespace gossamer::swim {
namespace {

constexpr size_t kGoodbyes = 8;       // members told at once when leaving
constexpr size_t kGoodbyesHeard = 4;  // so many acks are enough
constexpr int kGoodbyesInVain = 5;    // rounds; then fewer are: the rest may have died unnoticed

Roster::Entry own_entry(const Protocol::Config& config) {
  Roster::Entry self;
  self.id = config.id;
  self.address = config.address;
  self.metadata = config.metadata;
  return self;
}

uint32_t milliseconds_of(Duration d) {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(ms, 0, UINT32_MAX));
}

}  // namespace

Protocol::Protocol(Config config, Instant now)
    : config_(std::move(config)),
      timing_(config_.timing),
      seal_(config_.key, config_.session),
      roster_(own_entry(config_), config_.seed),
      health_(timing_.lifeguard ? 8 : 0),
      // Members that start together must not probe together.
      next_probe_(now + scaled(timing_.probe_interval, roster_.random().real())),
      next_sync_(next_sync_after(now)),
      progressed_(now),
      others_progressed_(now),
      now_(now) {
  GOSSAMER_CHECK(config_.id != 0 && config_.address.family != 0);
  GOSSAMER_CHECK(config_.metadata.size() <= kMetadataBytesMax);
}

void Protocol::send(Message m, const Endpoint& to) {
  m.from = config_.id;
  m.counter = ++counter_;
  m.progress = progress_;
  m.progress_age_ms = milliseconds_of(now_ - progressed_);
  // What is held against the receiver comes first: it can object at once. The dead are told in any
  // case, or one that returns would never learn why nobody speaks to it.
  const Roster::Entry* receiver = roster_.find(m.to);
  if (receiver != nullptr && (receiver->state == MemberState::kDead ||
                              (timing_.lifeguard && receiver->state == MemberState::kSuspect))) {
    m.updates.insert(m.updates.begin(), rumour_of(*receiver));
  }
  DatagramWriter writer(m);
  // A rumour told to one that is gone would be missing elsewhere.
  const bool lost_on_it = receiver != nullptr && !receiver->is_live();
  const bool alone = m.kind == Kind::kState || m.kind == Kind::kWho || m.kind == Kind::kHere ||
                     m.kind == Kind::kGone;
  if (!lost_on_it && !alone) pack_rumours(&writer);
  Datagram datagram{to, writer.take()};
  seal_.close(&datagram.bytes);
  GOSSAMER_CHECK(datagram.bytes.size() <= kDatagramBytesMax);
  datagrams_.push_back(std::move(datagram));
  ++counters_.sent;
}

void Protocol::pack_rumours(DatagramWriter* writer) {
  rumours_.send(retransmissions(timing_.retransmit_factor, roster_.live()), [&](MemberId id) {
    const Roster::Entry* entry = roster_.find(id);
    return entry == nullptr || writer->add(rumour_of(*entry));  // the forgotten run out silently
  });
}

void Protocol::receive(Instant now, const Endpoint& from, std::span<const std::byte> datagram) {
  now_ = now;
  ++counters_.received;
  const std::span<const std::byte> content = seal_.open(datagram);
  if (content.empty()) {
    ++counters_.refused_tags;
    return;
  }
  const std::optional<Message> m = decode(content);
  if (!m) {
    ++counters_.refused_malformed;
    return;
  }
  if (m->to != config_.id || m->from == config_.id) {
    answer_stray(*m, from);
    return;
  }
  const bool is_new = replays_.is_new(m->from, m->counter, [this](MemberId id) {
    const Roster::Entry* entry = roster_.find(id);
    return entry != nullptr && entry->is_live();
  });
  if (!is_new) {
    ++counters_.refused_replays;
    return;
  }
  if (leave_) {
    hear_while_leaving(*m, from);
    return;
  }
  if (m->progress > 0) {
    others_progressed_ =
        std::max(others_progressed_, now - std::chrono::milliseconds(m->progress_age_ms));
    roster_.set_progress(m->from, m->progress);
  }
  for (const Update& update : m->updates) apply(now, update, *m);
  dispatch(now, *m, from);
}

// Nothing here changes what this member knows: such a datagram may be a recording.
void Protocol::answer_stray(const Message& m, const Endpoint& from) {
  if (m.from != config_.id && !leave_ && m.kind == Kind::kWho) {
    Message here;
    here.kind = Kind::kHere;
    here.to = m.from;
    send(std::move(here), from);
  } else if (m.from != config_.id && m.kind == Kind::kPing) {
    Message gone;
    gone.kind = Kind::kGone;
    gone.to = m.from;
    gone.sequence = m.sequence;
    gone.subject = m.to;
    send(std::move(gone), from);
  } else {
    ++counters_.refused_strays;
  }
}

void Protocol::dispatch(Instant now, const Message& m, const Endpoint& from) {
  switch (m.kind) {
    case Kind::kPing: {
      Message ack;
      ack.kind = Kind::kAck;
      ack.to = m.from;
      ack.sequence = m.sequence;
      send(std::move(ack), from);
      break;
    }
    case Kind::kAck:
      on_ack(m);
      break;
    case Kind::kNack:
      on_nack(m);
      break;
    case Kind::kPingRequest:
      on_ping_request(now, m, from);
      break;
    case Kind::kGone:
      on_gone(now, m, from);
      break;
    case Kind::kHere:
      if (join_ && join_->peer == 0) {
        join_->peer = m.from;
        join_->peer_address = from;
        join_->next = now;
      }
      break;
    case Kind::kSync:
      on_sync(m, from);
      break;
    case Kind::kSyncReply:
      on_sync_reply(now, m, from);
      break;
    case Kind::kWho:
    case Kind::kState:
      break;
  }
}

void Protocol::tick(Instant now) {
  now_ = now;
  if (leave_) {
    continue_leave(now);
    return;
  }
  const Duration late = now - next_tick();
  if (timing_.lifeguard && late > timing_.probe_timeout) wake_late(now, late);
  tick_relays(now);
  if (probe_ && !probe_->asked && !probe_->answered && now >= probe_->direct_until) ask_others();
  if (now >= next_probe_) {
    if (probe_) end_probe(now);
    begin_probe(now);
  }
  tick_suspicions(now);
  tick_sync(now);
  tick_join(now);
  judge_progress(now);
  roster_.forget(now - timing_.tombstone);
}

// Who did not run for a while (stopped, swapped out, starved) has not waited for anybody: neither
// the probe nor the suspicions that ran out meanwhile say anything.
void Protocol::wake_late(Instant now, Duration late) {
  health_.change(1);
  for (auto& [id, suspicion] : suspicions_) {
    suspicion.started = std::min(suspicion.started + late, now);
  }
  if (probe_ && !probe_->answered) {
    probe_.reset();
    next_probe_ = now;
  }
}

Instant Protocol::next_tick() const {
  if (leave_) return leave_->next;
  Instant next = std::min(next_probe_, next_sync_);
  if (probe_ && !probe_->asked && !probe_->answered) next = std::min(next, probe_->direct_until);
  for (const auto& [id, suspicion] : suspicions_) next = std::min(next, suspicion.ends());
  for (const Relay& relay : relays_) {
    next = std::min(next, relay.nacked ? relay.ends : relay.nack_at);
  }
  if (join_) next = std::min(next, join_->next);
  return next;
}

void Protocol::leave(Instant now) {
  now_ = now;
  if (leave_) return;
  Roster::Entry self = roster_.self();
  self.state = MemberState::kLeft;
  self.stuck = false;
  roster_.put(self, now);
  leave_ = Leave{next_sequence_++, now, {}, 0};
  continue_leave(now);
}

// Pings with the news in front. Everybody who hears it passes it on.
void Protocol::continue_leave(Instant now) {
  if (now < leave_->next) return;
  if (left()) {
    leave_->next = now + std::chrono::hours(24);  // nothing more to say
    return;
  }
  leave_->next = now + timing_.probe_timeout;
  ++leave_->unanswered;
  for (const Roster::Entry* other : roster_.pick(kGoodbyes)) {
    Message ping;
    ping.kind = Kind::kPing;
    ping.to = other->id;
    ping.sequence = leave_->sequence;
    ping.updates.push_back(rumour_of(roster_.self()));
    send(std::move(ping), other->address);
  }
}

// Who leaves at the same time needs no news of us, but waits for a word as we do.
void Protocol::hear_while_leaving(const Message& m, const Endpoint& from) {
  bool leaves_too = false;
  for (const Update& update : m.updates) {
    leaves_too = leaves_too || (update.id == m.from && update.state == MemberState::kLeft);
  }
  const bool acked = m.kind == Kind::kAck && m.sequence == leave_->sequence;
  const bool heard_before =
      std::find(leave_->heard.begin(), leave_->heard.end(), m.from) != leave_->heard.end();
  if ((acked || leaves_too) && !heard_before) {
    leave_->heard.push_back(m.from);
    leave_->unanswered = 0;
  }
  if (!leaves_too || m.kind != Kind::kPing) return;
  Message ack;
  ack.kind = Kind::kAck;
  ack.to = m.from;
  ack.sequence = m.sequence;
  send(std::move(ack), from);
}

// One that knows is enough to tell all; more only make sure that it lives to do so.
bool Protocol::left() const {
  if (!leave_) return false;
  const size_t heard = leave_->heard.size();
  return heard >= std::min(kGoodbyesHeard, roster_.live()) ||
         (heard > 0 && leave_->unanswered > kGoodbyesInVain);
}

void Protocol::set_progress(Instant now, uint64_t counter) {
  now_ = now;
  if (counter == progress_ || leave_) return;
  progress_ = counter;
  progressed_ = now;
  Roster::Entry self = roster_.self();
  roster_.set_progress(self.id, counter);
  if (self.stuck) {
    self.stuck = false;
    self.progress = counter;
    raise_incarnation(now, self, self.incarnation);
    emit(MemberEventKind::kMoving, roster_.self());
  }
}

// Each member judges itself, by what the others say of themselves in every datagram, and spreads
// its verdict as it spreads all news of itself: nobody has to watch everybody.
void Protocol::judge_progress(Instant now) {
  Roster::Entry self = roster_.self();
  if (timing_.progress_limit == Duration(0) || progress_ == 0 || self.stuck ||
      others_progressed_ < progressed_ + timing_.progress_limit) {
    return;
  }
  self.stuck = true;
  raise_incarnation(now, self, self.incarnation);
  emit(MemberEventKind::kStuck, roster_.self());
}

void Protocol::set_metadata(Instant now, std::string metadata) {
  now_ = now;
  GOSSAMER_CHECK(metadata.size() <= kMetadataBytesMax);
  if (leave_) return;
  Roster::Entry self = roster_.self();
  self.metadata = std::move(metadata);
  raise_incarnation(now, self, self.incarnation);
}

Member Protocol::public_account(const Roster::Entry& entry) const {
  return {entry.id,    entry.address.to_string(), entry.metadata, entry.state,
          entry.stuck, entry.incarnation,         entry.progress};
}

std::vector<Member> Protocol::members() const {
  std::vector<Member> all;
  for (const auto& [id, entry] : roster_.entries()) {
    if (entry.is_live()) all.push_back(public_account(entry));
  }
  std::sort(all.begin(), all.end(), [](const Member& a, const Member& b) { return a.id < b.id; });
  return all;
}

void Protocol::emit(MemberEventKind kind, const Roster::Entry& entry) {
  events_.push_back({kind, public_account(entry)});
}

}  // namespace gossamer::swim
