// After a death: the living ranks close up in a communicator without the dead, and send again what
// has not been answered. Messages are numbered, so none counts twice.

#include <fmt/format.h>

#include <algorithm>

#include "gossip/windows/window_impl.h"

namespace gossamer {
namespace {

// A failure of a communicator whose ranks are these ranks of the window.
Status in_window(const Status& status, const std::vector<Rank>& ranks) {
  const bool known = status.rank() >= 0 && static_cast<size_t>(status.rank()) < ranks.size();
  return Status::error(status.code(), status.message(),
                       known ? ranks[static_cast<size_t>(status.rank())] : -1);
}

}  // namespace

// A communicator of the living: ranks by place, and who is missing, as ranks of the window.
struct Window::Impl::Healed {
  std::unique_ptr<Communicator> comm;
  std::vector<Rank> ranks;
  std::vector<Rank> missing;
};

// False: this window has ended, or is to.
bool Window::Impl::heal(const Status& why) {
  if (stopping_.load()) return false;
  {
    const std::lock_guard lock(mutex_);
    whole_ = false;
  }
  Result<Healed> healed = close_up(why);
  if (!healed) {
    fail(healed.status());
    return false;
  }
  go_on(std::move(healed).value());
  return true;
}

// At the first communicator's doors, always: whoever notices a death later than others, or finds
// that one more has died meanwhile, finds them there.
Result<Window::Impl::Healed> Window::Impl::close_up(const Status& why) {
  const bool a_death = why.code() == Code::kPeerLost || why.code() == Code::kAborted;
  const Rank place = why.rank();
  if (!a_death || place < 0 || place >= comm_->size() || place == comm_->rank()) {
    return in_window(why, ranks_);
  }
  Communicator::ShrinkOptions meeting;
  meeting.name = comm_->name();
  meeting.timeout = shape.timeout;
  meeting.cancelled = &stopping_;
  meeting.call_timeout = kForever;
  for (Rank r = 0; r < size; ++r) {
    const bool left = r != rank && !peer(r).gone;
    if (left || places_[static_cast<size_t>(r)] < 0) meeting.lost_before.push_back(r);
  }
  const Rank suspected = ranks_[static_cast<size_t>(place)];
  Result<Communicator::ClosedUp> closed =
      (first_ ? first_ : comm_)->close_up(std::span(&suspected, 1), meeting);
  if (!closed) {
    return Status::error(closed.status().code(),
                         fmt::format("{}; then the others could not close up: {}", why.message(),
                                     closed.status().message()),
                         ranks_[static_cast<size_t>(place)]);
  }
  Healed healed;
  healed.comm = std::move(closed->comm);
  for (const Rank r : ranks_) {
    const bool missing = std::binary_search(closed->lost.begin(), closed->lost.end(), r);
    (missing ? healed.missing : healed.ranks).push_back(r);
  }
  return healed;
}

void Window::Impl::go_on(Healed healed) {
  std::unique_ptr<Communicator> old;
  const std::lock_guard lock(mutex_);
  // All of them have ended with the old communicator, and none may outlive it.
  for (WindowPeer& other : peers_) {
    other.each_work([](Work& work) { work = Work(); });
    other.arriving = WindowPacket();
  }
  old = std::exchange(comm_, std::move(healed.comm));
  if (!first_) first_ = std::move(old);
  ranks_ = std::move(healed.ranks);
  std::fill(places_.begin(), places_.end(), -1);
  for (size_t place = 0; place < ranks_.size(); ++place) {
    places_[static_cast<size_t>(ranks_[place])] = static_cast<Rank>(place);
  }
  whole_ = true;
  for (const Rank r : healed.missing) lose(r, "its process or its link is gone");
  for (const Rank r : ranks_) {
    WindowPeer& other = peer(r);
    if (r == rank || !other.gone) continue;
    greet(r);
    if (other.put_travels) transmit(r, &other.puts);
    if (other.asked && other.answered < other.asks) ask(r);
    if (done_) notify(r, WindowPacketKind::kDone);
  }
  // close() has told the old one.
  if (stopping_.load()) sends_stop_ = start_packet(rank, stop_);
  changed_.notify_all();
}

}  // namespace gossamer
