#include "gossip/job/core.h"

#include <algorithm>
#include <utility>

namespace gossamer::job {

void Core::take(Arrival&& arrival) {
  Head head;
  head.lane = arrival.packet.lane;
  head.sequence = arrival.packet.sequence;
  switch (ledger.take(arrival.from, arrival.packet)) {
    case Ledger::Taken::kTaken:
      steps_heard = arrival.packet.steps;
      [[fallthrough]];
    case Ledger::Taken::kBefore:
      head.kind = Kind::kTaken;
      break;
    case Ledger::Taken::kUnknownLane:
    case Ledger::Taken::kMalformed:
      head.kind = Kind::kRefused;
      head.refusal = Refusal::kLane;
      break;
  }
  replies.push_back({arrival.from, head});
}

void Core::take_inbox() {
  for (Arrival& arrival : inbox) take(std::move(arrival));
  inbox.clear();
}

void Core::take_some(const std::function<bool(PeerId)>& which) {
  std::vector<Arrival> others;
  for (Arrival& arrival : inbox) {
    if (which(arrival.from)) {
      take(std::move(arrival));
    } else {
      others.push_back(std::move(arrival));
    }
  }
  inbox = std::move(others);
}

void Core::take_inbox_of(PeerId from) {
  take_some([from](PeerId id) { return id == from; });
}

void Core::take_exchanges() {
  take_some([this](PeerId id) {
    const auto at = peers.find(id);
    return at != peers.end() && at->second.reached && ledger.under_way(id) != nullptr;
  });
}

void Core::remove(PeerId id) {
  if (!closed) take_inbox_of(id);
  ledger.forget(id);
  peers.erase(id);
  std::erase_if(replies, [id](const Reply& reply) { return reply.to == id; });
  if (asked == id) asked_in_vain = true;
}

bool Core::may_push(PeerId id) const {
  const auto at = peers.find(id);
  return at != peers.end() && !at->second.slow && !at->second.leaving && ledger.may_push(id);
}

PeerId Core::choose_exponential(uint64_t turn) {
  std::vector<PeerId> ids;
  ids.reserve(peers.size() + 1);
  for (const auto& [id, peer] : peers) ids.push_back(id);
  const auto place = std::lower_bound(ids.begin(), ids.end(), self);
  const auto own = static_cast<size_t>(place - ids.begin());
  ids.insert(place, self);
  size_t hops = 0;
  while ((size_t{1} << hops) < ids.size()) ++hops;
  for (size_t k = 0; k < hops; ++k) {
    const PeerId id = ids[(own + (size_t{1} << (turn + k) % hops)) % ids.size()];
    if (may_push(id)) return id;
  }
  return choose_random();
}

PeerId Core::choose_random() {
  std::vector<PeerId> able;
  for (const auto& [id, peer] : peers) {
    if (may_push(id)) able.push_back(id);
  }
  return able.empty() ? 0 : able[random() % able.size()];
}

bool Core::all_confirmed() const {
  return std::none_of(peers.begin(), peers.end(),
                      [&](const auto& peer) { return ledger.under_way(peer.first) != nullptr; });
}

size_t Core::taking() const {
  return static_cast<size_t>(std::count_if(peers.begin(), peers.end(),
                                           [](const auto& peer) { return !peer.second.leaving; }));
}

}  // namespace gossamer::job
