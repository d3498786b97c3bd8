// How a pair goes on over another port.
//
//   Who        Either end, when its pair breaks or its port goes down; the other follows. Both
//              count a pair's moves, and the count says which port it takes: nothing has to be
//              agreed on but that it is time.
//   Stopped    The connections are ended, and all their completions awaited: then it is certain
//              what has arrived.
//   Offered    Connections on the next port are made; the peer is told of them and of what has
//              arrived.
//   Connected  The peer's offer has come: its connections are connected to ours, what it has taken
//              is known. It is told that it may send.
//   Over       It says the same: what it has not taken is sent again.

#include <sys/socket.h>

#include <algorithm>

#include "src/log.h"
#include "transports/verbs/verbs.h"

namespace gossamer::verbs {

namespace {

// A device that failed may never give back its receive slots, and then nothing more arrives.
constexpr std::chrono::milliseconds kDrain{500};
constexpr std::chrono::milliseconds kMoveMax{5000};

}  // namespace

// Whether there is another port, and hope: every port has two attempts until the pair works again.
bool Verbs::may_move(Rank rank, const Peer& peer, Lane lane) const {
  const auto own = static_cast<uint32_t>(const_cast<Devices&>(devices_).ports().size());
  const uint32_t ports = std::max(own, ports_of_[static_cast<size_t>(rank)]);
  return ports > 1 && peer.ready && !peer.said_goodbye && !peer.gone && !abandoned_ &&
         peer.moving[lane].in_vain < 2 * ports;
}

// Ends what the pair has and begins its move number `attempt`.
void Verbs::stop_pair(Peer* peer, Lane lane, uint32_t attempt, const std::string& why) {
  Pair& pair = *peer->pairs[lane];
  Moving& moving = peer->moving[lane];
  log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
           "lane " + std::to_string(lane) + " to rank " + std::to_string(pair.peer()) + " leaves " +
               pair.port().name() + ": " + why);
  const bool worked = moving.phase == Moving::Phase::kNone && pair.proved_itself();
  if (moving.phase == Moving::Phase::kNone) ++moving_;
  moving.in_vain = worked ? 1 : moving.in_vain + 1;
  moving.phase = Moving::Phase::kStopped;
  moving.answered = moving.peer_ready = false;
  moving.begun = Clock::now();
  pair.stop();
  moving.attempt = attempt;
  urgent_ = true;
}

Code Verbs::take_move(Rank rank, Peer* peer, std::span<const std::byte> body, Fault* fault) {
  Move move;
  if (!decode_move(body, &move) || move.lane >= peer->pairs.size()) {
    fault->set(Code::kSystem, rank, "rank %d moves a lane that there is not", rank);
    return fault->code;
  }
  Moving& moving = peer->moving[move.lane];
  const bool newer = static_cast<int32_t>(move.attempt - moving.attempt) > 0;
  if (newer && !move.ready) {
    if (!may_move(rank, *peer, move.lane)) return Code::kOk;
    const Pair& pair = *peer->pairs[move.lane];
    stop_pair(peer, move.lane, move.attempt, pair.broken() ? pair.why() : "as its peer asks");
  }
  if (move.attempt != moving.attempt || moving.phase == Moving::Phase::kNone) return Code::kOk;
  urgent_ = true;
  if (move.ready) {
    moving.peer_ready = true;  // it may say so right behind its offer
  } else {
    moving.offer = move;
    moving.answered = true;
  }
  return Code::kOk;
}

void Verbs::end_move(Rank rank, Peer* peer, Lane lane) {
  Pair& pair = *peer->pairs[lane];
  peer->moving[lane].phase = Moving::Phase::kNone;
  --moving_;
  pair.go();
  list(&pair);
  log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
           "lane " + std::to_string(lane) + " to rank " + std::to_string(rank) + " goes on over " +
               pair.port().name());
}

void Verbs::tell_move(Peer* peer, Lane lane, bool ready) {
  const Pair& pair = *peer->pairs[lane];
  Move move;
  move.lane = lane;
  move.ready = ready;
  move.attempt = peer->moving[lane].attempt;
  move.taken = pair.taken();
  move.consumed = pair.consumed();
  move.setup = pair.setup();
  const tcp::Record record = tcp::move_record(encode_move(move));
  // A control connection is almost always empty. What it does not take shows as a move that takes
  // too long.
  (void)::send(peer->control, record.data.data(), record.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Code Verbs::offer_move(Rank rank, Peer* peer, Lane lane, Fault* fault) {
  Pair& pair = *peer->pairs[lane];
  Moving& moving = peer->moving[lane];
  if (!pair.drained() && Clock::now() - moving.begun < kDrain) return Code::kOk;
  const std::span<Port> ports = devices_.ports();
  Port* const port = &ports[(lane + moving.attempt) % ports.size()];
  if (port->down && may_move(rank, *peer, lane)) {
    stop_pair(peer, lane, moving.attempt + 1, port->name() + " is down too");
    return Code::kOk;
  }
  if (port->down) {
    fault->set(Code::kPeerLost, rank,
               "rank %d is out of reach: %s of rank %d is down, and so is its every other port "
               "(lane %u)",
               rank, port->name().c_str(), config_.rank, lane);
    return fault->code;
  }
  pair.set_attempt(moving.attempt);
  const Status attached = pair.attach(port);
  if (!attached) {
    fault->set(attached.code(), rank, "lane %u to rank %d cannot go on over %s: %s", lane, rank,
               port->name().c_str(), attached.message().c_str());
    return fault->code;
  }
  moving.phase = Moving::Phase::kOffered;
  tell_move(peer, lane, false);
  return Code::kOk;
}

Code Verbs::answer_move(Rank rank, Peer* peer, Lane lane, Fault* fault) {
  Pair& pair = *peer->pairs[lane];
  Moving& moving = peer->moving[lane];
  Status status = pair.connect(moving.offer.setup);
  if (status) status = pair.resume(moving.offer.taken, moving.offer.consumed);
  if (!status) {
    fault->set(status.code(), rank, "lane %u to rank %d cannot go on over %s: %s", lane, rank,
               pair.port().name().c_str(), status.message().c_str());
    return fault->code;
  }
  moving.phase = Moving::Phase::kConnected;
  tell_move(peer, lane, true);
  return Code::kOk;
}

Code Verbs::step_move(Rank rank, Peer* peer, Lane lane, Fault* fault) {
  Moving& moving = peer->moving[lane];
  if (peer->said_goodbye) {
    // It has all it needs of us and will not answer.
    moving.phase = Moving::Phase::kNone;
    --moving_;
    return Code::kOk;
  }
  if (Clock::now() - moving.begun > kMoveMax) {
    fault->set(Code::kPeerLost, rank,
               "rank %d is out of reach: its lane %u left a failed port, and it has not answered",
               rank, lane);
    return fault->code;
  }
  if (moving.phase == Moving::Phase::kStopped && offer_move(rank, peer, lane, fault) != Code::kOk) {
    return fault->code;
  }
  if (moving.phase == Moving::Phase::kOffered && moving.answered &&
      answer_move(rank, peer, lane, fault) != Code::kOk) {
    return fault->code;
  }
  if (moving.phase == Moving::Phase::kConnected && moving.peer_ready) end_move(rank, peer, lane);
  return Code::kOk;
}

Code Verbs::step_moves(Fault* fault) {
  if (moving_ == 0) return Code::kOk;
  for (const Rank rank : linked_) {
    Peer& peer = *peers_[static_cast<size_t>(rank)];
    for (size_t lane = 0; lane < peer.moving.size(); ++lane) {
      if (peer.moving[lane].phase == Moving::Phase::kNone) continue;
      const Code code = step_move(rank, &peer, static_cast<Lane>(lane), fault);
      if (code != Code::kOk) return code;
    }
  }
  return Code::kOk;
}

}  // namespace gossamer::verbs
