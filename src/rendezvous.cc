#include "src/rendezvous.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "src/log.h"

namespace gossamer {
namespace {

constexpr size_t kUnprovenMax = 512;  // connections that have not reported yet
constexpr std::chrono::milliseconds kAcceptPause{50};

}  // namespace

RendezvousServer::RendezvousServer(Fd listening, int stop, const RendezvousConfig& config)
    : listening_(std::move(listening)), stop_(stop), config_(config), deadline_(config.timeout) {}

void RendezvousServer::run() {
  std::vector<pollfd> fds;
  while (!finished()) {
    const auto unproven =
        std::count_if(members_.begin(), members_.end(), [](const Member& m) { return !m.report; });
    const bool accepting = !pause_accepting_ && static_cast<size_t>(unproven) < kUnprovenMax;
    fds.assign({{stop_, POLLIN, 0}, {accepting ? listening_.get() : -1, POLLIN, 0}});
    for (const Member& member : members_) {
      fds.push_back(member.channel->to_poll());
    }
    const Deadline soon = pause_accepting_ ? Deadline(kAcceptPause) : next_deadline();
    pause_accepting_ = false;
    wait_for(fds, soon, nullptr);
    if (fds[0].revents != 0) {
      return;
    }
    size_t i = 2;
    for (Member& member : members_) {
      if (fds[i++].revents != 0) {
        step(&member);  // may fail the group, never ends a member's life
      }
      if (!member.report && !member.gone && member.report_by.expired()) {
        refuse(&member, "it did not prove its membership in time");
      }
    }
    members_.remove_if([](const Member& m) { return m.gone && !m.report; });
    if (fds[1].revents != 0) {
      accept_all();
    }
    if (phase_ == Phase::kCollecting && deadline_.expired()) {
      fail(missing_ranks());
    }
  }
  for (Member& member : members_) {
    if (!member.report && member.channel->open()) {
      turn_away(&member);
    }
  }
}

// Over when everybody who is to be told something has been told, or has left, or time is up.
bool RendezvousServer::finished() const {
  if (phase_ == Phase::kCollecting) {
    return false;
  }
  const bool flushed = std::all_of(members_.begin(), members_.end(), [](const Member& m) {
    return !m.report || m.gone || m.channel->flushed();
  });
  return deadline_.expired() ||
         (flushed && (phase_ == Phase::kWelcoming || told_count_ >= expected_));
}

Deadline RendezvousServer::next_deadline() const {
  Deadline next = deadline_;
  for (const Member& member : members_) {
    if (!member.report) {
      next = std::min(next, member.report_by);
    }
  }
  return next;
}

void RendezvousServer::accept_all() {
  for (;;) {
    SocketAddress from;
    from.length = sizeof(from.storage);
    Fd fd(::accept4(listening_.get(), reinterpret_cast<sockaddr*>(&from.storage), &from.length,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.is_open()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_line(LogLevel::kWarn, {},
                 "the meeting point has no file descriptors left: raise `ulimit -n`");
        pause_accepting_ = true;
      }
      return;
    }
    const Handshake handshake(config_.key, Handshake::Role::kAcceptor, config_.handshake_session,
                              -1, kPurposeMeeting);
    members_.push_back({std::make_unique<Channel>(std::move(fd), from, handshake, 0),
                        Deadline(kHandshakeTime), std::nullopt});
    step(&members_.back());
  }
}

void RendezvousServer::step(Member* member) {
  Channel& channel = *member->channel;
  channel.step();
  if (channel.frame() != nullptr) {
    const Frame frame = channel.take_frame();  // and so look on, for the end of the connection
    const std::optional<Report> report =
        frame.header.type == FrameType::kReport ? parse_report(frame.body) : std::nullopt;
    if (!report || member->report || report->rank != channel.handshake().peer_rank() ||
        channel.handshake().peer_purpose() != kPurposeMeeting) {
      channel.close("it sent a malformed report", 0);
    } else {
      on_report(member, *report);
      channel.step();
    }
  }
  if (channel.closed() && !member->gone) {
    if (!member->report) {
      refuse(member, channel.why());
      return;
    }
    member->gone = true;
    if (phase_ == Phase::kCollecting) {
      fail(Status::error(
          Code::kPeerLost,
          fmt::format("rank {} ({}) left before all {} ranks had joined: {}", member->report->rank,
                      channel.peer().to_string(), member->report->size, channel.why()),
          member->report->rank));
    }
  }
}

void RendezvousServer::refuse(Member* member, const std::string& why) {
  member->gone = true;
  const bool silent = !member->channel->heard();
  const std::string refusal = fmt::format("{}: {}", member->channel->peer().to_string(), why);
  member->channel->close(why, 0);
  if (member->told) return;  // it has what it came for
  log_line(silent ? LogLevel::kInfo : LogLevel::kWarn, {},
           fmt::format("the meeting point refused a connection from {}", refusal));
  if (silent) return;
  last_refusal_ = refusal;
  ++refusals_;
}

void RendezvousServer::on_report(Member* member, const Report& report) {
  // Ranks that have their answer may be back already, for the next group at the same place.
  if (phase_ == Phase::kWelcoming ||
      (phase_ == Phase::kRefusing && told_ranks_.contains(report.rank))) {
    turn_away(member);
    return;
  }
  member->report = report;
  if (phase_ == Phase::kRefusing) {
    tell_failure(member);
    return;
  }
  if (by_rank_.empty()) {
    by_rank_.resize(static_cast<size_t>(report.size));
    expected_ = report.size;
    absent_ = report.absent;
  }
  if (!agrees_on_absence(member, report)) return;
  const auto size = static_cast<Rank>(by_rank_.size());
  if (report.size != size) {
    const Member* first = *std::find_if(by_rank_.begin(), by_rank_.end(),
                                        [](const Member* m) { return m != nullptr; });
    expected_ = std::max(size, report.size);
    fail(Status::error(
        Code::kMismatch,
        fmt::format("rank {} says the group has {} ranks, rank {} says {}: start all with the same "
                    "size",
                    report.rank, report.size, first->report->rank, size),
        report.rank));
    return;
  }
  Member*& slot = by_rank_[static_cast<size_t>(report.rank)];
  if (slot != nullptr) {
    ++expected_;
    fail(Status::error(
        Code::kMismatch,
        fmt::format("two processes say they are rank {} of {}: one at {}, one at {}", report.rank,
                    size, slot->channel->peer().to_string(), member->channel->peer().to_string()),
        report.rank));
    return;
  }
  slot = member;
  deadline_ = std::min(deadline_, Deadline(std::chrono::milliseconds(report.timeout_ms)));
  if (++reported_ == size) {
    welcome_all();
  }
}

bool RendezvousServer::agrees_on_absence(Member* member, const Report& report) {
  if (report.absent == absent_) return true;
  std::vector<Rank> all;
  std::set_union(absent_.begin(), absent_.end(), report.absent.begin(), report.absent.end(),
                 std::back_inserter(all));
  const bool ends = all != absent_;
  absent_ = std::move(all);
  if (!ends) {
    tell_absence(member);
    member->report.reset();  // it comes again, and then belongs to this group
    return false;
  }
  phase_ = Phase::kRefusing;
  failure_ = Status::error(Code::kAgain, "more ranks are left out than were known to be");
  deadline_ = Deadline(config_.linger);
  expected_ = 0;  // whoever comes now finds the next meeting
  for (Member& other : members_) {
    if (other.report) tell_absence(&other);
  }
  return false;
}

void RendezvousServer::tell_absence(Member* member) {
  FrameHeader header;
  header.type = FrameType::kAbsence;
  member->channel->send(header, encode_absence(absent_));
  member->channel->step();
  member->told = true;
}

void RendezvousServer::turn_away(Member* member) {
  FrameHeader header;
  header.type = FrameType::kFailure;
  member->channel->send(
      header, encode_failure(Status::error(Code::kAgain, "it has served its group and closes")));
  member->channel->step();
  member->channel->close("it came for the next group", 0);
  member->gone = true;
}

void RendezvousServer::welcome_all() {
  phase_ = Phase::kWelcoming;
  deadline_ = Deadline(kHandshakeTime);  // to get the answers out
  const size_t size = by_rank_.size();
  for (size_t rank = 0; rank < size; ++rank) {
    Welcome welcome;
    welcome.session = config_.group_session;
    for (size_t distance = 1; distance < size; distance *= 2) {
      welcome.ahead.push_back(by_rank_[(rank + distance) % size]->report->listens_on);
    }
    FrameHeader header;
    header.type = FrameType::kWelcome;
    by_rank_[rank]->channel->send(header, encode(welcome));
    by_rank_[rank]->channel->step();
  }
}

void RendezvousServer::fail(Status why) {
  phase_ = Phase::kRefusing;
  failure_ = std::move(why);
  deadline_ = Deadline(config_.linger);
  log_line(LogLevel::kInfo, {}, fmt::format("the group failed to meet: {}", failure_.message()));
  for (Member& member : members_) {
    if (member.report) {
      tell_failure(&member);
    }
  }
}

void RendezvousServer::tell_failure(Member* member) {
  ++told_count_;
  told_ranks_.insert(member->report->rank);
  if (!member->gone && !member->told) {
    FrameHeader header;
    header.type = FrameType::kFailure;
    member->channel->send(header, encode_failure(failure_));
    member->channel->step();
  }
  member->told = true;
}

Status RendezvousServer::missing_ranks() const {
  std::string missing;
  Rank lowest = -1;
  int shown = 0;
  Rank absent = 0;
  for (size_t rank = 0; rank < by_rank_.size(); ++rank) {
    if (by_rank_[rank] == nullptr) {
      lowest = lowest < 0 ? static_cast<Rank>(rank) : lowest;
      ++absent;
      if (shown++ < 8) {
        missing += fmt::format("{}{}", missing.empty() ? "" : ", ", rank);
      }
    }
  }
  std::string text =
      by_rank_.empty()
          ? "no rank joined in time"
          : fmt::format(
                "rank{} {}{} did not join in time ({} of {} did): check that {} started "
                "and can reach the meeting point",
                absent == 1 ? "" : "s", missing, absent > 8 ? ", ..." : "", reported_,
                by_rank_.size(), absent == 1 ? "it" : "they");
  if (refusals_ > 0) {
    text +=
        fmt::format("; {} connections were refused, the last from {}", refusals_, last_refusal_);
  }
  return Status::error(Code::kTimeout, std::move(text), lowest);
}

}  // namespace gossamer
