// Makes and accepts connections and has both ends prove that they belong together, before anything
// else is read from them.
//
//   Strangers  are refused, logged and closed; at most kPendingMax connections may be unproven at
//              a time (the oldest makes room) and each for kProofTime at most.
//   Blocking   Nothing blocks: step() moves all handshakes on.
//   Threads    driving thread.
//   Ownership  owns the listening socket and the sockets of unfinished handshakes.

#pragma once

#include <chrono>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/auth.h"
#include "src/net.h"
#include "transports/tcp/word.h"

namespace gossamer::tcp {

inline constexpr size_t kPendingMax = 256;
inline constexpr std::chrono::seconds kProofTime{10};
inline constexpr uint8_t kControlLane = 255;  // the purpose of a control connection
inline constexpr uint8_t kKnockLane = 254;    // of one that only asks the lower rank to connect
// Keeps the connections of a transport apart from other uses of the same key; the low byte is the
// lane's.
inline constexpr uint32_t kTcpPurpose = 0x54435000;

// A connection whose other end has proved itself.
struct Welcome {
  int socket = -1;
  Rank peer = -1;
  uint8_t lane = 0;
};

// Has the system find a host that has vanished in about 10 seconds, idle or not: for control
// connections, which are always drained.
void guard_against_silence(int socket);

class Greeter {
 public:
  explicit Greeter(TransportConfig config, uint32_t purpose = kTcpPurpose);
  ~Greeter();
  Greeter(const Greeter&) = delete;
  Greeter& operator=(const Greeter&) = delete;

  // Listens, and adds what it waits for to `epoll` from now on, edge-triggered, with data 0.
  Status listen(int epoll);
  std::string address() const { return address_.to_string(); }
  double bytes_per_us() const { return bytes_per_us_; }  // of its interface; 0: not known

  // Starts to connect to `peer`. kOk, or *fault says why not.
  Code connect(Rank peer, uint8_t lane, const SocketAddress& to, Fault* fault);

  // Accepts, connects and proves as far as possible now; appends what is done. A connection *we*
  // make that fails is a fault; one that a stranger makes is only logged.
  Code step(std::vector<Welcome>* welcomes, Fault* fault);

  // Tells ranks without a link why this one has failed. Best effort, takes 100 ms at most.
  struct Addressee {
    Rank rank;
    SocketAddress address;
  };
  void leave_word(std::span<const Addressee> addressees, const Record& notice) const;
  // What a rank without a link left for this one; kOk: nothing.
  const Fault& word() const { return word_; }

  // From here on, whoever connects is refused, and who has not proved itself hung up on.
  void stop();

  bool busy() const { return !pending_.empty(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    int socket;
    bool ours;  // we connect
    bool connected;
    bool greeted;  // or ours: what comes is a handshake
    Rank peer;     // ours: whom we expect
    uint8_t lane;  // ours
    SocketAddress remote;
    Clock::time_point deadline;
    Handshake handshake;
  };
  enum class Stage : uint8_t { kGoing, kDone, kFailed, kWord };
  enum class Heard : uint8_t { kNothing, kHandshake, kWord };  // nothing: not yet enough

  void accept_all();
  Stage advance(Pending* p, std::string* why);
  Heard listen_to(const Pending& p);
  Stage finish_connect(Pending* p, std::string* why);
  void watch(int socket);
  void refuse(const Pending& p, const std::string& why);
  Code failed(const Pending& p, const std::string& why, Fault* fault) const;

  const TransportConfig config_;
  const uint32_t purpose_;
  int listener_ = -1;
  int epoll_ = -1;
  SocketAddress address_;
  double bytes_per_us_ = 0;
  uint64_t refused_ = 0;
  bool warned_ = false;  // that accept() fails
  std::list<Pending> pending_;
  Fault word_;
};

}  // namespace gossamer::tcp
