// One bootstrap connection: connects or was accepted, shakes hands, then carries frames.
//
//   Progress  step() does what can be done now; the owner polls fd() for events() in between.
//   Input     one frame at a time: nothing more is read until take_frame(). The body grows as its
//             bytes arrive and never beyond `body_bytes_max`.
//   Closing   what arrived before the peer closed stays readable.
//   Blocking  nothing.
//   Threads   one thread per object.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/auth.h"
#include "src/fd.h"
#include "src/messages.h"
#include "src/net.h"

namespace gossamer {

struct Frame {
  FrameHeader header;
  std::vector<std::byte> body;
};

class Channel {
 public:
  enum class State : uint8_t { kConnecting, kHandshake, kOpen, kClosed };

  // Begins to connect. A Channel that cannot is closed() at once.
  static std::unique_ptr<Channel> connect(const SocketAddress& to, const Handshake& handshake,
                                          size_t body_bytes_max);
  Channel(Fd accepted, const SocketAddress& from, const Handshake& handshake,
          size_t body_bytes_max);

  void step();             // does what can be done now
  pollfd to_poll() const;  // fd -1 when there is nothing to wait for

  void close(std::string why, int error);

  State state() const { return state_; }
  bool open() const { return state_ == State::kOpen; }
  bool closed() const { return state_ == State::kClosed; }
  // Closed because the other end is not one of us: it failed the handshake.
  bool stranger() const { return stranger_; }
  // Closed by the other end where it should have sent its proof: it refused ours.
  bool refused() const { return refused_; }
  // Whether it has said anything at all. Who only looks whether somebody listens does not.
  bool heard() const { return heard_; }
  int error() const { return error_; }  // errno of what closed it, 0: the peer closed it
  // "it closed the connection", "Connection refused", "it does not know the group's key".
  const std::string& why() const { return why_; }
  const SocketAddress& peer() const { return peer_; }
  const Handshake& handshake() const { return handshake_; }
  int fd() const { return fd_.get(); }

  void send(FrameHeader header, const std::vector<std::byte>& body);
  bool flushed() const { return out_at_ == out_.size(); }
  const Frame* frame() const { return complete_ ? &frame_ : nullptr; }
  Frame take_frame();

 private:
  void finish_connecting();
  void step_handshake();
  void write_out();
  void read_in();
  // recv() that closes on failure. 0: nothing now, or closed.
  size_t receive(std::byte* into, size_t bytes);
  bool fits() const;

  Fd fd_;
  SocketAddress peer_;
  Handshake handshake_;
  size_t body_bytes_max_;
  State state_ = State::kHandshake;
  bool stranger_ = false;
  bool refused_ = false;
  bool heard_ = false;
  int error_ = 0;
  std::string why_;
  std::vector<std::byte> out_;
  size_t out_at_ = 0;
  std::array<std::byte, FrameHeader::kBytes> header_{};
  size_t header_at_ = 0;
  Frame frame_;
  bool complete_ = false;
};

}  // namespace gossamer
