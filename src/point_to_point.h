// Messages from one rank to another outside any collective: many under way at once, beside the
// engine's program.
//
//   Order     messages from one rank to another arrive in the order in which they were posted; a
//             receive from any rank holds back the receives posted after it until it has found one.
//             Nothing orders messages of different pairs, so a rank that posts all of its sends and
//             receives at once cannot deadlock.
//   Numbers   per peer and direction, since not all ranks take part; a collective's are untouched.
//   Self      a message to oneself is copied when its other end is posted.
//   Threads   Driving thread only.
//   Ownership Letters and their memory are lent from post() until `done` is called.
//   Blocking  Never.
//   Memory    Grows to the most letters ever under way, then allocates nothing.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "gossamer/transport.h"
#include "gossamer/types.h"

namespace gossamer {

// One message, at one of its ends.
struct Letter {
  bool sends = false;
  Rank peer = -1;  // of a receive -1: from any rank; the rank it came from once it is done
  DataType type = DataType::kUint8;
  uint64_t count = 0;
  std::byte* data = nullptr;  // read only if it sends
  // How many collectives this rank has begun: messages and collectives of two ranks keep one order.
  uint8_t epoch = 0;
  // Called once, when the memory is the caller's again, well or not; may end the letter's life.
  void (*done)(Letter* letter) = nullptr;
  void* owner = nullptr;  // for `done`

  uint64_t bytes() const { return count * size_of(type); }

  // PointToPoint's own
  std::chrono::steady_clock::time_point give_up_at{};
};

class PointToPoint {
 public:
  // Tokens from here on are letters'.
  static constexpr Token kTokenMin = Token{1} << 31;

  // `transport_of` is the engine's and outlives this.
  PointToPoint(Rank self, const std::vector<Transport*>& transport_of)
      : self_(self), transport_of_(transport_of) {}

  // Queues a letter; advance() issues it.
  void post(Letter* letter);
  // Issues what can be. Not kOk: *fault says why; the letter stays among those that drop() tells.
  Code advance(Fault* fault) noexcept;
  // The transport is done with it.
  void finish(Token token) noexcept;

  bool waiting() const { return !waiting_.empty(); }  // some are not issued yet
  bool idle() const { return waiting_.empty() && issued_ == 0; }
  // Whether advance() or finish() has done anything since this was asked.
  bool moved() { return std::exchange(moved_, false); }

  // The lowest rank that a message is awaited from or by; -1: any, or there is none.
  Rank awaited() const;
  // Whether one has been under way for longer than `timeout`; counts from the first time it is
  // asked about.
  bool overdue(std::chrono::steady_clock::time_point now, std::chrono::nanoseconds timeout);
  // "2 messages to and 1 from other ranks are under way".
  std::string position() const;
  // Ends all letters: calls `done` of each. The transports have forgotten them.
  void drop();

 private:
  struct Peer {
    uint64_t sent = 0;
    uint64_t received = 0;
    uint32_t held[2] = {0, 0};  // the pass in which a send, a receive could not be issued
    bool open = false;
  };

  Code issue(Letter* letter, Fault* fault) noexcept;
  Code find_sender(Letter* letter, Fault* fault) noexcept;
  Code meet_self(Letter* letter, Fault* fault) noexcept;
  Code open(Rank peer, Fault* fault) noexcept;
  Fingerprint fingerprint_of(const Letter& letter) const;
  Token take_slot(Letter* letter);
  void complete(Letter* letter) noexcept;
  template <class Visit>
  void each(Visit visit) const;

  Rank self_;
  const std::vector<Transport*>& transport_of_;
  std::vector<Peer> peers_;       // sized by the first letter
  std::vector<Letter*> waiting_;  // posted and not issued, oldest first
  std::vector<Letter*> slots_;    // issued: by token
  std::vector<Token> free_;       // empty slots
  std::deque<Letter*> to_self_;  // sends to this rank, or receives from it, without their other end
  uint32_t issued_ = 0;          // in slots_ and to_self_
  uint32_t pass_ = 0;
  Rank turn_ = 0;  // whom a receive from any rank asks first
  bool moved_ = false;
};

}  // namespace gossamer
