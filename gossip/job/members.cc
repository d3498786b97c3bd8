// Who is there, as the links of an averaging job follow it: see carrier.h.

#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "gossip/job/carrier.h"

namespace gossamer::job {
namespace {

// For what one that left had still said; the end of its connection ends it.
constexpr std::chrono::milliseconds kLastWords{1'000};

}  // namespace

// By comparison: who went and came back in between was never missed here.
void Carrier::follow_members() {
  std::map<PeerId, Peer> present;
  for (const Member& member : membership_->members()) {
    const auto card = parse_card(member.metadata);
    if (member.id == core_.self || !card || card->count != config_.shape.count ||
        card->type != config_.shape.type) {
      continue;
    }
    auto address = SocketAddress::parse(member.address);
    if (!address) continue;
    if (address->is_link_local()) {
      reinterpret_cast<sockaddr_in6*>(&address->storage)->sin6_scope_id = config_.scope;
    }
    address->set_port(card->port);
    const bool slow = member.stuck || member.state == MemberState::kSuspect;
    present[member.id] = {*address, slow, false, false};
  }
  std::vector<PeerId> gone;
  {
    const std::lock_guard lock(core_.m);
    for (const auto& [id, peer] : core_.peers) {
      if (!present.contains(id)) gone.push_back(id);
    }
    for (const auto& [id, peer] : present) {
      const auto [at, fresh] = core_.peers.try_emplace(id, peer);
      at->second.address = peer.address;
      at->second.slow = peer.slow;
      if (departing_.erase(id) > 0) at->second.leaving = false;
    }
    core_.changed.notify_all();
  }
  for (const PeerId id : gone) depart(id);
  const std::scoped_lock both(left_m_, core_.m);
  std::erase_if(left_, [&](PeerId id) { return !core_.peers.contains(id); });
}

// What it has said is heard before it is forgotten: a packet that it has confirmed is not taken
// back.
void Carrier::depart(PeerId id) {
  const auto out = out_.find(id);
  if (out != out_.end()) step_outbound(id, &out->second);
  if (const auto in = in_.find(id); in != in_.end()) step_inbound(id, in->second.get());
  bool left = false;
  {
    const std::lock_guard lock(left_m_);
    left = left_.contains(id);
  }
  const auto now = Clock::now();
  if (left && out != out_.end() && out->second.link != nullptr && !out->second.link->closed()) {
    const auto at = departing_.try_emplace(id, now + kLastWords).first;
    if (now < at->second) {
      until(at->second);
      const std::lock_guard lock(core_.m);
      if (const auto peer = core_.peers.find(id); peer != core_.peers.end()) {
        peer->second.leaving = true;
      }
      return;
    }
  }
  departing_.erase(id);
  {
    const std::lock_guard lock(core_.m);
    core_.remove(id);
    core_.changed.notify_all();
  }
  out_.erase(id);
  in_.erase(id);
}

}  // namespace gossamer::job
