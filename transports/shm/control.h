// The control sockets of shared memory links: who is alive, whose memory is whose.
//
// Each rank listens on an abstract Unix socket (no file to leave behind) and connects to each peer
// it opens a link to; both ends do, so a link has one socket each way, and a dead peer shows as a
// refused connection or end of file on either. Sockets carry packets: setup (with the descriptors
// of area and pool), windows, wake-ups, notices and goodbyes. Every connection runs Handshake
// first.
//
// A rank that fails leaves word with those it has no socket to: one packet, signed with the group's
// key, in the backlog of their listening socket. They find it there even if its author has gone.
//
// Threads    Driving thread.
// Blocking   Never.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/auth.h"

namespace gossamer::shm {

enum class PacketKind : uint32_t { kSetup = 1, kWindow, kWindowGone, kWake, kNotice, kGoodbye };

struct Packet {
  PacketKind kind = PacketKind::kWake;
  int32_t code = 0;              // notice
  Rank rank = -1;                // notice
  uint32_t id = 0;               // window
  uint64_t bytes = 0;            // window
  uint64_t slot_bytes = 0;       // setup
  int64_t process = 0;           // setup: its sender's id, as the system tells the receiver
  std::array<char, 232> text{};  // notice
};

// What arrives. Descriptors become the receiver's.
class ControlEvents {
 public:
  virtual ~ControlEvents() = default;
  virtual void on_packet(Rank peer, const Packet& packet, std::span<int> descriptors) = 0;
  virtual void on_connected(Rank peer) = 0;  // our connection to `peer` is authenticated
  virtual void on_accepted(Rank peer) = 0;   // its connection to us is
  virtual void on_gone(Rank peer, const std::string& why) = 0;
};

class Control {
 public:
  Control(const TransportConfig& config, ControlEvents* events);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  Status listen();
  const std::string& name() const { return name_; }  // of the listening socket

  // Starts connecting to `peer`'s listening socket.
  //   kOk      under way; on_connected() follows
  //   kAgain   its backlog is full; call again
  //   kPeerLost  nobody listens there
  Code connect(Rank peer, const std::string& name, int tries = 1);
  // kAgain: the socket is full, nothing was sent. kPeerLost: gone.
  Code send(Rank peer, const Packet& packet, std::span<const int> descriptors = {});

  // Leaves `packet` with a rank that there is no connection to. Best effort.
  void leave_word(Rank peer, const std::string& name, const Packet& packet);
  // From here on, whoever connects is refused.
  void stop_listening();

  // Handles whatever is there.
  void poll();
  int fd() const { return epoll_; }

 private:
  struct Connection;
  struct Word;
  Word make_word(Rank from, Rank to, const Packet& packet) const;
  bool read_word(Connection* connection, std::span<const std::byte> bytes);
  void accept_all();
  void handle(Connection* connection);
  bool shake(Connection* connection);
  bool connect_again(Connection* connection);
  bool read_packet(Connection* connection);
  void drop(Connection* connection, const char* why);
  void expire();

  // constant after listen()
  TransportConfig config_;
  ControlEvents* events_;
  std::string name_;
  int listener_ = -1;
  int epoll_ = -1;

  // driving thread
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> out_;  // by peer: ours to it
  int strangers_ = 0;             // accepted, not yet authenticated
};

}  // namespace gossamer::shm
