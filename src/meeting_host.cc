#include "src/meeting_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <thread>

#include "src/env.h"
#include "src/log.h"
#include "src/meeting_file.h"
#include "src/wire.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kFile = "file://";
constexpr milliseconds kLinger{300};

Status bad_rendezvous(const std::string& text, const char* what) {
  return Status::error(Code::kInvalidArgument,
                       fmt::format("the rendezvous \"{}\" {}: use tcp://host:port, "
                                   "tcp://[ipv6]:port or file:///absolute/path",
                                   text, what));
}

Key tcp_key(uint16_t port) {
  const std::string passphrase = env_string("GOSSAMER_KEY");
  WireWriter secret;
  secret.text(passphrase);
  if (passphrase.empty()) {
    secret.u16(port);
  }
  return hmac_sha256(std::as_bytes(std::span("gossamer tcp rendezvous")), secret.data());
}

bool means_loopback(const std::string& host) {
  auto numeric = SocketAddress::parse("[" + host + "]:1");
  return host == "localhost" || (numeric && numeric->is_loopback());
}

SocketAddress wildcard_like(const SocketAddress& address) {
  SocketAddress any;
  any.storage.ss_family = address.storage.ss_family;
  any.length = address.length;
  any.set_port(address.port());
  return any;
}

// The same port on the loopback, for rank 0 to reach its own server on all interfaces.
SocketAddress loopback_like(SocketAddress address) {
  if (address.storage.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_addr = in6addr_loopback;
  } else {
    reinterpret_cast<sockaddr_in*>(&address.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  return address;
}

}  // namespace

void adopt_scope(SocketAddress* address, const SocketAddress& like) {
  if (address->is_link_local() && like.storage.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&address->storage)->sin6_scope_id =
        reinterpret_cast<const sockaddr_in6*>(&like.storage)->sin6_scope_id;
  }
}

Result<RendezvousText> parse_rendezvous(const std::string& text) {
  RendezvousText parsed;
  if (text.starts_with(kFile)) {
    parsed.is_file = true;
    parsed.path = text.substr(kFile.size());
    if (!parsed.path.starts_with('/') || parsed.path.ends_with('/')) {
      return bad_rendezvous(text, "names no file by its absolute path");
    }
    return parsed;
  }
  if (!text.starts_with(kTcp)) {
    return bad_rendezvous(text, "is of no known kind");
  }
  const std::string rest = text.substr(kTcp.size());
  const size_t colon = rest.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return bad_rendezvous(text, "lacks a host or a port");
  }
  auto port = parse_int(rest.substr(colon + 1), 1, 65535, "port");
  if (!port) {
    return bad_rendezvous(text, "has no port from 1 to 65535");
  }
  parsed.port = static_cast<uint16_t>(*port);
  parsed.host = rest.substr(0, colon);
  if (parsed.host.front() == '[' && parsed.host.back() == ']') {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  } else if (parsed.host.find_first_of(":[]/") != std::string::npos) {
    return bad_rendezvous(text, "has an unclear host");
  }
  return parsed.host.empty() ? Result<RendezvousText>(bad_rendezvous(text, "lacks a host"))
                             : Result<RendezvousText>(parsed);
}

Result<std::unique_ptr<MeetingPlace>> MeetingPlace::open(const BootstrapConfig& config) {
  std::unique_ptr<MeetingPlace> place(new MeetingPlace);
  place->interfaces_ = config.interfaces;
  if (config.door != nullptr) {
    Status met = place->meet_at_door(config);
    return met ? Result<std::unique_ptr<MeetingPlace>>(std::move(place)) : met;
  }
  if (config.id != nullptr) {
    auto fields = parse_unique_id(*config.id);
    if (!fields) {
      return fields.status();
    }
    place->id_ = *fields;
    return place;
  }
  auto parsed = parse_rendezvous(config.rendezvous);
  if (!parsed) {
    return parsed.status();
  }
  place->text_ = *parsed;
  place->shown_ = config.rendezvous;
  if (!place->text_.is_file) {
    place->tcp_key_ = tcp_key(place->text_.port);
  }
  if (config.rank == 0) {
    Status served = place->text_.is_file ? place->serve_file(config) : place->serve_tcp(config);
    if (!served) {
      return served;
    }
  }
  return place;
}

std::string MeetingPlace::text() const {
  return id_ ? id_->address.to_string() : shown_;
}

const char* MeetingPlace::key_advice() const {
  if (door_) return "all ranks that go on must exclude the same ranks";
  return id_ ? "use the unique id of this group, unaltered, on all ranks"
             : "set the same GOSSAMER_KEY on all ranks, or choose another port if another program "
               "listens there";
}

Result<MeetingPoint> MeetingPlace::locate() const {
  if (own_) {
    return *own_;
  }
  MeetingPoint point;
  point.text = text();
  point.served_by = served_by();
  std::optional<UniqueIdFields> fields = id_;
  if (is_file()) {
    auto id = read_id_file(text_.path);
    auto parsed = id ? parse_unique_id(*id) : Result<UniqueIdFields>(id.status());
    if (!parsed) {
      return parsed.status();
    }
    fields = *parsed;
  }
  if (!fields) {
    auto address = SocketAddress::resolve(text_.host, text_.port);
    if (!address) {  // a name may become known while the job starts
      return Status::error(Code::kUnavailable, address.status().message());
    }
    point.address = *address;
    point.key = tcp_key_;
    point.loopback_meant = means_loopback(text_.host);
    return point;
  }
  point.address = fields->address;
  point.key = fields->key;
  point.session = fields->session;
  point.loopback_meant = fields->address.is_loopback();
  if (point.address.is_link_local()) {
    auto chosen = choose_interfaces(interfaces_);
    for (const Interface& i : chosen ? *chosen : std::vector<Interface>{}) {
      if (i.address.is_link_local()) {
        adopt_scope(&point.address, i.address);
        break;
      }
    }
  }
  return point;
}

Status MeetingPlace::serve_tcp(const BootstrapConfig& config) {
  auto address = SocketAddress::resolve(text_.host, text_.port);
  if (!address) {
    return address.status();
  }
  MeetingPoint point;
  point.text = shown_;
  point.served_by = 0;
  point.key = tcp_key_;
  point.loopback_meant = means_loopback(text_.host);
  // A name that is the loopback only here, or an address translated on the way to this host (a
  // container's service address), still means this host to the others: listen everywhere.
  const bool everywhere = address->is_any() || (address->is_loopback() && !point.loopback_meant) ||
                          !is_local_address(*address);
  const SocketAddress bound = everywhere ? wildcard_like(*address) : *address;
  auto socket = listen_on(bound, "");
  if (!socket) {
    return Status::error(socket.status().code(),
                         fmt::format("rank 0 cannot open the meeting point {}: {}", shown_,
                                     socket.status().message()),
                         0);
  }
  if (everywhere && !address->is_any()) {
    log_line(LogLevel::kInfo, {config.rank, config.size, ""},
             fmt::format("{} is no address of this host's interfaces; rank 0 listens on all",
                         address->to_string()));
  }
  point.address = everywhere ? loopback_like(bound) : bound;
  RendezvousConfig server;
  server.key = tcp_key_;
  server.timeout = config.timeout;
  server.linger = kLinger;
  Status random = random_bytes(std::as_writable_bytes(std::span(&server.group_session, 1)));
  if (!random) {
    return random;
  }
  auto thread = RendezvousThread::start(Fd(*socket), server);
  if (!thread) {
    return thread.status();
  }
  server_ = std::move(*thread);
  own_ = point;
  return Status::ok();
}

Status MeetingPlace::serve_file(const BootstrapConfig& config) {
  auto opened =
      open_rendezvous_thread(config.interfaces, config.port_range, config.timeout, kLinger);
  if (!opened) {
    return opened.status();
  }
  server_ = std::move(opened->thread);
  const UniqueId id = encode(opened->fields);
  Status written = write_id_file(text_.path, id);
  if (!written) {
    close(Code::kAborted);
    return written;
  }
  written_ = id;
  MeetingPoint point;
  point.address = opened->fields.address;
  point.key = opened->fields.key;
  point.session = opened->fields.session;
  point.loopback_meant = point.address.is_loopback();
  point.served_by = 0;
  point.text = shown_;
  own_ = point;
  return Status::ok();
}

Status MeetingPlace::meet_at_door(const BootstrapConfig& config) {
  const Door& door = *config.door;
  door_ = true;
  shown_ = fmt::format("{} ({})", door.address.to_string(), door.owner);
  MeetingPoint point;
  point.address = door.address;
  point.key = door.key;
  point.session = door.session;
  point.loopback_meant = door.address.is_loopback();
  point.served_by = 0;
  point.text = shown_;
  own_ = point;
  if (config.rank != 0) {
    return Status::ok();
  }
  Fd socket(::fcntl(door.listening, F_DUPFD_CLOEXEC, 0));
  if (!socket.is_open()) {
    return Status::error(Code::kSystem, "no file descriptors left: raise `ulimit -n`");
  }
  RendezvousConfig server;
  server.key = door.key;
  server.handshake_session = door.session;
  server.timeout = config.timeout;
  server.linger = kLinger;
  Status random = random_bytes(std::as_writable_bytes(std::span(&server.group_session, 1)));
  if (!random) {
    return random;
  }
  auto thread = RendezvousThread::start(std::move(socket), server);
  if (!thread) {
    return thread.status();
  }
  server_ = std::move(*thread);
  return Status::ok();
}

void MeetingPlace::close(Code result) {
  if (written_) {
    remove_id_file(text_.path, *written_);
    written_.reset();
  }
  if (server_ == nullptr) {
    return;
  }
  if (result != Code::kOk) {
    // The others shall hear why, if the server knows. It may not: this rank may have failed alone.
    const Deadline linger(result == Code::kAborted ? milliseconds(0) : kLinger + milliseconds(50));
    while (!server_->done() && !linger.expired()) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    server_->stop();
  }
  server_.reset();
}

}  // namespace gossamer
