#include "transports/tcp/greeter.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "src/log.h"
#include "src/process.h"
#include "src/system_text.h"

namespace gossamer::tcp {

namespace {

constexpr uint64_t kLoudRefusals = 8;
// For connections that carry word of a failure, all together: a round trip within a site, and what
// a busy machine takes to answer.
constexpr std::chrono::milliseconds kWordTime{100};

void prepare(int socket) {
  keep_from_children(socket);
  const int on = 1;
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

void guard_against_silence(int socket) {
  const int on = 1;
  const int idle_s = 4;
  const int interval_s = 2;
  const int probes = 3;
  const unsigned int silence_ms = 10'000;
  (void)::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  (void)::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

Greeter::Greeter(TransportConfig config, uint32_t purpose)
    : config_(std::move(config)), purpose_(purpose) {}

Greeter::~Greeter() {
  stop();
}

void Greeter::stop() {
  for (const Pending& p : pending_) ::close(p.socket);
  pending_.clear();
  if (listener_ >= 0) ::close(listener_);
  listener_ = -1;
}

Status Greeter::listen(int epoll) {
  epoll_ = epoll;
  Result<std::vector<Interface>> interfaces = choose_interfaces(config_.interfaces);
  if (!interfaces) return interfaces.status();
  Result<int> listener = listen_on(interfaces->front().address, config_.port_range);
  if (!listener) return listener.status();
  listener_ = *listener;
  Result<SocketAddress> bound = local_address(listener_);
  if (!bound) return bound.status();
  address_ = *bound;
  bytes_per_us_ = speed_of(interfaces->front().name);
  watch(listener_);
  return Status::ok();
}

void Greeter::watch(int socket) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  // Failure (out of memory) costs wake-ups, not correctness: step() looks at every socket.
  (void)::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
}

Code Greeter::connect(Rank peer, uint8_t lane, const SocketAddress& to, Fault* fault) {
  const int socket = ::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) {
    fault->set(Code::kSystem, peer, "no socket for the link to rank %d: %s", peer,
               system_text(errno).c_str());
    return fault->code;
  }
  prepare(socket);
  pending_.push_back({socket, true, false, true, peer, lane, to, Clock::now() + config_.timeout,
                      Handshake(config_.key, Handshake::Role::kConnector, config_.session,
                                config_.rank, purpose_ | lane)});
  const int code = ::connect(socket, reinterpret_cast<const sockaddr*>(&to.storage), to.length);
  if (code != 0 && errno != EINPROGRESS && errno != EINTR) {
    const std::string why = system_text(errno);
    ::close(socket);
    const Pending p = pending_.back();
    pending_.pop_back();
    return failed(p, why, fault);
  }
  watch(socket);
  return Code::kOk;
}

void Greeter::accept_all() {
  while (listener_ >= 0) {
    SocketAddress remote;
    remote.length = sizeof remote.storage;
    const int socket = ::accept4(listener_, reinterpret_cast<sockaddr*>(&remote.storage),
                                 &remote.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN && !warned_) {
        warned_ = true;
        log_line(LogLevel::kWarn, {config_.rank, config_.size, {}},
                 "cannot accept a connection: " + system_text(errno));
      }
      return;
    }
    prepare(socket);
    size_t unproven = 0;
    for (const Pending& p : pending_) unproven += p.ours ? 0 : 1;
    if (unproven >= kPendingMax) {
      for (auto it = pending_.begin(); it != pending_.end(); ++it) {
        if (it->ours) continue;
        refuse(*it, "too many unproven connections");
        ::close(it->socket);
        pending_.erase(it);
        break;
      }
    }
    pending_.push_back({socket, false, true, false, -1, 0, remote, Clock::now() + kProofTime,
                        Handshake(config_.key, Handshake::Role::kAcceptor, config_.session,
                                  config_.rank, purpose_)});
    watch(socket);
  }
}

Greeter::Stage Greeter::finish_connect(Pending* p, std::string* why) {
  // Connecting again asks how the first attempt went, whatever woke us.
  const int code =
      ::connect(p->socket, reinterpret_cast<const sockaddr*>(&p->remote.storage), p->remote.length);
  if (code == 0 || errno == EISCONN) {
    p->connected = true;
    return Stage::kDone;
  }
  if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) return Stage::kGoing;
  *why = system_text(errno);
  return Stage::kFailed;
}

// What one that connects to us has to say, before any of it is taken. Nothing is sent until then:
// an author of a word who has gone would answer with a reset.
Greeter::Heard Greeter::listen_to(const Pending& p) {
  Word word{};
  const ssize_t n = ::recv(p.socket, word.data(), word.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Heard::kNothing;
  if (n <= 0) return Heard::kHandshake;  // whose reader says what is wrong
  const auto have = static_cast<size_t>(n);
  if (!begins_word(std::span(word).first(std::min(have, kWordMagicBytes)))) {
    return Heard::kHandshake;
  }
  if (have < kWordBytes) return Heard::kNothing;
  Fault fault;
  if (!read_word(config_, word, &fault)) return Heard::kHandshake;  // which it is not either
  if (word_.code == Code::kOk) word_ = fault;
  return Heard::kWord;
}

void Greeter::leave_word(std::span<const Addressee> addressees, const Record& notice) const {
  std::vector<pollfd> sockets;
  for (const Addressee& to : addressees) {
    const int socket =
        ::socket(to.address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockets.push_back({socket, POLLOUT, 0});
    if (socket < 0) continue;
    (void)::connect(socket, reinterpret_cast<const sockaddr*>(&to.address.storage),
                    to.address.length);
  }
  const auto end = Clock::now() + kWordTime;
  for (size_t i = 0; i < sockets.size(); ++i) {
    if (sockets[i].fd < 0) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (::poll(&sockets[i], 1, static_cast<int>(std::max<int64_t>(left, 0))) > 0) {
      const Word word = make_word(config_, addressees[i].rank, notice);
      (void)::send(sockets[i].fd, word.data(), word.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    ::close(sockets[i].fd);
  }
}

Greeter::Stage Greeter::advance(Pending* p, std::string* why) {
  if (!p->connected) {
    const Stage stage = finish_connect(p, why);
    if (stage != Stage::kDone) return stage;
  }
  if (!p->ours && !p->greeted) {
    const Heard heard = listen_to(*p);
    if (heard != Heard::kHandshake) return heard == Heard::kWord ? Stage::kWord : Stage::kGoing;
    p->greeted = true;
  }
  for (;;) {
    bool moved = false;
    if (const auto out = p->handshake.to_send(); !out.empty()) {
      const ssize_t n = ::send(p->socket, out.data(), out.size(), MSG_NOSIGNAL);
      if (n > 0) {
        p->handshake.sent(static_cast<size_t>(n));
        moved = true;
      } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        *why = system_text(errno) + " during the handshake";
        return Stage::kFailed;
      }
    }
    if (const size_t wanted = p->handshake.wanted(); wanted > 0) {
      std::array<std::byte, Handshake::kHelloBytes + Handshake::kProofBytes> in{};
      const ssize_t n = ::recv(p->socket, in.data(), std::min(wanted, in.size()), 0);
      if (n > 0) {
        if (p->handshake.feed({in.data(), static_cast<size_t>(n)}) != Code::kOk) {
          *why = p->handshake.reason();
          return Stage::kFailed;
        }
        moved = true;
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        *why = n == 0 || errno == ECONNRESET
                   ? "it closed the connection during the handshake (another key or session there, "
                     "or it has left)"
                   : system_text(errno);
        return Stage::kFailed;
      }
    }
    if (p->handshake.done()) return Stage::kDone;
    if (p->handshake.reason()[0] != '\0') {
      *why = p->handshake.reason();
      return Stage::kFailed;
    }
    if (!moved) return Stage::kGoing;
  }
}

Code Greeter::step(std::vector<Welcome>* welcomes, Fault* fault) {
  accept_all();
  const auto now = pending_.empty() ? Clock::time_point() : Clock::now();
  for (auto it = pending_.begin(); it != pending_.end();) {
    std::string why;
    Stage stage = advance(&*it, &why);
    if (stage == Stage::kGoing && now > it->deadline) {
      stage = Stage::kFailed;
      why = "no answer in time; is a firewall in between?";
    }
    const uint32_t purpose = stage == Stage::kDone ? it->handshake.peer_purpose() : 0;
    const Rank peer = stage == Stage::kDone ? it->handshake.peer_rank() : -1;
    if (stage == Stage::kDone &&
        (peer < 0 || peer >= config_.size || (purpose & ~0xFFu) != purpose_ ||
         (it->ours ? peer != it->peer
                   : (peer > config_.rank) != ((purpose & 0xFF) == kKnockLane)))) {
      stage = Stage::kFailed;
      why = "it says it is rank " + std::to_string(peer) + ", which is not whom we expect there";
    }
    if (stage == Stage::kGoing) {
      ++it;
      continue;
    }
    if (stage == Stage::kWord) {
      ::close(it->socket);
      it = pending_.erase(it);
      continue;
    }
    if (stage == Stage::kDone) {
      (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, it->socket, nullptr);
      // Both ends of a connection agree that it is the connector's lane.
      const uint32_t lane = it->ours ? it->lane : purpose & 0xFF;
      welcomes->push_back({it->socket, peer, static_cast<uint8_t>(lane)});
      it = pending_.erase(it);
      continue;
    }
    const Pending p = *it;
    ::close(p.socket);
    it = pending_.erase(it);
    if (p.ours) return failed(p, why, fault);
    refuse(p, why);
  }
  return Code::kOk;
}

void Greeter::refuse(const Pending& p, const std::string& why) {
  // Whoever knocks all day must not fill the log.
  const bool loud = refused_++ < kLoudRefusals;
  log_line(loud ? LogLevel::kWarn : LogLevel::kInfo, {config_.rank, config_.size, {}},
           "refused a connection from " + p.remote.to_string() + ": " + why);
}

Code Greeter::failed(const Pending& p, const std::string& why, Fault* fault) const {
  fault->set(Code::kPeerLost, p.peer, "rank %d cannot be reached at %s: %s", p.peer,
             p.remote.to_string().c_str(), why.c_str());
  return fault->code;
}

}  // namespace gossamer::tcp
