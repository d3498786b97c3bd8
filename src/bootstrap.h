// Bootstrap: ranks find each other once and exchange small blobs, then the connections close.
//
//   Meet      every rank reports to one meeting point (rank 0's, or the process that made the
//             unique id) with its listening address, and is told the addresses of the ranks at
//             distance 1, 2, 4, ... ahead of it: O(log N) bytes each.
//   Exchange  all-gather of blobs by Bruck's algorithm over connections at those distances:
//             ceil(log2 N) rounds, never a full mesh. (Bruck et al., IEEE TPDS 8(11), 1997.)
//   Trust     every connection runs Handshake with the key of the unique id first.
//   Limits    kBlobBytesMax per rank; parsers refuse longer ones before allocating.
//   Blocking  everything, until `timeout`; aborts early when *aborted becomes true.
//   Threads   one thread per object.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/status.h"
#include "src/auth.h"
#include "src/door.h"
#include "src/exchange.h"

namespace gossamer {

inline constexpr size_t kBlobBytesMax = 16 * 1024;

struct Meeting {
  Rank rank = 0;
  Rank size = 1;
  Key key{};             // from the unique id; also authenticates the transports
  uint64_t session = 0;  // agreed: the same on every rank, different for every group
};

struct BootstrapConfig {
  Rank rank = 0;
  Rank size = 1;
  std::string rendezvous;  // "tcp://host:port", "file:///path", or empty with `id`
  const UniqueId* id = nullptr;
  std::span<const UniqueId> other_ids;  // with `id`: in turn, when nobody serves it any more
  const Door* door = nullptr;           // instead of the two above: rank 0's, who serves there
  Absence* absence = nullptr;           // with `door`
  std::string interfaces;               // GOSSAMER_SOCKET_IFNAME
  std::string port_range;               // GOSSAMER_PORT_RANGE
  std::chrono::milliseconds timeout{30'000};
  const std::atomic<bool>* aborted = nullptr;
};

class Bootstrap final : public Exchange {
 public:
  // Joins; returns once every rank has reported.
  static Result<std::unique_ptr<Bootstrap>> join(const BootstrapConfig& config);
  ~Bootstrap() override;

  const Meeting& meeting() const;
  // Of this rank, where the others reached it.
  const SocketAddress& address() const;
  Result<std::vector<std::string>> all_gather(const std::string& blob) override;

 private:
  class Impl;
  explicit Bootstrap(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Opens the meeting point for a unique id in this process (a thread that ends after one group).
Result<UniqueId> open_rendezvous(const std::string& interfaces, const std::string& port_range);

// What a launcher's environment says.
struct LaunchedAs {
  bool found = false;
  Rank rank = 0;
  Rank size = 1;
  std::string rendezvous;  // "tcp://..." or "file://..."
  std::string launcher;    // "Open MPI", "MPICH", "Slurm", "torchrun", "GOSSAMER_*"
};
// Reads it. kInvalidArgument: half of the variables are set, or a number does not parse, or ranks
// span hosts and no rendezvous can be derived; the message names the variable to set.
Result<LaunchedAs> launcher_environment();

// Whether a communicator takes this name as Options::transport.
//   kInvalidArgument  no; the message lists what there is
Status check_transport(const std::string& name);

}  // namespace gossamer
