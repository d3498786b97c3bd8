// A communicator whose ranks are watched beside its transports: see src/watch.h.

#include <fmt/format.h>

#include "src/communicator_impl.h"
#include "src/peer_card.h"
#include "src/wire.h"

namespace gossamer {

// Before the ranks introduce themselves: where it is watched is on a rank's card.
Status Communicator::Impl::begin_watch() {
  if (!watching_.on || size == 1) return Status::ok();
  WatchConfig config;
  config.rank = rank;
  config.size = size;
  // Of its own: the same key in two uses helps only those who attack it.
  WireWriter label;
  label.text("gossamer membership");
  config.key = hmac_sha256(config_.key, label.data());
  config.session = config_.session;
  config.address = address_;
  config.port_range = config_.port_range;
  config.interval = watching_.interval;
  config.stuck_after = watching_.stuck_after;
  config.finished = &operations_;
  config.on_event = [this](Rank who, WatchEvent event) { on_watch(who, event); };
  Result<std::unique_ptr<Watch>> watch = start_watch(config);
  if (!watch) return watch.status();
  watch_ = std::move(watch).value();
  return Status::ok();
}

// When everything else is there: from now on a death ends this communicator.
Status Communicator::Impl::join_watch(const std::vector<Peer>& peers, Exchange* exchange) {
  if (!watch_) return Status::ok();
  std::vector<std::string> cards;
  cards.reserve(peers.size());
  for (const Peer& peer : peers) cards.push_back(peer.watch);
  return watch_->meet(cards, exchange, config_.timeout);
}

// On the watch's thread.
void Communicator::Impl::on_watch(Rank who, WatchEvent event) {
  if (event == WatchEvent::kDead) {
    Rank nobody = -1;
    lost_.compare_exchange_strong(nobody, who);
    abort();  // give_up() says why
  } else if (event == WatchEvent::kStuck) {
    log_line(LogLevel::kWarn, identity_,
             fmt::format("rank {} hangs: it answers, but has finished no operation for {} ms "
                         "while others have",
                         who, watching_.stuck_after.count()));
  } else {
    log_line(LogLevel::kInfo, identity_, fmt::format("rank {} goes on", who));
  }
}

// What a death that the watch tells of is to those who wait. False: there was none.
bool Communicator::Impl::lost_by_watch(Fault* fault) const {
  const Rank who = lost_.load();
  if (who < 0) return false;
  if (who == rank) {
    fault->set(Code::kPeerLost, who,
               "rank %d, this one, did not answer for some time, and the others took it for dead: "
               "it was stopped, or its network was",
               who);
  } else {
    fault->set(Code::kPeerLost, who,
               "rank %d does not answer the other ranks' probes: it is stopped, or its process, "
               "host or network is gone",
               who);
  }
  return true;
}

std::vector<Rank> Communicator::stuck_ranks() const {
  return impl_->stuck_ranks();
}

}  // namespace gossamer
