#include "transports/shm/control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "src/check.h"
#include "src/process.h"
#include "src/system_text.h"

namespace gossamer::shm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 4096;
constexpr int kStrangersMax = 64;
constexpr auto kStrangerPatience = std::chrono::seconds(5);
constexpr int kTriesMax = 4;  // of a connection that the other end closes while hands are shaken
constexpr size_t kDescriptorsMax = 2;
constexpr uint32_t kPurpose = 0x53484d;  // "SHM"

// An abstract name: it lives as long as the socket and no longer.
sockaddr_un abstract_address(const std::string& name, socklen_t* length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t n = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), n);
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + n);
  return address;
}

void close_all(std::span<int> descriptors) {
  for (int fd : descriptors) close(fd);
}

}  // namespace

struct Control::Connection {
  Connection(int s, const Key& key, Handshake::Role role, uint64_t session, Rank rank)
      : socket(s),
        outgoing(role == Handshake::Role::kConnector),
        handshake(key, role, session, rank, kPurpose),
        since(Clock::now()) {
    keep_from_children(s);
  }
  ~Connection() { close(socket); }

  int socket;
  bool outgoing;
  Handshake handshake;
  Clock::time_point since;
  std::string name;  // of the peer's socket, when outgoing
  int tries = 1;     // to connect there
  Rank peer = -1;    // known at once when outgoing, else after the handshake
  bool authentic = false;
  bool dead = false;
};

// A packet that proves by itself who sent it, to whom and in which group. Sent again by somebody
// else it tells nothing that is not true.
struct Control::Word {
  uint64_t magic = 0x64726f57'53534f47;  // larger and other than any handshake
  uint64_t session = 0;
  Rank from = -1;
  Rank to = -1;
  Packet packet;
  Key proof{};
};

Control::Control(const TransportConfig& config, ControlEvents* events)
    : config_(config), events_(events), out_(static_cast<size_t>(config.size), nullptr) {}

Control::~Control() {
  connections_.clear();
  if (listener_ >= 0) close(listener_);
  if (epoll_ >= 0) close(epoll_);
}

Status Control::listen() {
  static std::atomic<uint32_t> counter{0};
  name_ = fmt::format("gossamer-{:016x}-{}-{}-{}", config_.session, config_.rank, getpid(),
                      counter.fetch_add(1));
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  listener_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  keep_from_children(listener_);
  socklen_t length = 0;
  const sockaddr_un address = abstract_address(name_, &length);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the listener
  if (epoll_ < 0 || listener_ < 0 ||
      bind(listener_, reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(listener_, kBacklog) != 0 ||
      epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) {
    return Status::error(Code::kSystem,
                         fmt::format("cannot open the local socket for shared memory: {}; or set "
                                     "GOSSAMER_TRANSPORT=tcp to do without",
                                     system_text(errno)));
  }
  return Status::ok();
}

Code Control::connect(Rank peer, const std::string& name, int tries) {
  GOSSAMER_CHECK(out_[static_cast<size_t>(peer)] == nullptr);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Code::kSystem;
  socklen_t length = 0;
  const sockaddr_un address = abstract_address(name, &length);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    close(fd);
    return error == EAGAIN || error == EINTR ? Code::kAgain : Code::kPeerLost;
  }
  auto connection = std::make_unique<Connection>(fd, config_.key, Handshake::Role::kConnector,
                                                 config_.session, config_.rank);
  connection->peer = peer;
  connection->name = name;
  connection->tries = tries;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP;
  event.data.ptr = connection.get();
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return Code::kSystem;
  out_[static_cast<size_t>(peer)] = connection.get();
  connections_.push_back(std::move(connection));
  handle(out_[static_cast<size_t>(peer)]);  // sends our hello
  return Code::kOk;
}

Control::Word Control::make_word(Rank from, Rank to, const Packet& packet) const {
  Word word;
  std::memset(static_cast<void*>(&word), 0, sizeof(word));  // padding is signed too
  word = Word();
  word.session = config_.session;
  word.from = from;
  word.to = to;
  word.packet = packet;
  word.proof =
      hmac_sha256(config_.key, std::as_bytes(std::span(&word, 1)).first(offsetof(Word, proof)));
  return word;
}

void Control::leave_word(Rank peer, const std::string& name, const Packet& packet) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  socklen_t length = 0;
  const sockaddr_un address = abstract_address(name, &length);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) {
    const Word word = make_word(config_.rank, peer, packet);
    (void)::send(fd, &word, sizeof(word), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  close(fd);
}

// Takes what a rank without a connection had to say. False: it is not from one of the group.
bool Control::read_word(Connection* connection, std::span<const std::byte> bytes) {
  Word word;
  if (connection->outgoing || bytes.size() != sizeof(word)) return false;
  std::memcpy(static_cast<void*>(&word), bytes.data(), sizeof(word));
  if (word.from < 0 || word.from >= config_.size || word.to != config_.rank) return false;
  const Key proof = hmac_sha256(config_.key, bytes.first(offsetof(Word, proof)));
  if (word.magic != Word().magic || word.session != config_.session ||
      !same_proof(word.proof, proof)) {
    return false;
  }
  word.packet.text.back() = '\0';
  if (word.packet.kind == PacketKind::kNotice) events_->on_packet(word.from, word.packet, {});
  return true;
}

void Control::stop_listening() {
  if (listener_ >= 0) close(listener_);  // also ends what nobody has accepted yet
  listener_ = -1;
  for (const auto& connection : connections_) {
    if (!connection->authentic && !connection->outgoing && !connection->dead) {
      drop(connection.get(), "");
    }
  }
  std::erase_if(connections_, [](const auto& connection) { return connection->dead; });
}

Code Control::send(Rank peer, const Packet& packet, std::span<const int> descriptors) {
  Connection* const connection = out_[static_cast<size_t>(peer)];
  if (connection == nullptr || connection->dead || !connection->authentic) return Code::kPeerLost;
  iovec part{const_cast<Packet*>(&packet), sizeof(packet)};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kDescriptorsMax * sizeof(int))> ancillary{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    GOSSAMER_CHECK(descriptors.size() <= kDescriptorsMax);
    message.msg_control = ancillary.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(connection->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent >= 0) return Code::kOk;
  return errno == EAGAIN || errno == ENOBUFS ? Code::kAgain : Code::kPeerLost;
}

void Control::poll() {
  std::array<epoll_event, 32> events{};
  const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    if (event.data.ptr == nullptr) {
      accept_all();
    } else {
      handle(static_cast<Connection*>(event.data.ptr));
    }
  }
  if (strangers_ > 0) expire();
  // Only now: the events above may refer to connections that another event has ended.
  std::erase_if(connections_, [](const auto& connection) { return connection->dead; });
}

void Control::accept_all() {
  while (strangers_ < kStrangersMax) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    auto connection = std::make_unique<Connection>(fd, config_.key, Handshake::Role::kAcceptor,
                                                   config_.session, config_.rank);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP;
    event.data.ptr = connection.get();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) return;
    ++strangers_;
    Connection* const raw = connection.get();
    connections_.push_back(std::move(connection));
    handle(raw);
  }
}

void Control::handle(Connection* connection) {
  if (connection->dead) return;
  if (!connection->authentic && !shake(connection)) return;
  while (read_packet(connection)) {
  }
}

// Moves the handshake on. True once it is complete.
bool Control::shake(Connection* connection) {
  Handshake& handshake = connection->handshake;
  for (;;) {
    bool closed = false;
    while (!closed && !handshake.to_send().empty()) {
      const auto bytes = handshake.to_send();
      const ssize_t n =
          ::send(connection->socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
        closed = true;  // what it said before is still there to read
        break;
      }
      handshake.sent(static_cast<size_t>(n));
    }
    if (handshake.done() && !closed) break;
    static_assert(sizeof(Word) > Handshake::kHelloBytes + Handshake::kProofBytes);
    std::array<std::byte, sizeof(Word)> buffer;
    // A packet keeps its boundaries and may hold hello and proof: read it whole, feed it in parts.
    ssize_t n = recv(connection->socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == ECONNRESET) {  // told once, before what was sent earlier
      n = recv(connection->socket, buffer.data(), buffer.size(), MSG_DONTWAIT);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) {
      if (!connect_again(connection)) {
        drop(connection, "it closed the connection during the handshake");
      }
      return false;
    }
    if (read_word(connection, std::span(buffer).first(static_cast<size_t>(n)))) {
      drop(connection, "");
      return false;
    }
    for (std::span<const std::byte> rest(buffer.data(), static_cast<size_t>(n)); !rest.empty();) {
      const size_t wanted = std::min(handshake.wanted(), rest.size());
      if (wanted == 0 || handshake.feed(rest.first(wanted)) != Code::kOk) {
        drop(connection, wanted == 0 ? "it sent a malformed handshake" : handshake.reason());
        return false;
      }
      rest = rest.subspan(wanted);
    }
  }
  const Rank peer = handshake.peer_rank();
  if (peer < 0 || peer >= config_.size || (connection->outgoing && peer != connection->peer)) {
    drop(connection, "it claims another rank");
    return false;
  }
  connection->peer = peer;
  connection->authentic = true;
  if (!connection->outgoing) {
    --strangers_;
    events_->on_accepted(peer);
  } else {
    events_->on_connected(peer);
  }
  return true;
}

// The other end loses patience with a rank that says nothing for long, as one does that is stopped
// in between. It is there as long as it can be connected to.
bool Control::connect_again(Connection* connection) {
  if (!connection->outgoing || connection->tries == kTriesMax) return false;
  const int tries = connection->tries + 1;
  connection->dead = true;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, connection->socket, nullptr);
  out_[static_cast<size_t>(connection->peer)] = nullptr;
  return connect(connection->peer, std::string(connection->name), tries) == Code::kOk;
}

// Reads one packet; false when there is none.
bool Control::read_packet(Connection* connection) {
  Packet packet;
  iovec part{&packet, sizeof(packet)};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kDescriptorsMax * sizeof(int))> ancillary{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.data();
  message.msg_controllen = ancillary.size();
  const ssize_t n = recvmsg(connection->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    drop(connection, "its process ended or left the communicator");
    return false;
  }
  std::array<int, kDescriptorsMax> descriptors{};
  size_t count = 0;
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const size_t here =
        std::min((h->cmsg_len - CMSG_LEN(0)) / sizeof(int), descriptors.size() - count);
    std::memcpy(descriptors.data() + count, CMSG_DATA(h), here * sizeof(int));
    count += here;
  }
  const std::span<int> received(descriptors.data(), count);
  if (static_cast<size_t>(n) != sizeof(packet) || connection->outgoing) {
    close_all(received);
    drop(connection, "it sent a malformed packet");
    return false;
  }
  packet.text.back() = '\0';
  ucred sender{};
  socklen_t length = sizeof(sender);
  const bool told = getsockopt(connection->socket, SOL_SOCKET, SO_PEERCRED, &sender, &length) == 0;
  packet.process = told ? sender.pid : 0;
  events_->on_packet(connection->peer, packet, received);
  return true;
}

void Control::drop(Connection* connection, const char* why) {
  connection->dead = true;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, connection->socket, nullptr);
  if (!connection->authentic && !connection->outgoing) {
    --strangers_;  // refused; it was never part of the group
    return;
  }
  if (connection->outgoing) out_[static_cast<size_t>(connection->peer)] = nullptr;
  events_->on_gone(connection->peer, why);
}

void Control::expire() {
  const auto now = Clock::now();
  for (const auto& connection : connections_) {
    if (!connection->authentic && !connection->outgoing && !connection->dead &&
        now - connection->since > kStrangerPatience) {
      drop(connection.get(), "");
    }
  }
}

}  // namespace gossamer::shm
