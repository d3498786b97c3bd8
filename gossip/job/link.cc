#include "gossip/job/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "src/check.h"
#include "src/process.h"

namespace gossamer::job {
namespace {

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

}  // namespace

Link::Link(Fd fd, const Handshake& handshake, const Shape& shape)
    : fd_(std::move(fd)), handshake_(handshake), shape_(shape) {
  if (!fd_.is_open()) return;
  const int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  keep_from_children(fd_.get());
}

std::unique_ptr<Link> Link::connect(const SocketAddress& to, const Handshake& handshake,
                                    const Shape& shape) {
  Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  bool under_way = false;
  if (fd.is_open() &&
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) {
    under_way = errno == EINPROGRESS;
    if (!under_way) fd.reset();
  }
  auto link = std::make_unique<Link>(std::move(fd), handshake, shape);
  if (under_way) link->state_ = State::kConnecting;
  return link;
}

pollfd Link::to_poll() const {
  int16_t events = 0;
  if (state_ == State::kConnecting) {
    events = POLLOUT;
  } else if (state_ == State::kHandshake) {
    events = static_cast<int16_t>((handshake_.wanted() > 0 ? POLLIN : 0) |
                                  (handshake_.to_send().empty() ? 0 : POLLOUT));
  } else {
    events = static_cast<int16_t>((complete_ ? 0 : POLLIN) | (out_.empty() ? 0 : POLLOUT));
  }
  return {fd_.is_open() && events != 0 ? fd_.get() : -1, events, 0};
}

void Link::step() {
  if (fd_.is_open() && state_ == State::kConnecting) finish_connecting();
  if (fd_.is_open() && state_ == State::kHandshake) shake_hands();
  if (open()) write_out();
  if (open()) read_in();
}

void Link::finish_connecting() {
  pollfd ready{fd_.get(), POLLOUT, 0};
  if (::poll(&ready, 1, 0) <= 0) return;
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    close();
    return;
  }
  state_ = State::kHandshake;
}

// 0: nothing now, or closed.
size_t Link::receive(std::byte* into, size_t bytes) {
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), into, bytes, 0);
    if (got > 0) return static_cast<size_t>(got);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || !would_block()) close();
    return 0;
  }
}

void Link::shake_hands() {
  std::array<std::byte, Handshake::kHelloBytes> bytes{};
  bool moved = true;
  while (moved && !handshake_.done()) {
    moved = false;
    const std::span<const std::byte> out = handshake_.to_send();
    if (!out.empty()) {
      const ssize_t sent = ::send(fd_.get(), out.data(), out.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        handshake_.sent(static_cast<size_t>(sent));
        moved = true;
      }
    }
    const size_t wanted = std::min(handshake_.wanted(), bytes.size());
    if (wanted == 0) continue;
    const size_t got = receive(bytes.data(), wanted);
    if (!fd_.is_open()) return;
    moved = moved || got > 0;
    if (got > 0 && handshake_.feed(std::span(bytes).first(got)) != Code::kOk) {
      close();
      return;
    }
  }
  if (handshake_.done()) state_ = State::kOpen;
}

void Link::send(const Head& head, std::shared_ptr<const Packet> packet) {
  if (closed()) return;
  if (out_.size() >= kBacklogMax) {
    close();
    return;
  }
  out_.push_back({encode(head), std::move(packet), 0});
}

void Link::write_out() {
  while (!out_.empty()) {
    Out& out = out_.front();
    std::array<iovec, 2> parts{};
    size_t count = 0;
    const auto add = [&](const std::byte* data, size_t bytes, size_t skip) {
      if (skip < bytes) parts[count++] = {const_cast<std::byte*>(data) + skip, bytes - skip};
    };
    add(out.head.data(), out.head.size(), out.at);
    if (out.packet != nullptr) {
      add(out.packet->elements.data(), out.packet->elements.size(),
          out.at - std::min(out.at, out.head.size()));
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent > 0) {
      out.at += static_cast<size_t>(sent);
      if (out.at == out.bytes()) out_.pop_front();
    } else if (errno != EINTR) {
      // What the peer said before it left is still to be read, and reading finds out that it left.
      if (!would_block()) out_.clear();
      return;
    }
  }
}

// Whether a head is one of this job's packets, or of something else.
bool Link::expect(const Head& head) {
  in_ = {};
  in_.head = head;
  if (head.kind != Kind::kPush) return true;
  if (head.count != shape_.count) return false;
  in_.packet = {head.lane, head.sequence, head.steps, head.weight, head.wide, {}};
  in_.packet.elements.resize(shape_.bytes(head.wide));
  return true;
}

void Link::read_in() {
  while (!complete_ && head_at_ < head_.size()) {
    const size_t got = receive(head_.data() + head_at_, head_.size() - head_at_);
    if (got == 0) return;
    head_at_ += got;
    if (head_at_ < head_.size()) continue;
    in_at_ = 0;
    const std::optional<Head> head = parse_head(head_);
    if (!head || !expect(*head)) {
      close();
      return;
    }
  }
  while (!complete_ && in_at_ < in_.packet.elements.size()) {
    const size_t got =
        receive(in_.packet.elements.data() + in_at_, in_.packet.elements.size() - in_at_);
    if (got == 0) return;
    in_at_ += got;
  }
  complete_ = true;
}

Message Link::take() {
  GOSSAMER_CHECK(complete_);
  complete_ = false;
  head_at_ = 0;
  return std::exchange(in_, {});
}

}  // namespace gossamer::job
