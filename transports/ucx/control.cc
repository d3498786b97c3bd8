#include "transports/ucx/control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "src/check.h"
#include "src/log.h"

namespace gossamer::ucx {

namespace {

constexpr uint32_t kPurpose = 0x55435800;
constexpr std::chrono::milliseconds kKnockAfter{50};
// How long a failed connection waits for somebody to say why the peer accepts nobody.
constexpr std::chrono::milliseconds kGrace{200};
// Ranks without a link that a failing one tells why. All ranks do, so all hear in larger groups.
constexpr size_t kWordsMax = 64;

}  // namespace

Control::Control(const TransportConfig& config, int epoll)
    : config_(config),
      epoll_(epoll),
      greeter_(config, kPurpose),
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
  const Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
  if (!to) {
    fault->set(Code::kInvalidArgument, rank, "rank %d's address is unusable: %s", rank,
               to.status().message().c_str());
    return fault->code;
  }
  return greeter_.connect(rank, lane, *to, fault);
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
  } else if (now - peer.opened >= kKnockAfter) {
    code = connect(rank, &peer, tcp::kKnockLane, fault);
  }
  if (code != Code::kOk) return code;
  if (now - peer.opened <= config_.timeout) return Code::kAgain;
  fault->set(Code::kTimeout, rank,
             "rank %d did not open its link to rank %d in time; it is late, or cannot reach %s",
             rank, config_.rank, greeter_.address().c_str());
  return fault->code;
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

// Moves connections on that are being made. kOk, or word that a rank without a link has left.
Code Control::greet(Fault* fault) {
  Fault refused;
  Code greeted = greeter_.step(&welcomes_, &refused);
  for (const tcp::Welcome& welcome : welcomes_) {
    const Code admitted = admit(welcome, &refused);
    if (greeted == Code::kOk) greeted = admitted;
  }
  welcomes_.clear();
  if (greeted != Code::kOk && unreachable_.code == Code::kOk) {
    unreachable_ = refused;
    unreachable_since_ = Clock::now();
  }
  if (greeter_.word().code != Code::kOk) *fault = greeter_.word();
  return greeter_.word().code;
}

Code Control::check(Fault* fault) {
  urgent_ = false;
  if (greet(fault) != Code::kOk) return fault->code;
  // Notices first: a rank that failed and left gives the reason, not its leaving.
  Fault ended;
  for (const Rank rank : linked_) {
    Fault found;
    if (read(rank, peers_[static_cast<size_t>(rank)].get(), &found) == Code::kOk) continue;
    if (found.code != Code::kPeerLost) {
      *fault = found;
      return fault->code;
    }
    if (ended.code == Code::kOk) ended = found;
  }
  if (ended.code != Code::kOk) {
    // Its word may have come just after we looked, and before its end.
    if (greet(fault) != Code::kOk) return fault->code;
    *fault = ended;
    return fault->code;
  }
  if (unreachable_.code == Code::kOk) return Code::kOk;
  // A rank that has failed accepts nobody: others may tell what it failed of.
  if (unreachable_.code != Code::kPeerLost || Clock::now() - unreachable_since_ > kGrace) {
    *fault = unreachable_;
    return fault->code;
  }
  urgent_ = true;
  return Code::kOk;
}

Code Control::lost(Rank rank, const std::string& how, Fault* fault) const {
  fault->set(Code::kPeerLost, rank, "rank %d at %s %s", rank,
             addresses_[static_cast<size_t>(rank)].c_str(), how.c_str());
  return fault->code;
}

Code Control::read(Rank rank, Peer* peer, Fault* fault) {
  std::array<std::byte, 1024> buffer;
  while (!peer->said_goodbye) {
    const ssize_t got = ::recv(peer->socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Code::kOk;
    if (got < 0 && errno == ETIMEDOUT) {
      return lost(rank, "does not answer any more (host or network down)", fault);
    }
    if (got <= 0) return lost(rank, "closed its connection without a word: it died", fault);
    std::span<const std::byte> bytes(buffer.data(), static_cast<size_t>(got));
    while (!bytes.empty()) {
      const auto found = peer->parser.next(&bytes, fault);
      if (found == tcp::RecordParser::Found::kNotice) return fault->code;
      if (found == tcp::RecordParser::Found::kGoodbye) {
        peer->said_goodbye = true;
        return Code::kOk;
      }
      if (found == tcp::RecordParser::Found::kGarbage) {
        fault->set(Code::kSystem, rank,
                   "rank %d sends control records that make no sense: corrupted on the way, or "
                   "two versions of the library",
                   rank);
        return fault->code;
      }
    }
  }
  return Code::kOk;
}

void Control::notify(const Fault& fault) {
  const tcp::Record record = tcp::notice_record(fault);
  for (const Rank rank : linked_) {
    // A control connection is almost always empty: what it does not take at once is not worth
    // waiting for.
    (void)::send(at(rank)->socket, record.data.data(), record.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  std::vector<tcp::Greeter::Addressee> others;
  for (Rank rank = 0; rank < static_cast<Rank>(addresses_.size()); ++rank) {
    if (rank == config_.rank || linked(rank) || addresses_[static_cast<size_t>(rank)].empty()) {
      continue;
    }
    const Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
    if (to) others.push_back({rank, *to});
    if (others.size() == kWordsMax) break;
  }
  greeter_.leave_word(others, record);
}

void Control::say_goodbye() {
  const tcp::Record goodbye = tcp::goodbye_record();
  for (const Rank rank : linked_) {
    const int socket = at(rank)->socket;
    (void)::send(socket, goodbye.data.data(), goodbye.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    // Unread bytes would turn the close into a reset, which may overtake what was just sent.
    std::array<std::byte, 1024> rest;
    while (::recv(socket, rest.data(), rest.size(), MSG_DONTWAIT) > 0) continue;
  }
}

}  // namespace gossamer::ucx
