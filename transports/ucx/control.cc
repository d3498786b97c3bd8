#include "transports/ucx/control.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>

#include "src/check.h"
#include "src/log.h"

namespace gossamer::ucx {

namespace {

constexpr uint32_t kPurpose = 0x55435800;

}  // namespace

Control::Control(const TransportConfig& config, int epoll)
    : config_(config),
      epoll_(epoll),
      greeter_(config, kPurpose),
      reception_(config, greeter_),
      peers_(static_cast<size_t>(config.size)) {}

Control::~Control() {
  for (const Rank rank : linked_) ::close(at(rank)->socket);
}

Control::Peer& Control::make(Rank rank) {
  std::unique_ptr<Peer>& slot = peers_[static_cast<size_t>(rank)];
  if (slot == nullptr) slot = std::make_unique<Peer>(config_.size);
  return *slot;
}

Code Control::connect(Rank rank, Peer* peer, uint8_t lane, Fault* fault) {
  bool& done = lane == tcp::kKnockLane ? peer->knocked : peer->connecting;
  if (done) return Code::kOk;
  done = true;
  return reception_.connect(rank, lane, fault);
}

Code Control::open(Rank rank, Fault* fault) {
  Peer& peer = make(rank);
  if (peer.socket >= 0) return Code::kOk;
  const auto now = Clock::now();
  if (!peer.requested) {
    peer.requested = true;
    peer.opened = now;
    ++opening_;
  }
  Code code = Code::kOk;
  if (config_.rank < rank) {
    code = connect(rank, &peer, tcp::kControlLane, fault);
  } else if (now - peer.opened >= tcp::kKnockAfter) {
    code = connect(rank, &peer, tcp::kKnockLane, fault);
  }
  if (code != Code::kOk) return code;
  if (now - peer.opened <= config_.timeout) return Code::kAgain;
  return reception_.late(rank, fault);
}

// Takes a proven connection into its link.
Code Control::admit(const tcp::Welcome& welcome, Fault* fault) {
  Peer& peer = make(welcome.peer);
  if (welcome.lane == tcp::kKnockLane) {
    ::close(welcome.socket);
    return config_.rank < welcome.peer ? connect(welcome.peer, &peer, tcp::kControlLane, fault)
                                       : Code::kOk;
  }
  if (peer.socket >= 0 || welcome.lane != tcp::kControlLane) {
    log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
             "refused a second connection from rank " + std::to_string(welcome.peer));
    ::close(welcome.socket);
    return Code::kOk;
  }
  tcp::guard_against_silence(welcome.socket);
  peer.socket = welcome.socket;
  linked_.push_back(welcome.peer);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, welcome.socket, &event);
  if (peer.requested) --opening_;
  urgent_ = true;  // it may have said something already
  return Code::kOk;
}

bool Control::due() {
  if (urgent_ || opening_ > 0 || greeter_.busy()) return true;
  return tick_.passed();
}

Code Control::check(Fault* fault) {
  urgent_ = false;
  const auto admitting = [this](const tcp::Welcome& welcome, Fault* why) {
    return admit(welcome, why);
  };
  const auto reading = [this](Rank rank, Fault* why) {
    return read(rank, peers_[static_cast<size_t>(rank)].get(), why);
  };
  if (reception_.hear(linked_, admitting, reading, fault) != Code::kOk) return fault->code;
  const Code code = reception_.judge(fault);
  if (code != Code::kAgain) return code;
  urgent_ = true;
  return Code::kOk;
}

Code Control::read(Rank rank, Peer* peer, Fault* fault) {
  std::array<std::byte, 1024> buffer;
  while (!peer->said_goodbye) {
    const char* ended = nullptr;
    std::span<const std::byte> bytes = tcp::receive(peer->socket, buffer, &ended);
    if (ended != nullptr) return lost(rank, ended, fault);
    if (bytes.empty()) return Code::kOk;
    while (!bytes.empty()) {
      const auto found = peer->parser.next(&bytes, fault);
      if (found == tcp::RecordParser::Found::kNotice) return fault->code;
      if (found == tcp::RecordParser::Found::kGoodbye) {
        peer->said_goodbye = true;
        return Code::kOk;
      }
      if (found == tcp::RecordParser::Found::kGarbage) {
        return tcp::senseless(rank, fault);
      }
    }
  }
  return Code::kOk;
}

void Control::notify(const Fault& fault) {
  const tcp::Record record = tcp::notice_record(fault);
  for (const Rank rank : linked_) tcp::send_record(at(rank)->socket, record);
  reception_.leave_word([this](Rank rank) { return linked(rank); }, record);
}

void Control::say_goodbye() {
  for (const Rank rank : linked_) {
    tcp::send_record(at(rank)->socket, tcp::goodbye_record());
    tcp::drain(at(rank)->socket);
  }
}

}  // namespace gossamer::ucx
