// tcp: ranks anywhere that can connect to each other.
//
//   Links      The lower rank connects to the higher one's listening socket, when it calls open()
//              or the higher one, having waited, knocks: so a link opens even if only one end asks
//              for it, and a rank that is not there any more is found out.
//              A link is one data connection per lane (Flow) and one control connection, which
//              carries notices and goodbyes and whose end tells that a process is gone.
//   Polling    poll() reads and writes the flows that have something posted and are ready: it asks
//              poll(2) about a few, epoll about more. Control connections and the listening
//              socket are looked at every few milliseconds, and at once when something is odd.
//   Half-open  Control connections are always drained, so keepalive and the user timeout on them
//              find hosts that vanished without disturbing slow readers of data.
//   Sleeping   Every socket is in one epoll set, edge-triggered, for its whole life: sleeping
//              costs one system call, and connections nobody waits for wake nobody twice.
//   Threads    driving thread.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "transports/tcp/flow.h"
#include "transports/tcp/reception.h"
#include "transports/tcp/tick.h"

namespace gossamer::tcp {

class Tcp final : public Transport {
 public:
  explicit Tcp(const TransportConfig& config);
  ~Tcp() override;
  Status listen();

  const char* name() const noexcept override { return "tcp"; }
  std::string address() const override;
  Status start(std::vector<std::string> addresses) override;
  Limits limits() const noexcept override {
    return {.window = kWindow,
            .lanes = lanes_,
            .eager_bytes = 0,
            .spins = 50,  // a poll is a system call
            .awake = std::chrono::microseconds(200),
            .bytes_per_us = greeter_.bytes_per_us()};
  }
  Code open(Rank peer, Fault* fault) noexcept override;
  Status pin(std::span<std::byte>) override { return Status::ok(); }
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
    std::vector<std::unique_ptr<Flow>> flows;  // by lane; null: not connected yet
    int control = -1;
    RecordParser parser;
    bool requested = false;         // open() was called here
    bool connecting = false;        // our connections are on their way
    bool knocked = false;           // we have asked it to connect
    bool ready = false;             // every connection stands
    bool said_goodbye = false;      // it leaves in good order
    bool suspect = false;           // a flow is broken and nothing says why yet
    Clock::time_point opened{};     // when open() was first called
    Clock::time_point suspected{};  // when `suspect` became true
  };

  Peer& peer_at(Rank peer);
  Flow& flow_at(Rank peer, Lane lane, Rank from);
  Code fail(Fault* fault);
  Code connect(Rank rank, Peer* peer, Fault* fault);
  Code knock(Rank rank, Peer* peer, Fault* fault);
  Code admit(const Welcome& welcome, Fault* fault);
  void list(Flow* flow);

  Code poll_flows(std::vector<Token>* done, Fault* fault);
  void poll_few();
  void collect_events();
  bool due();
  Code check_control(Fault* fault);
  Code read_control(Rank rank, Peer* peer, Fault* fault);
  Code judge(Rank rank, Peer* peer, Fault* fault);

  const TransportConfig config_;
  int epoll_ = -1;
  Greeter greeter_;
  Reception reception_;
  uint8_t lanes_ = 1;
  std::vector<std::unique_ptr<Peer>> peers_;  // null: never opened
  std::vector<Rank> linked_;                  // ranks with a control connection
  uint32_t opening_ = 0;                      // links asked for here that are not ready
  bool urgent_ = false;                       // look at the control connections now
  Tick tick_;

  FoldTile tile_;
  std::vector<Flow*> reading_;  // have sinks posted; may hold some that have none any more
  std::vector<Flow*> writing_;
  Fault failure_;  // the first one is final
};

}  // namespace gossamer::tcp
