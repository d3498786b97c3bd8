#include "src/net.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "src/env.h"
#include "src/system_text.h"

namespace gossamer {
namespace {

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;
};

Result<PortRange> parse_port_range(const std::string& text) {
  const size_t dash = text.find('-');
  const std::string what = "a port in the port range \"" + text + "\" (expected first-last): ";
  auto first = parse_int(text.substr(0, dash), 1, 65535, what);
  auto last = dash == std::string::npos ? first : parse_int(text.substr(dash + 1), 1, 65535, what);
  if (!first || !last || *first > *last) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("the port range \"{}\" is not first-last with ports from 1 to "
                                     "65535, as in 20000-20099",
                                     text));
  }
  return PortRange{static_cast<uint16_t>(*first), static_cast<uint16_t>(*last)};
}

// A socket that receives on exactly this address, or the errno that prevents it. `type` is
// SOCK_STREAM or SOCK_DGRAM.
struct Listening {
  int socket = -1;
  int error = 0;
};

Listening try_listen(const SocketAddress& address, int type) {
  const int fd = ::socket(address.storage.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return {-1, errno};
  }
  const bool stream = type == SOCK_STREAM;
  const int on = 1;
  // Connections of an earlier run may linger in TIME_WAIT; they must not block this one. Two UDP
  // sockets that both say so would share the port.
  if (stream) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 ||
      (stream && ::listen(fd, SOMAXCONN) != 0)) {
    const int error = errno;
    ::close(fd);
    return {-1, error};
  }
  return {fd, 0};
}

// What names the holder of a port.
const char* port_lister(int type) {
  return type == SOCK_STREAM ? "ss -ltnp" : "ss -lunp";
}

Status listen_failed(const SocketAddress& address, int type, int error) {
  if (error == EADDRINUSE) {
    return Status::error(
        Code::kSystem,
        fmt::format("port {} is in use on {}: choose another, or stop the program that holds it "
                    "(`{}` names it)",
                    address.port(), address.to_string(), port_lister(type)));
  }
  return Status::error(Code::kSystem, fmt::format("cannot listen on {}: {}", address.to_string(),
                                                  system_text(error)));
}

// Splits "[host]:port" or "host:port". A bare IPv6 address is ambiguous and refused.
struct HostPort {
  std::string host;
  uint16_t port = 0;
};

std::optional<HostPort> split(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  std::string host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != std::string::npos) {
    return std::nullopt;
  }
  auto port = parse_int(text.substr(colon + 1), 0, 65535, "port");
  if (host.empty() || !port) {
    return std::nullopt;
  }
  return HostPort{host, static_cast<uint16_t>(*port)};
}

Result<SocketAddress> lookup(const std::string& host, uint16_t port, int flags) {
  const Result<int> family =
      (flags & AI_NUMERICHOST) != 0 ? Result<int>(AF_UNSPEC) : socket_family();
  if (!family) return family.status();
  addrinfo hints{};
  hints.ai_family = *family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("cannot resolve \"{}\": {}; check the name, /etc/hosts and "
                                     "DNS, or give the address in numbers",
                                     host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, &::freeaddrinfo);
  // IPv4 first, whatever the resolver's order: all ranks must come to the same answer.
  const addrinfo* best = nullptr;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family == AF_INET || (a->ai_family == AF_INET6 && best == nullptr)) {
      best = a;
      if (a->ai_family == AF_INET) {
        break;
      }
    }
  }
  if (best == nullptr) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("\"{}\" has neither an IPv4 nor an IPv6 address", host));
  }
  SocketAddress address;
  std::memcpy(&address.storage, best->ai_addr, best->ai_addrlen);
  address.length = best->ai_addrlen;
  address.set_port(port);
  return address;
}

Result<int> listen_in(SocketAddress address, const std::string& port_range, int type) {
  if (port_range.empty()) {
    const Listening made = try_listen(address, type);
    return made.socket >= 0 ? Result<int>(made.socket) : listen_failed(address, type, made.error);
  }
  auto range = parse_port_range(port_range);
  if (!range) {
    return range.status();
  }
  const uint32_t count = static_cast<uint32_t>(range->last - range->first) + 1;
  // Ranks of one host start at different ports, or each would try all that others hold.
  static std::atomic<uint32_t> turn{0};
  const uint32_t start = static_cast<uint32_t>(::getpid()) * 7 + turn.fetch_add(1);
  for (uint32_t i = 0; i < count; ++i) {
    address.set_port(static_cast<uint16_t>(range->first + (start + i) % count));
    const Listening made = try_listen(address, type);
    if (made.socket >= 0) {
      return made.socket;
    }
    // A port that needs privileges is as unusable as one in use.
    if (made.error != EADDRINUSE && made.error != EACCES) {
      return listen_failed(address, type, made.error);
    }
  }
  return Status::error(
      Code::kSystem,
      fmt::format("no port of {}-{} is free on this host: widen GOSSAMER_PORT_RANGE or stop what "
                  "holds them (`{}` names it)",
                  range->first, range->last, port_lister(type)));
}

}  // namespace

uint16_t SocketAddress::port() const {
  if (storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

void SocketAddress::set_port(uint16_t port) {
  if (storage.ss_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
  }
}

bool SocketAddress::is_loopback() const {
  if (storage.ss_family == AF_INET6) {
    const in6_addr& a = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&a);
  }
  const in_addr& a = reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr;
  return storage.ss_family == AF_INET && ntohl(a.s_addr) >> 24 == 127;
}

bool SocketAddress::is_any() const {
  if (storage.ss_family == AF_INET6) {
    const in6_addr& a = reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
    return IN6_IS_ADDR_UNSPECIFIED(&a);
  }
  return storage.ss_family == AF_INET &&
         reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr.s_addr == INADDR_ANY;
}

bool SocketAddress::is_link_local() const {
  return storage.ss_family == AF_INET6 &&
         IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr);
}

std::string SocketAddress::to_string() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET6) {
    const auto& in6 = *reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
    char name[IF_NAMESIZE] = "";
    std::string scope;
    if (in6.sin6_scope_id != 0) {
      scope = ::if_indextoname(in6.sin6_scope_id, name) != nullptr
                  ? fmt::format("%{}", name)
                  : fmt::format("%{}", in6.sin6_scope_id);
    }
    return fmt::format("[{}{}]:{}", text, scope, port());
  }
  if (storage.ss_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text,
                sizeof(text));
    return fmt::format("{}:{}", text, port());
  }
  return "(no address)";
}

Result<SocketAddress> SocketAddress::parse(const std::string& text) {
  const std::optional<HostPort> parts = split(text);
  if (!parts) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("\"{}\" is not an address with a port, as 10.0.0.1:4711 or "
                                     "[fe80::1%eth0]:4711",
                                     text));
  }
  return lookup(parts->host, parts->port, AI_NUMERICHOST);
}

Result<SocketAddress> SocketAddress::resolve(const std::string& host, uint16_t port) {
  Result<SocketAddress> numeric = lookup(host, port, AI_NUMERICHOST);
  return numeric ? numeric : lookup(host, port, 0);
}

Result<int> listen_on(SocketAddress address, const std::string& port_range) {
  return listen_in(address, port_range, SOCK_STREAM);
}

Result<int> bind_datagrams(SocketAddress address, const std::string& port_range) {
  return listen_in(address, port_range, SOCK_DGRAM);
}

Result<SocketAddress> local_address(int socket) {
  SocketAddress address;
  address.length = sizeof(address.storage);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0) {
    return Status::error(Code::kSystem, "getsockname: " + system_text(errno));
  }
  return address;
}

bool is_local_address(SocketAddress address) {
  address.set_port(0);
  const int fd = ::socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool local = fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&address.storage),
                                       address.length) == 0;
  if (fd >= 0) {
    ::close(fd);
  }
  return local;
}

}  // namespace gossamer
