#include "src/door.h"

#include <poll.h>

#include <cerrno>

#include "src/meeting_host.h"
#include "src/messages.h"
#include "src/wire.h"

namespace gossamer {

OpenDoor open_door(SocketAddress like, const std::string& port_range) {
  like.set_port(0);
  const Result<int> socket = listen_on(like, port_range);
  if (!socket) return {};
  OpenDoor door;
  door.listening = Fd(*socket);
  const Result<SocketAddress> address = local_address(door.listening.get());
  if (!address) return {};
  WireWriter out;
  put_address(&out, *address);
  const std::vector<std::byte> bytes = out.take();
  door.address.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return door;
}

bool knock(const SocketAddress& address, std::chrono::milliseconds timeout,
           const std::atomic<bool>* cancelled) {
  const Fd socket(
      ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return true;  // nothing can be said
  const auto* to = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(socket.get(), to, address.length) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd connected{socket.get(), POLLOUT, 0};
  if (wait_for(std::span(&connected, 1), Deadline(timeout), cancelled) != Waited::kReady) {
    return false;
  }
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0;
}

std::optional<SocketAddress> parse_door(const std::string& address, const SocketAddress& like) {
  WireReader in(std::as_bytes(std::span(address.data(), address.size())));
  std::optional<SocketAddress> parsed = get_address(&in);
  if (!parsed || !in.done()) return std::nullopt;
  adopt_scope(&*parsed, like);
  return parsed;
}

}  // namespace gossamer
