// Where a rank can be reached as long as its communicator lives, whatever has become of the others
// and of its links: a listening socket, whose address all ranks know. Nobody accepts there until
// ranks that want to form a group anew meet at the lowest one's.

#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "src/auth.h"
#include "src/fd.h"
#include "src/net.h"

namespace gossamer {

struct Door {
  SocketAddress address;
  Key key{};
  uint64_t session = 0;  // of this meeting
  // Of the rank that serves; else -1. Borrowed.
  int listening = -1;
  std::string owner;  // "rank 2 of the former group", for messages
};

// Who is left out by ranks that meet at a door without having agreed on it.
struct Absence {
  std::vector<Rank> ranks;  // of the group before, ascending; on kAgain others have named more
  std::chrono::milliseconds patience{0};  // how long the others are waited for
  bool met = false;                       // all agreed and came; what failed, failed afterwards
};

// Opens one on `like`'s interface. A closed one, with an empty address, where no port is free: then
// nobody can meet there, and it says so when somebody wants to.
struct OpenDoor {
  Fd listening;
  std::string address;  // as it travels
};
OpenDoor open_door(SocketAddress like, const std::string& port_range);

// Whether somebody listens there.
bool knock(const SocketAddress& address, std::chrono::milliseconds timeout,
           const std::atomic<bool>* cancelled);

// Nothing when it is empty or makes no sense. `like` is this rank's own address.
std::optional<SocketAddress> parse_door(const std::string& address, const SocketAddress& like);

}  // namespace gossamer
