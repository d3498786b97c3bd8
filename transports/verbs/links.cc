// Verbs' control connections: opening links, and finding out what has become of a peer.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "src/log.h"
#include "transports/verbs/verbs.h"

namespace gossamer::verbs {

namespace {

constexpr std::chrono::milliseconds kKnockAfter{50};
// How long a broken pair waits for the control connection to say why.
constexpr std::chrono::milliseconds kGrace{200};
constexpr size_t kWordsMax = 64;       // ranks without a link that a failing one tells why
constexpr std::byte kReadyByte{0x52};  // follows the setup: our pairs are connected

bool send_all(int socket, std::span<const std::byte> bytes) {
  // A fresh connection takes far more than this at once.
  return ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

}  // namespace

Code Verbs::connect(Rank rank, Peer* peer, Fault* fault) {
  if (peer->connecting) return Code::kOk;
  Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
  if (!to) {
    fault->set(Code::kInvalidArgument, rank, "rank %d's address is unusable: %s", rank,
               to.status().message().c_str());
    return fault->code;
  }
  peer->connecting = true;
  return greeter_.connect(rank, tcp::kControlLane, *to, fault);
}

// Asks a lower rank that has not connected for long to do so, once.
Code Verbs::knock(Rank rank, Peer* peer, Fault* fault) {
  if (peer->knocked || peer->control >= 0 || Clock::now() - peer->opened < kKnockAfter) {
    return Code::kOk;
  }
  peer->knocked = true;
  Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
  if (!to) return Code::kOk;  // it will be late
  return greeter_.connect(rank, tcp::kKnockLane, *to, fault);
}

// Takes a proven connection: makes the pairs and tells the peer of them.
Code Verbs::admit(const tcp::Welcome& welcome, Fault* fault) {
  Peer& peer = peer_at(welcome.peer);
  if (welcome.lane == tcp::kKnockLane) {
    ::close(welcome.socket);
    return config_.rank < welcome.peer ? connect(welcome.peer, &peer, fault) : Code::kOk;
  }
  if (welcome.lane != tcp::kControlLane || peer.control >= 0) {
    log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
             "refused a second connection from rank " + std::to_string(welcome.peer));
    ::close(welcome.socket);
    return Code::kOk;
  }
  tcp::guard_against_silence(welcome.socket);
  peer.control = welcome.socket;
  linked_.push_back(welcome.peer);
  (void)watch(welcome.socket, 0);
  std::vector<PairSetup> setups;
  Status status = Status::ok();
  for (uint8_t lane = 0; lane < lanes_ && status; ++lane) {
    const auto index = static_cast<uint16_t>(pairs_.size());
    auto pair = std::make_unique<Pair>(shared_, welcome.peer, lane, index);
    status = pair->create();
    if (status) status = pair->attach(&devices_.ports()[lane % devices_.ports().size()]);
    if (!status) break;
    setups.push_back(pair->setup());
    pairs_.push_back(pair.get());
    peer.pairs.push_back(std::move(pair));
    peer.moving.emplace_back();
  }
  if (!status) {
    fault->set(status.code(), welcome.peer, "no link to rank %d: %s", welcome.peer,
               status.message().c_str());
    return fault->code;
  }
  // A peer that has gone meanwhile shows when its connection is read.
  (void)send_all(peer.control, encode_setup(shared_.ring_bytes, setups));
  return Code::kOk;
}

// Moves connections on that are being made. kOk, or word that a rank without a link has left.
Code Verbs::greet(Fault* fault) {
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

bool Verbs::needs(const Peer& peer) const {
  return std::any_of(peer.pairs.begin(), peer.pairs.end(),
                     [](const auto& pair) { return pair->needs(); });
}

Code Verbs::check_control(Fault* fault) {
  urgent_ = false;
  if (greet(fault) != Code::kOk) return fault->code;
  // Notices first: a rank that failed and left gives the reason, not its leaving.
  Fault ended;
  for (const Rank rank : linked_) {
    Fault found;
    if (read_control(rank, peers_[static_cast<size_t>(rank)].get(), &found) == Code::kOk) continue;
    if (found.code != Code::kPeerLost) {
      *fault = found;
      return fault->code;
    }
    if (!peers_[static_cast<size_t>(rank)]->ready) {
      // A rank that fails before a link is open tells why over a connection of its own.
      if (unreachable_.code == Code::kOk) {
        unreachable_ = found;
        unreachable_since_ = Clock::now();
      }
      continue;
    }
    if (ended.code == Code::kOk) ended = found;
  }
  if (ended.code != Code::kOk) {
    // Its word may have come just after we looked, and before its end.
    if (greet(fault) != Code::kOk) return fault->code;
    *fault = ended;
    return fault->code;
  }
  if (step_moves(fault) != Code::kOk) return fault->code;
  for (const Rank rank : linked_) {
    const Code code = judge(rank, peers_[static_cast<size_t>(rank)].get(), fault);
    if (code != Code::kOk) return code;
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

// The peer's setup, then its word that its pairs are connected. Consumes these from *bytes.
Code Verbs::read_setup(Rank rank, Peer* peer, std::span<const std::byte>* bytes, Fault* fault) {
  const size_t wanted = setup_bytes(peer->pairs.size()) + 1;
  const size_t run = std::min(wanted - peer->setup.size(), bytes->size());
  peer->setup.insert(peer->setup.end(), bytes->begin(),
                     bytes->begin() + static_cast<ptrdiff_t>(run));
  *bytes = bytes->subspan(run);
  if (!peer->connected && peer->setup.size() >= wanted - 1) {
    std::vector<PairSetup> setups;
    Status status =
        decode_setup(std::span(peer->setup).first(wanted - 1), shared_.ring_bytes, &setups);
    for (size_t lane = 0; lane < setups.size() && status; ++lane) {
      status = peer->pairs[lane]->connect(setups[lane]);
    }
    if (!status) {
      fault->set(status.code(), rank, "no link to rank %d: %s", rank, status.message().c_str());
      return fault->code;
    }
    peer->connected = true;
    (void)send_all(peer->control, std::span(&kReadyByte, 1));
  }
  if (peer->setup.size() < wanted) return Code::kOk;
  if (peer->setup.back() != kReadyByte) {
    fault->set(Code::kSystem, rank, "rank %d sends no setup of ours: another version?", rank);
    return fault->code;
  }
  peer->ready = true;
  for (const auto& pair : peer->pairs) pair->go();
  if (peer->requested) --opening_;
  return Code::kOk;
}

Code Verbs::read_control(Rank rank, Peer* peer, Fault* fault) {
  if (peer->said_goodbye) return Code::kOk;
  std::array<std::byte, 1024> buffer;
  for (;;) {
    const ssize_t got = ::recv(peer->control, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return Code::kOk;
    if (got < 0 && errno == ETIMEDOUT) {
      return lost(rank, "does not answer any more (host or network down)", fault);
    }
    if (got <= 0) return lost(rank, "closed its connection without a word: it died", fault);
    std::span<const std::byte> bytes(buffer.data(), static_cast<size_t>(got));
    while (!bytes.empty()) {
      if (!peer->ready) {
        if (read_setup(rank, peer, &bytes, fault) != Code::kOk) return fault->code;
        continue;
      }
      switch (peer->parser.next(&bytes, fault)) {
        case tcp::RecordParser::Found::kNothing:
          break;
        case tcp::RecordParser::Found::kNotice:
          return fault->code;
        case tcp::RecordParser::Found::kGoodbye:
          peer->said_goodbye = true;
          peer->goodbye_is_new = true;
          return Code::kOk;
        case tcp::RecordParser::Found::kMove:
          if (take_move(rank, peer, peer->parser.body(), fault) != Code::kOk) return fault->code;
          break;
        case tcp::RecordParser::Found::kGarbage:
          fault->set(Code::kSystem, rank,
                     "rank %d sends control records that make no sense: corrupted on the way, or "
                     "two versions of the library",
                     rank);
          return fault->code;
      }
    }
  }
}

// What follows from a broken pair, or from a goodbye.
Code Verbs::judge(Rank rank, Peer* peer, Fault* fault) {
  Pair* broken = nullptr;
  for (const auto& pair : peer->pairs) {
    if (!pair->broken()) continue;
    if (may_move(rank, *peer, pair->lane())) {
      stop_pair(peer, pair->lane(), peer->moving[pair->lane()].attempt + 1, pair->why());
    } else {
      broken = pair.get();
    }
  }
  if (peer->goodbye_is_new) {
    // All it sent was confirmed before it said so, and is delivered by the next poll.
    peer->goodbye_is_new = false;
    urgent_ = true;
    return Code::kOk;
  }
  if (peer->said_goodbye) {
    if (!needs(*peer)) return Code::kOk;
    return lost(rank, "has left while messages to or from it were outstanding", fault);
  }
  if (broken == nullptr) return Code::kOk;
  const auto now = Clock::now();
  if (!peer->suspect) {
    peer->suspect = true;
    peer->suspected = now;
  }
  if (now - peer->suspected > kGrace) {
    fault->set(Code::kPeerLost, rank, "rank %d is out of reach through %s (lane %u): %s", rank,
               broken->port().name().c_str(), broken->lane(), broken->why().c_str());
    return fault->code;
  }
  urgent_ = true;  // look again at the next poll
  return Code::kOk;
}

void Verbs::notify(const Fault& fault) noexcept {
  const tcp::Record record = tcp::notice_record(fault);
  std::vector<tcp::Greeter::Addressee> others;
  for (Rank rank = 0; rank < config_.size; ++rank) {
    const auto& peer = peers_[static_cast<size_t>(rank)];
    if (rank == config_.rank || addresses_[static_cast<size_t>(rank)].empty()) continue;
    if (peer != nullptr && peer->connected) {
      // A control connection is almost always empty: what it does not take at once is not worth
      // waiting for.
      (void)::send(peer->control, record.data.data(), record.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    const Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
    if (to && others.size() < kWordsMax) others.push_back({rank, *to});
  }
  greeter_.leave_word(others, record);
}

}  // namespace gossamer::verbs
