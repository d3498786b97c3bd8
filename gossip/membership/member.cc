#include "gossip/membership/member.h"

#include <netinet/in.h>

#include <cstring>

namespace gossamer {

std::string_view name_of(MemberState state) {
  switch (state) {
    case MemberState::kAlive:
      return "alive";
    case MemberState::kSuspect:
      return "suspect";
    case MemberState::kDead:
      return "dead";
    case MemberState::kLeft:
      return "left";
  }
  return "unknown";
}

std::string_view name_of(MemberEventKind kind) {
  switch (kind) {
    case MemberEventKind::kJoined:
      return "joined";
    case MemberEventKind::kSuspected:
      return "suspected";
    case MemberEventKind::kRefuted:
      return "refuted";
    case MemberEventKind::kDied:
      return "died";
    case MemberEventKind::kLeft:
      return "left";
    case MemberEventKind::kReturned:
      return "returned";
    case MemberEventKind::kStuck:
      return "stuck";
    case MemberEventKind::kMoving:
      return "moving";
    case MemberEventKind::kUpdated:
      return "updated";
  }
  return "unknown";
}

Endpoint Endpoint::of(const SocketAddress& address) {
  Endpoint e;
  if (address.storage.ss_family == AF_INET6) {
    const auto& in6 = *reinterpret_cast<const sockaddr_in6*>(&address.storage);
    e.family = 6;
    std::memcpy(e.host.data(), &in6.sin6_addr, sizeof(in6.sin6_addr));
    e.port = address.port();
  } else if (address.storage.ss_family == AF_INET) {
    const auto& in4 = *reinterpret_cast<const sockaddr_in*>(&address.storage);
    e.family = 4;
    std::memcpy(e.host.data(), &in4.sin_addr, sizeof(in4.sin_addr));
    e.port = address.port();
  }
  return e;
}

SocketAddress Endpoint::socket_address() const {
  SocketAddress address;
  if (family == 6) {
    auto& in6 = *reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6.sin6_family = AF_INET6;
    std::memcpy(&in6.sin6_addr, host.data(), sizeof(in6.sin6_addr));
    address.length = sizeof(in6);
    address.set_port(port);
  } else if (family == 4) {
    auto& in4 = *reinterpret_cast<sockaddr_in*>(&address.storage);
    in4.sin_family = AF_INET;
    std::memcpy(&in4.sin_addr, host.data(), sizeof(in4.sin_addr));
    address.length = sizeof(in4);
    address.set_port(port);
  }
  return address;
}

std::string Endpoint::to_string() const {
  return family == 0 ? std::string() : socket_address().to_string();
}

}  // namespace gossamer
