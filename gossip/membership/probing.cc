// Probes, direct and through others, and what is asked of us for others.

#include <algorithm>

#include "gossip/membership/protocol.h"

namespace gossamer::swim {
namespace {

constexpr size_t kRelaysMax = 1'024;
// A helper answers with a nack before the asker's interval ends.
constexpr double kNackAfter = 0.8;

}  // namespace

void Protocol::begin_probe(Instant now) {
  next_probe_ = now + timing_.probe_interval * health_.multiplier();
  const Roster::Entry* target = roster_.next_target();
  if (target == nullptr) return;
  probe_ = Probe{};
  probe_->target = target->id;
  probe_->sequence = next_sequence_++;
  probe_->direct_until = now + timing_.probe_timeout * health_.multiplier();
  Message ping;
  ping.kind = Kind::kPing;
  ping.to = target->id;
  ping.sequence = probe_->sequence;
  send(std::move(ping), target->address);
}

void Protocol::ask_others() {
  probe_->asked = true;
  const Roster::Entry* target = roster_.find(probe_->target);
  if (target == nullptr || !target->is_live()) return;
  const Endpoint address = target->address;
  const auto count = static_cast<size_t>(std::max(timing_.indirect_probes, 0));
  for (const Roster::Entry* helper : roster_.pick_helpers(count, probe_->target)) {
    probe_->helpers.push_back(helper->id);
    Message request;
    request.kind = Kind::kPingRequest;
    request.to = helper->id;
    request.sequence = probe_->sequence;
    request.subject = probe_->target;
    request.endpoint = address;
    send(std::move(request), helper->address);
  }
}

// A failed probe says something about us only as far as the helpers were silent too, and those of
// them that have become suspect meanwhile had reasons of their own. It counts once, not for each
// silent helper as in the paper: where many die at once the rest must not slow down. When 9 of 12
// died, the others agreed after 32 probe intervals instead of 48; slow members bury as few.
void Protocol::end_probe(Instant now) {
  const Probe probe = *probe_;
  probe_.reset();
  if (probe.answered) {
    health_.change(-1);
    return;
  }
  const auto silent =
      std::count_if(probe.helpers.begin(), probe.helpers.end(), [this, &probe](MemberId id) {
        const Roster::Entry* helper = roster_.find(id);
        return helper != nullptr && helper->state == MemberState::kAlive &&
               std::find(probe.nacks.begin(), probe.nacks.end(), id) == probe.nacks.end();
      });
  health_.change(probe.helpers.empty() || silent > 0 ? 1 : 0);
  suspect(now, probe.target);
}

void Protocol::on_ack(const Message& m) {
  if (probe_ && m.sequence == probe_->sequence) {
    const auto& helpers = probe_->helpers;
    if (m.from == probe_->target ||
        std::find(helpers.begin(), helpers.end(), m.from) != helpers.end()) {
      probe_->answered = true;
      return;
    }
  }
  const auto relay = std::find_if(relays_.begin(), relays_.end(),
                                  [&](const Relay& r) { return r.sequence == m.sequence; });
  if (relay == relays_.end()) return;
  Message ack;
  ack.kind = Kind::kAck;
  ack.to = relay->asker;
  ack.sequence = relay->asker_sequence;
  const Endpoint asker = relay->asker_address;
  relays_.erase(relay);
  send(std::move(ack), asker);
}

void Protocol::on_nack(const Message& m) {
  if (!probe_ || m.sequence != probe_->sequence) return;
  const auto& helpers = probe_->helpers;
  if (std::find(helpers.begin(), helpers.end(), m.from) != helpers.end() &&
      probe_->nacks.size() < helpers.size()) {
    probe_->nacks.push_back(m.from);
  }
}

void Protocol::on_ping_request(Instant now, const Message& m, const Endpoint& from) {
  if (relays_.size() >= kRelaysMax || m.subject == config_.id) return;
  Relay relay{next_sequence_++,
              m.from,
              from,
              m.sequence,
              now + scaled(timing_.probe_timeout, kNackAfter),
              now + timing_.probe_interval * 2};
  relay.nacked = !timing_.lifeguard;
  relays_.push_back(relay);
  Message ping;
  ping.kind = Kind::kPing;
  ping.to = m.subject;
  ping.sequence = relay.sequence;
  send(std::move(ping), m.endpoint);
}

void Protocol::tick_relays(Instant now) {
  for (Relay& relay : relays_) {
    if (relay.nacked || now < relay.nack_at) continue;
    relay.nacked = true;
    Message nack;
    nack.kind = Kind::kNack;
    nack.to = relay.asker;
    nack.sequence = relay.asker_sequence;
    send(std::move(nack), relay.asker_address);
  }
  std::erase_if(relays_, [&](const Relay& relay) { return now >= relay.ends; });
}

// Two cannot receive at one address. The answer is to our own ping, under our id, and comes from
// where we pinged, so that neither a recording nor a third member can bury anybody.
void Protocol::on_gone(Instant now, const Message& m, const Endpoint& from) {
  if (!probe_ || m.sequence != probe_->sequence || m.subject != probe_->target) return;
  const Roster::Entry* target = roster_.find(m.subject);
  if (target == nullptr || !target->is_live() || !(target->address == from)) return;
  probe_->answered = true;
  Update end;
  end.id = target->id;
  end.incarnation = target->incarnation;
  end.state = MemberState::kDead;
  hear_end(now, end, Roster::Entry(*target));
}

}  // namespace gossamer::swim
