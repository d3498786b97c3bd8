#include "src/channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "src/check.h"
#include "src/system_text.h"

namespace gossamer {
namespace {

constexpr size_t kReadBytes = 64 * 1024;

void send_at_once(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

Channel::Channel(Fd accepted, const SocketAddress& from, const Handshake& handshake,
                 size_t body_bytes_max)
    : fd_(std::move(accepted)),
      peer_(from),
      handshake_(handshake),
      body_bytes_max_(body_bytes_max) {
  if (fd_.is_open()) {
    send_at_once(fd_.get());
  }
}

std::unique_ptr<Channel> Channel::connect(const SocketAddress& to, const Handshake& handshake,
                                          size_t body_bytes_max) {
  Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = fd.is_open() ? 0 : errno;
  if (error == 0 &&
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) {
    error = errno;
  }
  auto channel = std::make_unique<Channel>(std::move(fd), to, handshake, body_bytes_max);
  if (error == EINPROGRESS) {
    channel->state_ = State::kConnecting;
  } else if (error != 0) {
    channel->close(system_text(error), error);
  }
  return channel;
}

pollfd Channel::to_poll() const {
  int16_t events = 0;
  if (state_ == State::kConnecting) {
    events = POLLOUT;
  } else if (state_ == State::kHandshake) {
    events = static_cast<int16_t>((handshake_.wanted() > 0 ? POLLIN : 0) |
                                  (handshake_.to_send().empty() ? 0 : POLLOUT));
  } else if (state_ == State::kOpen) {
    events = static_cast<int16_t>((complete_ ? 0 : POLLIN) | (flushed() ? 0 : POLLOUT));
  }
  return {events != 0 ? fd_.get() : -1, events, 0};
}

void Channel::step() {
  if (state_ == State::kConnecting) {
    finish_connecting();
  }
  if (state_ == State::kHandshake) {
    step_handshake();
  }
  if (state_ == State::kOpen) {
    read_in();
  }
  if (state_ == State::kOpen) {
    write_out();
  }
}

void Channel::close(std::string why, int error) {
  fd_.reset();
  out_at_ = out_.size();
  state_ = State::kClosed;
  why_ = std::move(why);
  error_ = error;
}

void Channel::finish_connecting() {
  pollfd ready{fd_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) <= 0) {
    return;
  }
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    close(system_text(error), error);
    return;
  }
  state_ = State::kHandshake;
}

size_t Channel::receive(std::byte* into, size_t bytes) {
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), into, bytes, 0);
    if (got > 0) {
      return static_cast<size_t>(got);
    }
    if (got == 0) {
      close("it closed the connection", 0);
      return 0;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return 0;
    }
    if (errno != EINTR) {
      close(system_text(errno), errno);
      return 0;
    }
  }
}

void Channel::step_handshake() {
  std::array<std::byte, Handshake::kHelloBytes> bytes{};
  bool moved = true;
  while (moved && state_ == State::kHandshake && !handshake_.done()) {
    moved = false;
    const std::span<const std::byte> out = handshake_.to_send();
    if (!out.empty()) {
      const ssize_t sent = ::send(fd_.get(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        handshake_.sent(static_cast<size_t>(sent));
        moved = true;
      }  // an error shows in receive() below, after what the peer had to say
    }
    const size_t wanted = handshake_.wanted();
    if (wanted == 0) {
      continue;
    }
    const size_t got = receive(bytes.data(), std::min(wanted, bytes.size()));
    moved = moved || got > 0;
    heard_ = heard_ || got > 0;
    if (state_ == State::kClosed) {
      // A peer that shook hands up to our proof and then left did not like the proof.
      refused_ = wanted <= Handshake::kProofBytes && handshake_.to_send().empty();
      return;
    }
    if (got > 0 && handshake_.feed(std::span(bytes).first(got)) != Code::kOk) {
      close(handshake_.reason(), 0);
      stranger_ = true;
      return;
    }
  }
  if (state_ == State::kHandshake && handshake_.done()) {
    state_ = State::kOpen;
  }
}

void Channel::send(FrameHeader header, const std::vector<std::byte>& body) {
  header.body_bytes = static_cast<uint32_t>(body.size());
  if (flushed()) {
    out_.clear();
    out_at_ = 0;
  }
  const std::vector<std::byte> head = encode(header);
  out_.insert(out_.end(), head.begin(), head.end());
  out_.insert(out_.end(), body.begin(), body.end());
}

void Channel::write_out() {
  while (!flushed()) {
    const ssize_t sent =
        ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL);
    if (sent > 0) {
      out_at_ += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (errno != EINTR) {
      // Not the end yet: what the peer said before it left is still to be read, and reading finds
      // out that it has left.
      out_at_ = out_.size();
    }
  }
}

bool Channel::fits() const {
  const size_t bytes_max =
      frame_.header.type == FrameType::kBlobs ? body_bytes_max_ : kMeetingBodyMax;
  return frame_.header.body_bytes <= bytes_max;
}

void Channel::read_in() {
  while (!complete_ && header_at_ < header_.size()) {
    const size_t got = receive(header_.data() + header_at_, header_.size() - header_at_);
    if (got == 0) {
      return;
    }
    header_at_ += got;
    if (header_at_ == header_.size()) {
      const std::optional<FrameHeader> header = parse_frame_header(header_);
      frame_ = Frame{header.value_or(FrameHeader{}), {}};
      if (!header || !fits()) {
        close("it sent a malformed message", EPROTO);
        return;
      }
    }
  }
  while (!complete_ && frame_.body.size() < frame_.header.body_bytes) {
    const size_t have = frame_.body.size();
    const size_t chunk = std::min<size_t>(frame_.header.body_bytes - have, kReadBytes);
    frame_.body.resize(have + chunk);
    const size_t got = receive(frame_.body.data() + have, chunk);
    frame_.body.resize(have + got);
    if (got == 0) {
      return;
    }
  }
  complete_ = true;
}

Frame Channel::take_frame() {
  GOSSAMER_CHECK(complete_);
  complete_ = false;
  header_at_ = 0;
  return std::exchange(frame_, {});
}

}  // namespace gossamer
