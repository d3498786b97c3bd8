// One connection between two members: connects or was accepted, shakes hands, then carries heads
// and, behind those of packets, elements.
//
//   Progress  step() does what can be done now; the owner polls to_poll() in between.
//   Input     one message at a time: nothing more is read until take().
//   Output    what send() was given, in order. A link owns small things and shares packets.
//   Closing   what arrived before the peer closed stays readable.
//   Blocking  nothing.
//   Threads   one thread per object.

#pragma once

#include <poll.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "gossip/job/frames.h"
#include "gossip/job/ledger.h"
#include "src/auth.h"
#include "src/fd.h"
#include "src/net.h"

namespace gossamer::job {

struct Message {
  Head head;
  Packet packet;  // of kPush
};

class Link {
 public:
  // Elements that a packet must have, and their type: what is read behind a head is bounded by it.
  struct Shape {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;
    size_t bytes(bool wide) const { return count * (wide ? sizeof(double) : size_of(type)); }
  };

  static std::unique_ptr<Link> connect(const SocketAddress& to, const Handshake& handshake,
                                       const Shape& shape);
  Link(Fd fd, const Handshake& handshake, const Shape& shape);

  void step();
  pollfd to_poll() const;  // fd -1 when there is nothing to wait for
  void close() { fd_.reset(); }

  bool open() const { return fd_.is_open() && state_ == State::kOpen; }
  // What had arrived may still be there.
  bool closed() const { return !fd_.is_open(); }

  // Small messages that a peer does not read pile up to kBacklogMax; then the link closes.
  void send(const Head& head, std::shared_ptr<const Packet> packet = nullptr);
  bool flushed() const { return out_.empty(); }

  bool arrived() const { return complete_; }
  Message take();

 private:
  enum class State : uint8_t { kConnecting, kHandshake, kOpen };
  struct Out {
    std::array<std::byte, Head::kBytes> head;
    std::shared_ptr<const Packet> packet;
    size_t at = 0;
    size_t bytes() const { return head.size() + (packet ? packet->elements.size() : 0); }
  };
  static constexpr size_t kBacklogMax = 1'024;

  void finish_connecting();
  void shake_hands();
  void write_out();
  void read_in();
  size_t receive(std::byte* into, size_t bytes);
  bool expect(const Head& head);

  Fd fd_;
  Handshake handshake_;
  Shape shape_;
  State state_ = State::kHandshake;
  std::deque<Out> out_;
  std::array<std::byte, Head::kBytes> head_{};
  size_t head_at_ = 0;
  Message in_;
  size_t in_at_ = 0;
  bool complete_ = false;
};

}  // namespace gossamer::job
