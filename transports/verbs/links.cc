// Verbs' control connections: opening links, and finding out what has become of a peer.

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "src/log.h"
#include "transports/verbs/verbs.h"

namespace gossamer::verbs {

namespace {

constexpr std::byte kReadyByte{0x52};  // follows the setup: our pairs are connected

bool send_all(int socket, std::span<const std::byte> bytes) {
  // A fresh connection takes far more than this at once.
  return ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

}  // namespace

Code Verbs::connect(Rank rank, Peer* peer, Fault* fault) {
  if (peer->connecting) return Code::kOk;
  peer->connecting = true;
  return reception_.connect(rank, tcp::kControlLane, fault);
}

// Asks a lower rank that has not connected for long to do so, once.
Code Verbs::knock(Rank rank, Peer* peer, Fault* fault) {
  if (peer->knocked || peer->control >= 0 || Clock::now() - peer->opened < tcp::kKnockAfter) {
    return Code::kOk;
  }
  peer->knocked = true;
  return reception_.connect(rank, tcp::kKnockLane, fault);
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

bool Verbs::needs(const Peer& peer) const {
  return std::any_of(peer.pairs.begin(), peer.pairs.end(),
                     [](const auto& pair) { return pair->needs(); });
}

Code Verbs::check_control(Fault* fault) {
  urgent_ = false;
  const auto admitting = [this](const tcp::Welcome& welcome, Fault* why) {
    return admit(welcome, why);
  };
  const auto reading = [this](Rank rank, Fault* why) {
    Peer& peer = *peers_[static_cast<size_t>(rank)];
    const Code code = read_control(rank, &peer, why);
    if (code != Code::kPeerLost || peer.ready) return code;
    // A rank that fails before a link is open tells why over a connection of its own.
    reception_.suspect(*why);
    return Code::kOk;
  };
  if (reception_.hear(linked_, admitting, reading, fault) != Code::kOk) return fault->code;
  if (step_moves(fault) != Code::kOk) return fault->code;
  for (const Rank rank : linked_) {
    const Code code = judge(rank, peers_[static_cast<size_t>(rank)].get(), fault);
    if (code != Code::kOk) return code;
  }
  const Code code = reception_.judge(fault);
  if (code != Code::kAgain) return code;
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
    const char* ended = nullptr;
    std::span<const std::byte> bytes = tcp::receive(peer->control, buffer, &ended);
    if (ended != nullptr) return reception_.lost(rank, ended, fault);
    if (bytes.empty()) return Code::kOk;
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
          return tcp::senseless(rank, fault);
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
    return reception_.lost(rank, "has left while messages to or from it were outstanding", fault);
  }
  if (broken == nullptr) return Code::kOk;
  const auto now = Clock::now();
  if (!peer->suspect) {
    peer->suspect = true;
    peer->suspected = now;
  }
  if (now - peer->suspected > tcp::kGrace) {
    fault->set(Code::kPeerLost, rank, "rank %d is out of reach through %s (lane %u): %s", rank,
               broken->port().name().c_str(), broken->lane(), broken->why().c_str());
    return fault->code;
  }
  urgent_ = true;  // look again at the next poll
  return Code::kOk;
}

void Verbs::notify(const Fault& fault) noexcept {
  const tcp::Record record = tcp::notice_record(fault);
  const auto is_linked = [this](Rank rank) {
    const auto& peer = peers_[static_cast<size_t>(rank)];
    return peer != nullptr && peer->connected;
  };
  for (const Rank rank : linked_) {
    if (is_linked(rank)) tcp::send_record(peers_[static_cast<size_t>(rank)]->control, record);
  }
  reception_.leave_word(is_linked, record);
}

}  // namespace gossamer::verbs
