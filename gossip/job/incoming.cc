// What comes over the links of an averaging job: see carrier.h.

#include <utility>

#include "gossip/job/carrier.h"

namespace gossamer::job {
namespace {

constexpr std::chrono::milliseconds kFarewell{1'000};  // for a refusal to be read

}  // namespace

void Carrier::step_unknown() {
  const auto now = Clock::now();
  std::vector<Unknown> stay;
  for (Unknown& unknown : unknown_) {
    Link& link = *unknown.link;
    link.step();
    if (link.arrived() && !unknown.refused && introduce(&unknown)) continue;
    if (link.closed() || now >= unknown.until || (unknown.refused && link.flushed())) continue;
    until(unknown.until);
    stay.push_back(std::move(unknown));
  }
  unknown_ = std::move(stay);
}

// The first thing it says is who it is. True when the link has become a peer's.
bool Carrier::introduce(Unknown* unknown) {
  const Head head = unknown->link->take().head;
  if (head.kind != Kind::kOpen || head.count != config_.shape.count ||
      head.type != config_.shape.type) {
    refuse(unknown, Refusal::kShape);
    return false;
  }
  bool known = false;
  {
    const std::lock_guard lock(core_.m);
    known = core_.peers.contains(head.member);
  }
  if (!known) {
    refuse(unknown, Refusal::kStranger);
    return false;
  }
  unknown->link->send({.kind = Kind::kWelcome});
  in_[head.member] = std::move(unknown->link);
  return true;
}

void Carrier::refuse(Unknown* unknown, Refusal why) const {
  Head head;
  head.kind = Kind::kRefused;
  head.refusal = why;
  unknown->link->send(head);
  unknown->link->step();
  unknown->refused = true;
  unknown->until = Clock::now() + kFarewell;
}

void Carrier::step_inbound(PeerId from, Link* link) {
  for (;;) {
    link->step();
    if (!link->arrived()) return;
    {
      const std::lock_guard lock(core_.m);
      if (core_.inbox.size() >= kInboxMax && !core_.closed) return;
    }
    receive(from, link, link->take());
  }
}

void Carrier::receive(PeerId from, Link* link, Message message) {
  Head refused;
  refused.kind = Kind::kRefused;
  const std::lock_guard lock(core_.m);
  if (message.head.kind == Kind::kPush) {
    if (!core_.closed) {
      core_.inbox.push_back({from, std::move(message.packet)});
      core_.changed.notify_all();
      return;
    }
    refused.refusal = Refusal::kLeaving;
    refused.lane = message.head.lane;
    refused.sequence = message.head.sequence;
    link->send(refused);
  } else if (message.head.kind == Kind::kWant) {
    if (core_.closed || core_.ledger.weight() <= 0) {
      refused.refusal = Refusal::kNothing;
      link->send(refused);
    } else {
      // Null where one is under way already, which serves as well.
      static_cast<void>(core_.ledger.push(from, core_.steps));
      wake();
    }
  } else if (message.head.kind == Kind::kHurry) {
    core_.take_inbox_of(from);
    if (const auto at = core_.peers.find(from); at != core_.peers.end()) at->second.leaving = true;
    core_.changed.notify_all();
  } else {
    link->close();
  }
}

void Carrier::step_outbound(PeerId to, Outbound* out) {
  if (out->link == nullptr) return;
  const bool was_closed = out->link->closed();
  out->link->step();
  while (out->link->arrived()) {
    hear(to, out, out->link->take().head);
    out->link->step();
  }
  // Something may still be under way on it: try again, when it is time.
  if (!out->link->closed() || was_closed) return;
  until(out->retry);
  set_reached(to, false);
}

void Carrier::set_reached(PeerId id, bool reached) {
  const std::lock_guard lock(core_.m);
  if (const auto at = core_.peers.find(id); at != core_.peers.end()) at->second.reached = reached;
}

void Carrier::hear(PeerId to, Outbound* out, const Head& head) {
  if (head.kind == Kind::kWelcome) {
    set_reached(to, true);
    return;
  }
  const std::lock_guard lock(core_.m);
  if (head.kind == Kind::kTaken) {
    out->pause = std::chrono::milliseconds(0);
    core_.ledger.confirm(to, head.lane, head.sequence);
  } else if (head.kind == Kind::kRefused) {
    const auto packet = core_.ledger.under_way(to);
    const bool ours =
        packet != nullptr && packet->lane == head.lane && packet->sequence == head.sequence;
    if (ours) core_.ledger.take_back(to);
    const auto peer = core_.peers.find(to);
    if (head.refusal == Refusal::kLeaving && peer != core_.peers.end()) {
      peer->second.leaving = true;
    }
    if (core_.asked == to) core_.asked_in_vain = true;
    if (head.lane == 0 && head.refusal != Refusal::kNothing) out->link->close();
    if (head.refusal == Refusal::kNothing) out->wanted = false;
  } else {
    out->link->close();
  }
  core_.changed.notify_all();
}

}  // namespace gossamer::job
