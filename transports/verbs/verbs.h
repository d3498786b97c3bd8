// verbs: ranks on hosts that RDMA devices connect, by InfiniBand or RoCE.
//
//   Links      One TCP connection per peer, proven as tcp's are: it carries the queue pairs'
//              numbers, then notices, goodbyes and moves, and its end tells that a process is gone.
//              One Pair per lane. The lower rank connects, as in tcp.
//   Lanes      as many as the rank with most ports has, at most kLanesMax; lane l uses this rank's
//              port (l + m) mod its ports after m moves.
//   Moves      A pair that breaks goes on over the next port, if one end has several: both ends
//              stop it, tell each other what they have taken, and connect again (moves.cc).
//   Loss       Where there is no other port: a peer's device that does not confirm requests for
//              some 2 s, a port that stays down, a device that fails are kPeerLost, naming peer
//              and device.
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
#include "transports/tcp/reception.h"
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
            .message_us = devices_.in_software() ? kSoftwareMessageUs : 0,
            .byte_us = devices_.in_software() ? kSoftwareByteUs : 0,
            .fold_byte_us = devices_.in_software() ? kSoftwareFoldByteUs : 0};
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
  // How far a pair's move to another port has come.
  struct Moving {
    enum class Phase : uint8_t { kNone, kStopped, kOffered, kConnected };
    Phase phase = Phase::kNone;
    uint32_t attempt = 0;     // counts moves, the same at both ends
    uint32_t in_vain = 0;     // moves since the pair last worked
    bool answered = false;    // `offer` is the peer's, of this attempt
    bool peer_ready = false;  // it has said that we may send
    Move offer;
    Clock::time_point begun{};
  };
  struct Peer {
    explicit Peer(Rank size) : parser(size, true) {}
    std::vector<std::unique_ptr<Pair>> pairs;  // by lane; none: not connected yet
    std::vector<Moving> moving;                // by lane
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
  void list(Pair* pair);
  void linger();

  // links.cc
  Code connect(Rank rank, Peer* peer, Fault* fault);
  Code knock(Rank rank, Peer* peer, Fault* fault);
  Code admit(const tcp::Welcome& welcome, Fault* fault);
  Code check_control(Fault* fault);
  Code read_control(Rank rank, Peer* peer, Fault* fault);
  Code read_setup(Rank rank, Peer* peer, std::span<const std::byte>* bytes, Fault* fault);
  Code judge(Rank rank, Peer* peer, Fault* fault);
  bool needs(const Peer& peer) const;

  // moves.cc
  bool may_move(Rank rank, const Peer& peer, Lane lane) const;
  void stop_pair(Peer* peer, Lane lane, uint32_t attempt, const std::string& why);
  Code take_move(Rank rank, Peer* peer, std::span<const std::byte> body, Fault* fault);
  Code step_move(Rank rank, Peer* peer, Lane lane, Fault* fault);
  Code offer_move(Rank rank, Peer* peer, Lane lane, Fault* fault);
  Code answer_move(Rank rank, Peer* peer, Lane lane, Fault* fault);
  void end_move(Rank rank, Peer* peer, Lane lane);
  void tell_move(Peer* peer, Lane lane, bool ready);
  Code step_moves(Fault* fault);

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
  tcp::Reception reception_;
  uint8_t lanes_ = 1;
  std::vector<uint32_t> ports_of_;  // by rank
  Devices devices_;
  std::unique_ptr<RegistrationCache> cache_;
  mutable Traffic traffic_;
  Shared shared_;
  std::vector<std::unique_ptr<Peer>> peers_;  // null: never opened
  std::vector<Pair*> pairs_;                  // by their index
  std::vector<Pair*> listed_;                 // to be advanced
  std::vector<Rank> linked_;                  // ranks with a control connection
  uint32_t moving_ = 0;                       // pairs that are on their way to another port
  uint32_t opening_ = 0;                      // links asked for here that are not ready
  bool urgent_ = false;                       // look at the control connections now
  bool ports_down_ = false;                   // some port of ours is
  bool abandoned_ = false;
  bool warned_ = false;  // that memory could not be registered
  tcp::Tick tick_;
  Clock::time_point probed_{};
  Fault failure_;  // the first one is final
};

}  // namespace gossamer::verbs
