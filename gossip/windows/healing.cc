// After a death: the living ranks close up in a communicator without the dead, and send again what
// has not been answered. Messages are numbered, so none counts twice.

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "gossip/windows/window_impl.h"

namespace gossamer {
namespace {

constexpr std::chrono::milliseconds kBetweenMeetings{20};

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

Result<Window::Impl::Healed> Window::Impl::close_up(const Status& why) {
  Healed healed;
  healed.ranks = ranks_;
  Communicator* from = comm_.get();
  std::unique_ptr<Communicator> between;
  std::vector<Rank> out;  // ranks of `from`
  const auto leave_out = [&](const Status& status) {
    const bool a_death = status.code() == Code::kPeerLost || status.code() == Code::kAborted ||
                         (!out.empty() && status.code() == Code::kTimeout);
    const Rank place = status.rank();
    if (!a_death || place < 0 || place >= from->size() || place == from->rank()) return false;
    if (std::find(out.begin(), out.end(), place) != out.end()) return false;
    out.push_back(place);
    return true;
  };
  // The rank at whose door all meet may still wait there for one that is dead: then it tells those
  // who know better that they are of another group.
  Clock::time_point patient_until{};
  const auto refused_early = [&](const Status& status) {
    if (status.code() != Code::kMismatch || stopping_.load()) return false;
    const auto now = Clock::now();
    if (patient_until == Clock::time_point()) patient_until = now + shape.timeout;
    std::this_thread::sleep_for(kBetweenMeetings);
    return now < patient_until;
  };
  if (!leave_out(why)) return in_window(why, ranks_);
  for (Rank place = 0; place < from->size(); ++place) {
    const bool left = !peer(ranks_[static_cast<size_t>(place)]).gone;
    if (left && std::find(out.begin(), out.end(), place) == out.end()) out.push_back(place);
  }
  for (;;) {
    Communicator::ShrinkOptions meeting;
    meeting.name = from->name();
    meeting.timeout = shape.timeout;
    meeting.cancelled = &stopping_;
    Result<std::unique_ptr<Communicator>> closed = from->shrink(out, meeting);
    if (!closed) {
      if (leave_out(closed.status()) || refused_early(closed.status())) continue;
      return Status::error(closed.status().code(),
                           fmt::format("{}; then the others could not close up: {}", why.message(),
                                       closed.status().message()),
                           ranks_[static_cast<size_t>(why.rank())]);
    }
    std::vector<Rank> ranks;
    for (size_t place = 0; place < healed.ranks.size(); ++place) {
      const bool missing = std::find(out.begin(), out.end(), static_cast<Rank>(place)) != out.end();
      (missing ? healed.missing : ranks).push_back(healed.ranks[place]);
    }
    healed.ranks = std::move(ranks);
    std::unique_ptr<Communicator> closer = std::move(closed).value();
    out.clear();
    patient_until = Clock::time_point();
    // The same group again, for that its calls may take as long as they like.
    Communicator::SplitOptions patient;
    patient.timeout = kForever;
    patient.cancelled = &stopping_;
    Result<std::unique_ptr<Communicator>> made = closer->split(0, closer->rank(), patient);
    if (made) {
      healed.comm = std::move(made).value();
      return healed;
    }
    between = std::move(closer);
    from = between.get();
    if (!leave_out(made.status())) return in_window(made.status(), healed.ranks);
  }
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
