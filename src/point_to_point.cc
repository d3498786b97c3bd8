#include "src/point_to_point.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "src/check.h"
#include "src/fingerprint.h"

namespace gossamer {

void PointToPoint::post(Letter* letter) {
  if (peers_.empty()) peers_.resize(transport_of_.size());
  // done() may be called for all that wait, and finish() for all that are issued: no push_back()
  // there may have to allocate.
  waiting_.push_back(letter);
  const size_t all = waiting_.size() + slots_.size();
  if (slots_.capacity() < all) {
    slots_.reserve(2 * all);
    free_.reserve(2 * all);
  }
}

Code PointToPoint::advance(Fault* fault) noexcept {
  ++pass_;
  bool any_waits = false;
  size_t kept = 0;
  Code failed = Code::kOk;
  for (Letter* const letter : waiting_) {  // those that go on waiting move to the front
    const auto direction = static_cast<size_t>(letter->sends ? 0 : 1);
    const bool from_any = letter->peer < 0;
    bool held = failed != Code::kOk || (!letter->sends && any_waits);
    if (!held && !from_any) {
      held = peers_[static_cast<size_t>(letter->peer)].held[direction] == pass_;
    }
    if (!held) {
      const Code code = issue(letter, fault);
      if (code == Code::kOk || code == Code::kPending) {
        moved_ = true;
        continue;
      }
      if (code != Code::kAgain) failed = code;
    }
    if (from_any) {
      any_waits = true;
    } else {
      peers_[static_cast<size_t>(letter->peer)].held[direction] = pass_;
    }
    waiting_[kept++] = letter;
  }
  waiting_.resize(kept);
  return failed;
}

// kOk: complete, its `done` was called; kPending: issued; kAgain: not yet.
Code PointToPoint::issue(Letter* letter, Fault* fault) noexcept {
  if (letter->peer < 0) {
    const Code found = find_sender(letter, fault);
    if (found != Code::kOk) return found;
  }
  if (letter->peer == self_) return meet_self(letter, fault);
  const Code opened = open(letter->peer, fault);
  if (opened != Code::kOk) return opened;
  Peer& peer = peers_[static_cast<size_t>(letter->peer)];
  Transport* const transport = transport_of_[static_cast<size_t>(letter->peer)];
  const Fingerprint fingerprint = fingerprint_of(*letter);
  const Token token = take_slot(letter);
  Code code = Code::kOk;
  if (letter->sends) {
    Message message;
    message.data = letter->data;
    message.bytes = letter->bytes();
    message.fingerprint = fingerprint;
    message.whole_bytes = message.bytes;
    code = transport->send(letter->peer, 0, message, token, fault);
  } else {
    Sink sink;
    sink.target = letter->data;
    sink.bytes = letter->bytes();
    sink.fingerprint = fingerprint;
    sink.whole_bytes = sink.bytes;
    code = transport->recv(letter->peer, 0, sink, token, fault);
  }
  if (code == Code::kPending || code == Code::kOk) {
    ++(letter->sends ? peer.sent : peer.received);
  }
  if (code == Code::kPending) {
    ++issued_;
    return code;
  }
  slots_[token - kTokenMin] = nullptr;
  free_.push_back(token);
  if (code == Code::kOk) complete(letter);
  return code;
}

Code PointToPoint::open(Rank rank, Fault* fault) noexcept {
  Peer& peer = peers_[static_cast<size_t>(rank)];
  if (peer.open) return Code::kOk;
  const Code code = transport_of_[static_cast<size_t>(rank)]->open(rank, fault);
  peer.open = code == Code::kOk;
  return code;
}

// The next message of some rank that nothing here awaits yet. Ranks take turns. One that has left
// can send nothing more, which matters only when it was the last.
Code PointToPoint::find_sender(Letter* letter, Fault* fault) noexcept {
  const auto size = static_cast<Rank>(transport_of_.size());
  Code gone = Code::kOk;
  bool somebody = false;
  for (Rank i = 0; i < size; ++i) {
    const Rank rank = (turn_ + i) % size;
    if (rank == self_) {
      const bool there = !to_self_.empty() && to_self_.front()->sends;
      somebody = somebody || there;
      if (!there) continue;
    } else {
      const Code opened = open(rank, fault);
      if (opened != Code::kOk && opened != Code::kAgain) gone = opened;
      somebody = somebody || opened == Code::kOk || opened == Code::kAgain;
      if (opened != Code::kOk) continue;
      Fingerprint arrived = 0;
      const Code seen = transport_of_[static_cast<size_t>(rank)]->peek(rank, 0, &arrived);
      if (seen != Code::kOk || !is_letter(arrived)) continue;
    }
    letter->peer = rank;
    turn_ = (rank + 1) % size;
    return Code::kOk;
  }
  if (somebody || gone == Code::kOk) return Code::kAgain;
  return gone;
}

// A message to this rank itself: its two ends meet here.
Code PointToPoint::meet_self(Letter* letter, Fault* fault) noexcept {
  if (to_self_.empty() || to_self_.front()->sends == letter->sends) {
    to_self_.push_back(letter);
    ++issued_;
    return Code::kPending;
  }
  Letter* const other = to_self_.front();
  const Letter& from = letter->sends ? *letter : *other;
  const Letter& into = letter->sends ? *other : *letter;
  if (from.type != into.type || from.count != into.count) {
    fault->set(Code::kMismatch, self_, "%s", "a message to oneself");
    fault->expected = fingerprint_of(into);
    fault->arrived = fingerprint_of(from);
    return fault->code;
  }
  if (from.data != into.data && from.count > 0) {
    std::memmove(into.data, from.data, from.bytes());
  }
  Peer& peer = peers_[static_cast<size_t>(self_)];
  ++peer.sent;
  ++peer.received;
  to_self_.pop_front();
  --issued_;
  complete(other);
  complete(letter);
  return Code::kOk;
}

Fingerprint PointToPoint::fingerprint_of(const Letter& letter) const {
  const Peer& peer = peers_[static_cast<size_t>(letter.peer)];
  return make_letter_fingerprint(letter.type, letter.count, letter.epoch,
                                 letter.sends ? peer.sent : peer.received);
}

Token PointToPoint::take_slot(Letter* letter) {
  if (free_.empty()) {
    slots_.push_back(letter);
    return kTokenMin + static_cast<Token>(slots_.size() - 1);
  }
  const Token token = free_.back();
  free_.pop_back();
  slots_[token - kTokenMin] = letter;
  return token;
}

void PointToPoint::finish(Token token) noexcept {
  Letter* const letter = std::exchange(slots_[token - kTokenMin], nullptr);
  GOSSAMER_CHECK(letter != nullptr);
  free_.push_back(token);
  --issued_;
  complete(letter);
}

void PointToPoint::complete(Letter* letter) noexcept {
  moved_ = true;
  letter->done(letter);
}

template <class Visit>
void PointToPoint::each(Visit visit) const {
  for (Letter* letter : slots_) {
    if (letter != nullptr) visit(letter);
  }
  for (Letter* letter : to_self_) visit(letter);
  for (Letter* letter : waiting_) visit(letter);
}

Rank PointToPoint::awaited() const {
  Rank lowest = -1;
  each([&](const Letter* letter) {
    if (letter->peer >= 0 && (lowest < 0 || letter->peer < lowest)) lowest = letter->peer;
  });
  return lowest;
}

bool PointToPoint::overdue(std::chrono::steady_clock::time_point now,
                           std::chrono::nanoseconds timeout) {
  bool late = false;
  each([&](Letter* letter) {
    if (letter->give_up_at == std::chrono::steady_clock::time_point()) {
      letter->give_up_at = now + timeout;
    }
    late = late || now >= letter->give_up_at;
  });
  return late;
}

std::string PointToPoint::position() const {
  size_t sends = 0;
  size_t receives = 0;
  each([&](const Letter* letter) { ++(letter->sends ? sends : receives); });
  return std::to_string(sends) + " sends and " + std::to_string(receives) +
         " receives are unfinished";
}

void PointToPoint::drop() {
  // One by one: `done` may end a letter's life.
  std::vector<Letter*> all;
  each([&](Letter* letter) { all.push_back(letter); });
  waiting_.clear();
  slots_.clear();
  free_.clear();
  to_self_.clear();
  issued_ = 0;
  for (Letter* letter : all) letter->done(letter);
}

}  // namespace gossamer
