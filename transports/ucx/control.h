// A small authenticated TCP connection to every linked peer, beside what UCX carries: it proves who
// the peer is, brings notices and goodbyes, and ends when the peer's process does.
//
//   Links      The lower rank connects, when asked to or when the higher one, having waited,
//              knocks.
//   Threads    driving thread.
//   Blocking   never; notify() for some milliseconds at most.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "transports/tcp/reception.h"
#include "transports/tcp/tick.h"

namespace gossamer::ucx {

class Control {
 public:
  using Clock = std::chrono::steady_clock;

  // Adds its sockets to `epoll`, edge-triggered, with data 0.
  Control(const TransportConfig& config, int epoll);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  Status listen() { return greeter_.listen(epoll_); }
  std::string address() const { return greeter_.address(); }
  void start(std::vector<std::string> addresses) { reception_.start(std::move(addresses)); }

  // As Transport::open(), for the control connection.
  Code open(Rank rank, Fault* fault);
  bool linked(Rank rank) const { return at(rank) != nullptr && at(rank)->socket >= 0; }
  bool left(Rank rank) const { return at(rank) != nullptr && at(rank)->said_goodbye; }

  // Whether it is time for check(): at every tick of the coarse clock, and when asked for.
  bool due();
  void look_soon() { urgent_ = true; }
  bool urgent() const { return urgent_; }
  // Greets, and hears what peers say. A fault: a notice, a death, or a peer out of reach.
  Code check(Fault* fault);
  Code lost(Rank rank, const std::string& how, Fault* fault) const {
    return reception_.lost(rank, how, fault);
  }

  void notify(const Fault& fault);
  void say_goodbye();
  void stop() { greeter_.stop(); }

 private:
  struct Peer {
    explicit Peer(Rank size) : parser(size) {}
    int socket = -1;
    tcp::RecordParser parser;
    bool requested = false;     // open() was called here
    bool connecting = false;    // our connection is on its way
    bool knocked = false;       // we have asked it to connect
    bool said_goodbye = false;  // it leaves in good order
    Clock::time_point opened{};
  };

  const Peer* at(Rank rank) const { return peers_[static_cast<size_t>(rank)].get(); }
  Peer& make(Rank rank);
  Code connect(Rank rank, Peer* peer, uint8_t lane, Fault* fault);
  Code admit(const tcp::Welcome& welcome, Fault* fault);
  Code read(Rank rank, Peer* peer, Fault* fault);

  const TransportConfig config_;
  const int epoll_;
  tcp::Greeter greeter_;
  tcp::Reception reception_;
  std::vector<std::unique_ptr<Peer>> peers_;  // null: never opened
  std::vector<Rank> linked_;
  uint32_t opening_ = 0;  // links asked for here that are not ready
  bool urgent_ = false;
  tcp::Tick tick_;
};

}  // namespace gossamer::ucx
