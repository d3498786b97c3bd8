// Interfaces, addresses and sockets: what bootstrap and tcp share.

#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

// A socket address of either family, "10.0.0.1:4711" or "[fe80::1%eth0]:4711" as text.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  uint16_t port() const;
  void set_port(uint16_t port);
  bool is_loopback() const;
  bool is_any() const;         // 0.0.0.0 or [::]
  bool is_link_local() const;  // IPv6 that needs a scope
  std::string to_string() const;
  static Result<SocketAddress> parse(const std::string& text);  // numeric host:port only
  // A name's address is of the socket_family(); numbers are taken as they are.
  static Result<SocketAddress> resolve(const std::string& host, uint16_t port);
};

// Which addresses to use, from GOSSAMER_SOCKET_FAMILY: AF_INET, AF_INET6, or AF_UNSPEC for both.
Result<int> socket_family();

// The interfaces to use, best first, by NCCL_SOCKET_IFNAME's syntax: "eth" (prefix), "=eth0"
// (exact), "^docker,lo" (all but), lists by comma; empty: all that are up except lo and docker*,
// falling back to lo. One address each, of the socket_family(), IPv4 before IPv6.
//   kInvalidArgument  the pattern matches no interface that is up; the message lists what there is
struct Interface {
  std::string name;
  SocketAddress address;
};
Result<std::vector<Interface>> choose_interfaces(const std::string& pattern);

// A non-blocking, close-on-exec listening TCP socket on `address`, its port from `port_range`
// ("first-last", empty: any).
//   kSystem  no free port in the range
Result<int> listen_on(SocketAddress address, const std::string& port_range);
// The same for datagrams: a UDP socket bound there.
Result<int> bind_datagrams(SocketAddress address, const std::string& port_range);
Result<SocketAddress> local_address(int socket);
// Whether one of this host's interfaces has it, so that one can listen there.
bool is_local_address(SocketAddress address);

// What the system says of its speed, in bytes per microsecond; 0 where it says nothing.
double speed_of(const std::string& interface);

// Identity of "this host" as far as shared memory reaches: boot id, network namespace and user, or
// GOSSAMER_HOSTID when set.
std::string host_identity();

}  // namespace gossamer
