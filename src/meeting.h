// One rank's way to the group: finds the meeting point, reports, and is told whom to connect to.
//
//   tcp://host:port   rank 0 serves there. Key: from GOSSAMER_KEY, else from the port alone, which
//                     keeps strangers' mistakes out but not an attacker: it is no secret.
//   file:///path      rank 0 serves on a free port and writes a unique id to the file; the others
//                     wait for it. A stale file (nobody answers there, or with another key) is read
//                     again until the deadline, and overwritten by rank 0, who removes it at the
//                     end.
//   unique id         whoever made it serves.
//   Blocking          until config.timeout and a short grace for the answer.
//   Threads           one thread per call; rank 0 serves on a thread that ends within the call.

#pragma once

#include <string>
#include <vector>

#include "src/bootstrap.h"
#include "src/fd.h"
#include "src/net.h"

namespace gossamer {

struct Met {
  Key key{};                         // of the group, on every later connection
  uint64_t session = 0;              // of the group
  std::vector<SocketAddress> ahead;  // [k]: where rank + 2^k listens
  Fd listening;                      // where this rank said it listens
  SocketAddress listens_on;
};
Result<Met> meet(const BootstrapConfig& config, const Deadline& deadline);

// "tcp://host:port" taken apart, or "file:///path".
struct RendezvousText {
  bool is_file = false;
  std::string host;
  uint16_t port = 0;
  std::string path;
};
Result<RendezvousText> parse_rendezvous(const std::string& text);

}  // namespace gossamer
