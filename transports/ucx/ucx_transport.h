// The state of the ucx transport. Setting up is in setup.cc, sending in send.cc, receiving in
// receive.cc, and what the rest of the library calls in ucx.cc.
//
//   Memory     UCX registers what it moves, through its own cache. Its rendezvous describes a
//   chunk's
//              memory in every announcement: each counts as an exchange in Traffic.
//   Faults     A broken endpoint alone is no fault: the peer's control connection knows better what
//              has happened and has kGrace to tell.
//   Abandoned  UCX is not driven any more, and endpoints by which a device may still move bytes on
//              its own are closed, so nothing reads or writes a buffer.
//   Threads    driving thread.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transports/ucx/control.h"
#include "transports/ucx/fabric.h"
#include "transports/ucx/pipe.h"
#include "transports/ucx/ucx.h"

namespace gossamer::ucx {

class Ucx final : public Transport {
 public:
  Ucx(const TransportConfig& config, const Options& options);
  ~Ucx() override;
  Status begin();

  const char* name() const noexcept override { return "ucx"; }
  std::string address() const override;
  Status start(std::vector<std::string> addresses) override;
  Limits limits() const noexcept override;
  Code open(Rank peer, Fault* fault) noexcept override;
  Status pin(std::span<std::byte>) override { return Status::ok(); }
  Traffic traffic() const noexcept override { return traffic_; }
  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override;
  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override;
  Code poll(std::vector<Token>* done, Fault* fault) noexcept override;
  Code peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept override;
  void notify(const Fault& fault) noexcept override;
  void abandon() noexcept override;
  int wait_fd() const noexcept override { return epoll_; }
  bool arm() noexcept override;

  // What UCX calls back, with its types translated.
  enum class Carries : uint8_t { kBytes, kHoldableBytes, kDescriptor };
  // Returns whether `data` is kept until it is released.
  bool on_record(std::span<const std::byte> header, void* data, uint64_t bytes, Carries carries);
  void on_sent(Outgoing* out, bool fine, const char* why);
  void on_fetched(Arrived* record, bool fine, const char* why);
  void on_broken(Link* link, const char* why);
  bool abandoned() const { return abandoned_; }

 private:
  // Where a rank is.
  struct Place {
    Fabric* fabric = nullptr;  // that reaches it; null: none does
    std::string address;       // of its fabric
  };

  // setup.cc
  Link& link_at(Rank peer);
  Code connect(Link* link, Fault* fault);
  Code await_connection(Link* link, Fault* fault);
  void say_farewell();
  void release_records();
  void close_endpoints(Fabric* fabric);
  bool in_flight() const;
  void drain();

  // ucx.cc
  Pipe& pipe_at(Rank peer, Lane lane);
  Code fail(Fault* fault);
  void activate(Pipe* pipe);
  void run_active();
  Code judge(Link* link, Fault* fault);

  // send.cc
  void issue(Pipe* pipe);
  bool issue_record(Pipe* pipe, Outgoing* out);
  void finish_sends(Pipe* pipe, std::vector<Token>* done);
  void send_credit(Pipe* pipe);
  void fill(Pipe* pipe, Kind kind, Header* header);

  // receive.cc
  bool keep_or_take(Pipe* pipe, Arrived* record, Carries carries);
  void consume(Pipe* pipe);
  bool take(Pipe* pipe, const Sink& sink, Arrived* record);
  void deliver(Pipe* pipe, const Sink& sink, const std::byte* data, uint64_t bytes);
  void finish_message(Pipe* pipe);
  void fetch_ahead(Pipe* pipe);
  bool fetch(Arrived* record, const Sink& sink, uint64_t offset);
  void garbage(Rank from);

  const TransportConfig config_;
  const Options options_;
  int epoll_ = -1;
  Control control_;
  std::unique_ptr<Fabric> host_;     // null: UCX may use none, or nobody needs it
  std::unique_ptr<Fabric> network_;  // likewise
  std::vector<ucp_worker*> workers_;
  std::vector<Place> places_;                 // by rank
  std::vector<std::unique_ptr<Link>> links_;  // null: never opened, nothing arrived
  std::vector<Pipe*> active_;
  std::vector<Pipe*> running_;  // active_ while it is worked through
  std::vector<Token> completed_;
  std::vector<std::byte*> landings_;  // free ones
  std::vector<std::unique_ptr<std::byte[]>> landing_memory_;
  Traffic traffic_;
  Fault failure_;  // the first one is final
  bool abandoned_ = false;
  bool leaving_ = false;
};

}  // namespace gossamer::ucx
