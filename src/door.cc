#include "src/door.h"

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

std::optional<SocketAddress> parse_door(const std::string& address, const SocketAddress& like) {
  WireReader in(std::as_bytes(std::span(address.data(), address.size())));
  std::optional<SocketAddress> parsed = get_address(&in);
  if (!parsed || !in.done()) return std::nullopt;
  adopt_scope(&*parsed, like);
  return parsed;
}

}  // namespace gossamer
