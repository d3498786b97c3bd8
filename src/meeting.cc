#include "src/meeting.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "src/channel.h"
#include "src/log.h"
#include "src/meeting_host.h"
#include "src/messages.h"
#include "src/wire.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTryTime{2'000};    // to connect and shake hands once
constexpr milliseconds kAnswerGrace{500};  // beyond the deadline: the server says who is missing
constexpr milliseconds kGoneTime{1'000};   // a unique id's server that is not there stays away
constexpr int kRefusalsMax = 3;

// How one attempt ended. `final`: trying again cannot help.
struct Attempt {
  std::optional<Met> met;
  Status why;
  bool final = false;
  bool refused = false;  // the other end spoke, but another key, session or language
  bool gone = false;     // it left without a word on the group
};

Attempt again(Code code, std::string why, bool refused = false) {
  return {std::nullopt, Status::error(code, std::move(why)), false, refused};
}

Attempt give_up(Status why) {
  return {std::nullopt, std::move(why), true, false};
}

Status aborted() {
  return Status::error(Code::kAborted, "abort() was called while joining");
}

// The address at which other ranks reach this one: on the interface asked for, else on the one that
// leads to the meeting point. Where that is the loopback only by accident (a host name that
// resolves to 127.0.1.1 on its own host), the first other interface.
Result<SocketAddress> own_address(const BootstrapConfig& config, const MeetingPoint& point,
                                  int socket) {
  if (config.interfaces.empty() || config.door != nullptr) {
    auto local = local_address(socket);
    if (!local || !local->is_loopback() || point.loopback_meant) {
      return local;
    }
  }
  auto chosen = choose_interfaces(config.interfaces);
  if (!chosen) {
    return chosen.status();
  }
  return chosen->front().address;
}

// Steps `channel` until `ready` holds or it closes.
template <class Ready>
Waited drive(Channel* channel, const Deadline& deadline, const std::atomic<bool>* aborted_flag,
             const Ready& ready) {
  for (;;) {
    channel->step();
    if (ready() || channel->closed()) {
      return Waited::kReady;
    }
    pollfd fd = channel->to_poll();
    const Waited waited = wait_for(std::span(&fd, 1), deadline, aborted_flag);
    if (waited != Waited::kReady) {
      return waited;
    }
  }
}

class Joiner {
 public:
  Joiner(const BootstrapConfig& config, const Deadline& deadline)
      : config_(config), deadline_(deadline) {}

  Attempt try_once(const MeetingPoint& point) {
    const Handshake handshake(point.key, Handshake::Role::kConnector, point.session, config_.rank,
                              kPurposeMeeting);
    const std::unique_ptr<Channel> channel = Channel::connect(point.address, handshake, 0);
    const Deadline soon = std::min(deadline_, Deadline(kTryTime));
    switch (drive(channel.get(), soon, config_.aborted, [&] { return channel->open(); })) {
      case Waited::kAborted:
        return give_up(aborted());
      case Waited::kTimeout:
        return again(Code::kTimeout, "it does not answer");
      case Waited::kReady:
        break;
    }
    if (channel->refused()) {
      return again(Code::kMismatch, "it refused this rank's key", true);
    }
    if (channel->closed()) {
      return again(Code::kPeerLost, channel->why(), channel->stranger());
    }
    return report(channel.get(), point);
  }

 private:
  Attempt report(Channel* channel, const MeetingPoint& point) {
    auto address = own_address(config_, point, channel->fd());
    if (!address) {
      return give_up(address.status());
    }
    address->set_port(0);
    auto socket = listen_on(*address, config_.port_range);
    if (!socket) {
      return give_up(socket.status());
    }
    Met met;
    met.listening = Fd(*socket);
    address = local_address(met.listening.get());
    if (!address) {
      return give_up(address.status());
    }
    met.listens_on = *address;
    Report report;
    report.rank = config_.rank;
    report.size = config_.size;
    report.timeout_ms =
        static_cast<uint32_t>(std::clamp<int64_t>(deadline_.remaining().count(), 1, UINT32_MAX));
    report.listens_on = met.listens_on;
    if (config_.absence != nullptr) report.absent = config_.absence->ranks;
    FrameHeader header;
    header.type = FrameType::kReport;
    channel->send(header, encode(report));
    const Deadline answer(deadline_.remaining() + kAnswerGrace);
    const Waited waited =
        drive(channel, answer, config_.aborted, [&] { return channel->frame() != nullptr; });
    if (waited == Waited::kAborted) {
      return give_up(aborted());
    }
    if (waited == Waited::kTimeout || channel->frame() == nullptr) {
      Attempt ended = give_up(no_answer(
          point, waited == Waited::kTimeout ? "does not answer" : "left: " + channel->why()));
      ended.gone = waited != Waited::kTimeout;
      return ended;
    }
    return on_answer(channel->take_frame(), point, std::move(met));
  }

  Status no_answer(const MeetingPoint& point, const std::string& what) const {
    const bool timeout = what.starts_with("does");
    return Status::error(timeout ? Code::kTimeout : Code::kPeerLost,
                         fmt::format("the meeting point {} took rank {}'s report and then {}",
                                     point.text, config_.rank, what),
                         point.served_by);
  }

  Attempt on_answer(const Frame& frame, const MeetingPoint& point, Met met) const {
    if (frame.header.type == FrameType::kFailure) {
      if (std::optional<Status> failure = parse_failure(frame.body)) {
        return give_up(*failure);
      }
    }
    if (frame.header.type == FrameType::kAbsence && config_.absence != nullptr) {
      if (std::optional<std::vector<Rank>> absent = parse_absence(frame.body)) {
        config_.absence->ranks = std::move(*absent);
        return give_up(Status::error(Code::kAgain, "others leave out more ranks"));
      }
    }
    std::optional<Welcome> welcome;
    if (frame.header.type == FrameType::kWelcome) {
      welcome = parse_welcome(frame.body);
    }
    if (!welcome || welcome->ahead.size() != static_cast<size_t>(rounds_of(config_.size))) {
      return give_up(no_answer(point, "left: its answer makes no sense"));
    }
    met.session = welcome->session;
    met.ahead = std::move(welcome->ahead);
    for (SocketAddress& address : met.ahead) {
      adopt_scope(&address, met.listens_on);
    }
    WireWriter label;
    label.text("gossamer group");
    label.u64(met.session);
    met.key = hmac_sha256(point.key, label.data());
    return {std::move(met), Status::ok(), true, false};
  }

  const BootstrapConfig& config_;
  Deadline deadline_;
};

// Sleeps, unless aborted.
bool pause(milliseconds time, const Deadline& deadline, const std::atomic<bool>* aborted_flag) {
  return wait_for({}, std::min(deadline, Deadline(time)), aborted_flag) != Waited::kAborted;
}

Status too_late(const BootstrapConfig& config, const std::string& where, const Status& last,
                Rank served_by) {
  return Status::error(
      Code::kTimeout,
      fmt::format("rank {} could not join at {} in time: {}{}", config.rank, where, last.message(),
                  served_by == 0 && config.rank != 0
                      ? "; check that rank 0 started and that this host can reach it"
                      : ""),
      served_by);
}

// `server_is_gone`: nobody serves this group there, so that another place may be tried.
Result<Met> keep_trying(const BootstrapConfig& config, const Deadline& deadline,
                        const MeetingPlace& place, bool* server_is_gone) {
  Joiner joiner(config, deadline);
  const Deadline gone(kGoneTime);
  Status last = Status::error(Code::kTimeout, "there was no time to try");
  milliseconds wait{5};
  int refusals = 0;
  while (!deadline.expired()) {
    auto point = place.locate();
    if (!point && point.status().code() == Code::kInvalidArgument && !place.is_file()) {
      return point.status();
    }
    last = point.status();
    if (point) {
      Attempt attempt = joiner.try_once(*point);
      if (attempt.met) {
        return std::move(*attempt.met);
      }
      last = attempt.why;
      refusals += attempt.refused ? 1 : 0;
      if (attempt.final) {
        *server_is_gone = attempt.gone;
        return last;
      }
      if (refusals >= kRefusalsMax && !place.is_file()) {
        *server_is_gone = true;
        return Status::error(Code::kMismatch,
                             fmt::format("rank {} is not admitted at {}: {}; {}", config.rank,
                                         point->text, last.message(), place.key_advice()),
                             config.rank);
      }
      if (place.is_id() && gone.expired()) {
        *server_is_gone = true;
        return Status::error(
            Code::kPeerLost,
            fmt::format("nobody serves the unique id at {}: {}; the process that made it must "
                        "still run, and an id serves one group only",
                        point->text, last.message()));
      }
      // Whoever owns a door listens until its communicator ends.
      if (place.is_door() && last.code() == Code::kPeerLost && gone.expired()) {
        return Status::error(Code::kPeerLost,
                             fmt::format("nobody is at {}: {}; its process or its communicator is "
                                         "gone, so exclude it too",
                                         point->text, last.message()),
                             0);
      }
      wait = attempt.refused ? milliseconds(100) : wait;
    }
    if (!pause(wait, deadline, config.aborted)) {
      return aborted();
    }
    wait = std::min(wait * 2, milliseconds(100));
  }
  return too_late(config, place.text(), last, place.served_by());
}

Result<Met> meet_at(const BootstrapConfig& config, const Deadline& deadline, bool* server_is_gone) {
  auto place = MeetingPlace::open(config);
  if (!place) {
    return place.status();
  }
  Result<Met> met = keep_trying(config, deadline, **place, server_is_gone);
  (*place)->close(met.is_ok() ? Code::kOk : met.status().code());
  return met;
}

}  // namespace

Result<Met> meet(const BootstrapConfig& config, const Deadline& deadline) {
  BootstrapConfig here = config;
  for (const UniqueId& next : config.other_ids) {
    bool server_is_gone = false;
    Result<Met> met = meet_at(here, deadline, &server_is_gone);
    if (met || !server_is_gone) {
      return met;
    }
    log_line(LogLevel::kInfo, {config.rank, config.size, ""},
             fmt::format("{}; trying the next unique id", met.status().message()));
    here.id = &next;
  }
  bool server_is_gone = false;
  return meet_at(here, deadline, &server_is_gone);
}

}  // namespace gossamer
