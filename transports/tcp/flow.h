// One data connection: the messages of one (peer, lane). It can carry both ways; a link uses one
// for each.
//
//   Sending    header and bytes leave in one system call, inside send() where the kernel takes
//              them; what it does not take waits in a queue of at most kWindow messages.
//   Receiving  only for posted sinks: what nobody asked for stays in the kernel and holds the
//              sender back. Small messages arrive through the flow's own tile, several per system
//              call. Large plain ones are scattered straight into their target together with their
//              header; large folds go through a tile shared by all flows that stays in the cache.
//   End        An ended or failed connection makes the flow broken(), never a fault: the peer's
//              control connection knows better what has happened.
//   Threads    driving thread.

#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "gossamer/transport.h"
#include "transports/tcp/frame.h"

namespace gossamer::tcp {

inline constexpr uint32_t kWindow = 64;
inline constexpr size_t kOwnTileBytes = 16 * 1024;
inline constexpr size_t kFoldTileBytes = 64 * 1024;

using FoldTile = std::unique_ptr<std::byte[]>;  // kFoldTileBytes, shared by all flows

// At most kWindow items, first in first out.
template <class T>
class Ring {
 public:
  bool empty() const { return count_ == 0; }
  bool full() const { return count_ == kWindow; }
  T& front() { return items_[first_]; }
  void push(const T& item) { items_[(first_ + count_++) % kWindow] = item; }
  void pop() {
    first_ = (first_ + 1) % kWindow;
    --count_;
  }
  void clear() { count_ = 0; }

 private:
  std::array<T, kWindow> items_{};
  uint32_t first_ = 0;
  uint32_t count_ = 0;
};

class Flow {
 public:
  // Owns `socket`.
  Flow(int socket, Rank self, Rank peer, Lane lane);
  ~Flow();
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;

  // kOk: written; kPending; kAgain: window full.
  Code send(const Message& message, Token token);
  // kOk: arrived; kPending; kAgain: window full; kMismatch, kSystem: *fault says why.
  Code recv(const Sink& sink, Token token, const FoldTile& tile, Fault* fault);

  // Move what can be moved now, within a budget that lets other flows have their turn.
  Code receive(const FoldTile& tile, std::vector<Token>* done, Fault* fault);
  void transmit(std::vector<Token>* done);

  void abandon();

  bool wants_read() const { return !posted_.empty(); }
  bool wants_write() const { return !sends_.empty(); }
  // The fingerprint of a message that has arrived and that no sink awaits.
  bool peek(Fingerprint* arrived) const;
  bool broken() const { return broken_; }
  int error() const { return error_; }  // errno, or 0 for an orderly end
  int socket() const { return socket_; }
  Rank peer() const { return peer_; }

  Traffic traffic;

  // What epoll said last; read by the transport when it polls many flows.
  bool readable = true;
  bool writable = true;
  bool listed_read = false;  // is in the transport's list of flows that want to read
  bool listed_write = false;

 private:
  struct Posted {
    Sink sink;
    Token token = 0;
  };
  struct Queued {
    Message message;
    uint32_t sequence = 0;
    Token token = 0;
  };

  size_t in_tile() const { return end_ - begin_; }
  size_t write_some(const Queued& queued, size_t progress);
  ssize_t read_into(std::span<std::byte> first, std::span<std::byte> second,
                    std::span<std::byte> third);
  void fill_header(const Sink& sink, const FoldTile& tile);
  Code begin_message(const Sink& sink, const FoldTile& tile, Fault* fault);
  void read_body(const Sink& sink, const FoldTile& tile);
  bool consume_tile(const Sink& sink);
  void fold(const Sink& sink, const FoldTile& tile, size_t bytes);
  void fail(int error);

  const int socket_;
  const Rank self_;
  const Rank peer_;
  const Lane lane_;
  bool broken_ = false;
  int error_ = 0;

  Ring<Queued> sends_;
  size_t progress_ = 0;  // of sends_.front(): header and body bytes written
  uint32_t next_sequence_ = 0;

  Ring<Posted> posted_;
  bool in_message_ = false;  // posted_.front()'s header has arrived
  bool drained_ = false;     // the last read took all there was
  uint64_t arrived_ = 0;     // bytes of its body that are in place
  size_t body_ahead_ = 0;    // body bytes that came in with the header
  uint32_t expected_sequence_ = 0;
  std::unique_ptr<std::byte[]> own_;  // kOwnTileBytes, allocated by the first receive
  size_t begin_ = 0;                  // unread bytes in own_
  size_t end_ = 0;
};

}  // namespace gossamer::tcp
