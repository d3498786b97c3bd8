// Where a group meets, and rank 0's part in it: serving.
//
// Threads    one thread per object; rank 0's server runs on its own until close().

#pragma once

#include <memory>
#include <optional>
#include <string>

#include "src/auth.h"
#include "src/bootstrap.h"
#include "src/meeting.h"
#include "src/net.h"
#include "src/unique_id.h"

namespace gossamer {

// An address to connect to, with the key that opens it.
struct MeetingPoint {
  SocketAddress address;
  Key key{};
  uint64_t session = 0;
  bool loopback_meant = false;  // the user asked for this host only
  Rank served_by = -1;          // 0, or -1: a process without a rank
  std::string text;             // for messages
};

class MeetingPlace {
 public:
  // Parses config.rendezvous or config.id; as rank 0 of tcp: or file: also begins to serve.
  static Result<std::unique_ptr<MeetingPlace>> open(const BootstrapConfig& config);

  // Looks again: a file may have changed, a name may have become known.
  Result<MeetingPoint> locate() const;
  bool is_file() const { return !id_ && text_.is_file; }
  bool is_door() const { return door_; }
  bool is_id() const { return id_.has_value(); }
  Rank served_by() const { return id_ ? -1 : 0; }
  std::string text() const;
  const char* key_advice() const;

  // Ends rank 0's part: at once after an abort, else when all ranks have their answer.
  void close(Code result);

 private:
  MeetingPlace() = default;
  Status serve_tcp(const BootstrapConfig& config);
  Status serve_file(const BootstrapConfig& config);
  Status meet_at_door(const BootstrapConfig& config);

  RendezvousText text_;
  std::string shown_;
  std::optional<UniqueIdFields> id_;
  Key tcp_key_{};
  std::string interfaces_;
  std::optional<MeetingPoint> own_;  // rank 0: where it serves; a door: where it is
  bool door_ = false;
  std::optional<UniqueId> written_;
  std::unique_ptr<RendezvousThread> server_;
};

// Gives a link-local address the scope of `like`, since scopes do not travel.
void adopt_scope(SocketAddress* address, const SocketAddress& like);

}  // namespace gossamer
