// verbs: ranks on hosts that RDMA devices connect, by InfiniBand or RoCE.
//
//   Links      One TCP connection per peer, proven as tcp's are: it carries the queue pairs'
//              numbers, then notices and goodbyes, and its end tells that a process is gone. One
//              queue pair (Pair) per lane. The lower rank connects, as in tcp.
//   Lanes      as many as the rank with most ports has, at most kLanesMax; lane l uses this rank's
//              port l mod its ports.
//   Loss       A queue pair whose requests the peer's device does not confirm for some 2 s, a port
//              that stays down, a device that fails: kPeerLost, naming peer and device.
//   Sleeping   Completion channels, the devices' event descriptors and the sockets are in one epoll
//              set, edge-triggered. While only arrivals matter, only solicited ones wake.
//   Threads    driving thread.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/registration_cache.h"
#include "transports/tcp/greeter.h"
#include "transports/tcp/tick.h"
#include "transports/verbs/device.h"
#include "transports/verbs/pair.h"

namespace gossamer::verbs {

class Verbs final : public Transport {
 public:
  explicit Verbs(const TransportConfig& config);
  ~Verbs() override;
  Status listen();

  const char* name() const noexcept override { return "verbs"; }
  std::string address() const override;
  Status start(std::vector<std::string> addresses) override;
  Limits limits() const noexcept override {
    return {.window = kWindow,
            .lanes = lanes_,
            .eager_bytes = kEagerBytes,
            .spins = 200,  // a poll is a look at memory
            .awake = std::chrono::microseconds(200),
            .bytes_per_us = devices_.bytes_per_us(),
            .message_us = devices_.message_us()};
  }
  Code open(Rank peer, Fault* fault) noexcept override;
  Status pin(std::span<std::byte> span) override { return cache_->pin(span); }
  void unpin(std::span<std::byte> span) override { cache_->unpin(span); }
  Traffic traffic() const noexcept override;
  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override;
  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override;
  Code poll(std::vector<Token>* done, Fault* fault) noexcept override;
  Code peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept override;
  void notify(const Fault& fault) noexcept override;
  void abandon() noexcept override;
  int wait_fd() const noexcept override { return epoll_; }
  bool arm() noexcept override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    explicit Peer(Rank size) : parser(size) {}
    std::vector<std::unique_ptr<Pair>> pairs;  // by lane; none: not connected yet
    int control = -1;
    tcp::RecordParser parser;
    std::vector<std::byte> setup;   // what has come of the peer's setup, and its word
    bool requested = false;         // open() was called here
    bool connecting = false;        // our connection is on its way
    bool knocked = false;           // we have asked it to connect
    bool connected = false;         // our pairs are
    bool ready = false;             // and so are the peer's
    bool said_goodbye = false;      // it leaves in good order
    bool goodbye_is_new = false;    // what it sent before may not have been looked at
    bool gone = false;              // its connection has ended
    bool suspect = false;           // a pair is broken and nothing says why yet
    Clock::time_point opened{};     // when open() was first called
    Clock::time_point suspected{};  // when `suspect` became true
  };

  // verbs.cc
  Peer& peer_at(Rank peer);
  Pair& pair_at(Rank peer, Lane lane);
  Code fail(Fault* fault);
  Code lost(Rank peer, const char* how, Fault* fault) const;
  void list(Pair* pair);
  void linger();

  // links.cc
  Code connect(Rank rank, Peer* peer, Fault* fault);
  Code knock(Rank rank, Peer* peer, Fault* fault);
  Code admit(const tcp::Welcome& welcome, Fault* fault);
  Code greet(Fault* fault);
  Code check_control(Fault* fault);
  Code read_control(Rank rank, Peer* peer, Fault* fault);
  Code read_setup(Rank rank, Peer* peer, std::span<const std::byte>* bytes, Fault* fault);
  Code judge(Rank rank, Peer* peer, Fault* fault);
  bool needs(const Peer& peer) const;

  // progress.cc
  Status watch(int fd, uint64_t what);
  void collect_events();
  bool collect_completions();
  void drain_channel(Device* device);
  void read_async_events(Device* device);
  void take_async_event(Device* device, const ibv_async_event& event);
  void fail_device(const Device& device, const char* what);
  Code advance_pairs(std::vector<Token>* done, Fault* fault);
  Code judge_ports(Fault* fault);
  bool due();

  const TransportConfig config_;
  int epoll_ = -1;
  tcp::Greeter greeter_;
  uint8_t lanes_ = 1;
  std::vector<std::string> addresses_;
  Devices devices_;
  std::unique_ptr<RegistrationCache> cache_;
  mutable Traffic traffic_;
  Shared shared_;
  std::vector<std::unique_ptr<Peer>> peers_;  // null: never opened
  std::vector<Pair*> pairs_;                  // by their index
  std::vector<Pair*> listed_;                 // to be advanced
  std::vector<Rank> linked_;                  // ranks with a control connection
  uint32_t opening_ = 0;                      // links asked for here that are not ready
  bool urgent_ = false;                       // look at the control connections now
  bool ports_down_ = false;                   // some port of ours is
  bool abandoned_ = false;
  bool warned_ = false;  // that memory could not be registered
  tcp::Tick tick_;
  Clock::time_point probed_{};
  std::vector<tcp::Welcome> welcomes_;
  Fault unreachable_;  // what a connection of ours failed with, until somebody tells why
  Clock::time_point unreachable_since_{};
  Fault failure_;  // the first one is final
};

}  // namespace gossamer::verbs
