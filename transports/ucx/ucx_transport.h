// The state of the ucx transport. Setting up is in setup.cc, sending in send.cc, receiving in
// receive.cc, what a receiver tells its sender in notes.cc, and what the rest of the library calls
// in ucx.cc.
//
//   Memory     UCX registers what it sends, through its own cache. What peers put where, over
//              devices that write a peer's memory, is registered by ours. What UCX or the system
//              copies on the way is not counted in Traffic.
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
  Ucx(const TransportConfig& config, Options options);
  ~Ucx() override;
  Status begin();

  const char* name() const noexcept override { return "ucx"; }
  std::string address() const override;
  Status start(std::vector<std::string> addresses) override;
  Limits limits() const noexcept override;
  const char* priced_as() const noexcept override { return all_host_ ? "ucx+shm" : name(); }
  Code open(Rank peer, Fault* fault) noexcept override;
  Status pin(std::span<std::byte> span) override {
    return cache_ != nullptr ? cache_->pin(span) : Status::ok();
  }
  void unpin(std::span<std::byte> span) override {
    if (cache_ != nullptr) cache_->unpin(span);
  }
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

  // What UCX calls back, with its types translated.
  // Returns whether `data` is kept until it is released, which it may be if it is holdable.
  bool on_record(std::span<const std::byte> header, void* data, uint64_t bytes, bool holdable);
  void on_sent(Outgoing* out, bool fine, const char* why);
  void on_flushed(Departure* left, bool fine, const char* why);
  void on_note_sent(Pipe* pipe);
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
  Code unanswered(Link* link, Fault* fault) const;
  void choose_ways(Link* link);
  void say_hello(Pipe* pipe);
  bool meet(Pipe* pipe);
  void say_farewell();
  void release_records();
  void close_endpoints(Fabric* fabric);
  bool in_flight() const;
  void drain();

  // ucx.cc
  Pipe& pipe_at(Rank peer, Lane lane);
  Code fail(Fault* fault);
  Code answer_hellos(Fault* fault);
  void activate(Pipe* pipe);
  void run_active();
  Code judge(Link* link, Fault* fault);

  // send.cc
  void issue(Pipe* pipe);
  bool issue_record(Pipe* pipe, Outgoing* out);
  Departure* depart(Pipe* pipe, Outgoing* out);
  bool send_record(Departure* left, Kind kind, const void* bytes, uint64_t count, bool lent);
  bool put(Departure* left, const std::byte* from, uint64_t bytes, uint64_t address, ucp_rkey* key);
  bool send_put_record(Departure* left);
  bool claim(Pipe* pipe, uint64_t bytes, uint64_t* at);
  const Grant* grant_for(Pipe* pipe, const Outgoing& out);
  void announce_late(Pipe* pipe, bool at_once);
  void finish_sends(Pipe* pipe, std::vector<Token>* done);
  void send_credit(Pipe* pipe);
  void fill(Pipe* pipe, Kind kind, uint32_t position, Header* header);

  // receive.cc
  void take_credit(Pipe* pipe, uint32_t consumed);
  bool place(Pipe* pipe, const Header& header, const void* data, uint64_t bytes, Arrived* record);
  bool keep_or_take(Pipe* pipe, const Header& header, const void* data, uint64_t bytes,
                    bool holdable);
  void keep(Pipe* pipe, Arrived* record);
  static void make_room(Pipe* pipe);
  void consume(Pipe* pipe);
  bool take(Pipe* pipe, Arrived* record);
  void deliver(Pipe* pipe, const Sink& sink, const std::byte* data, uint64_t bytes);
  void finish_message(Pipe* pipe);
  void garbage(Rank from);

  // notes.cc
  bool send_note(Pipe* pipe, Kind kind, uint32_t number, const Header& about, const Extent& extent,
                 std::span<const std::byte> key);
  bool name_region(Pipe* pipe, const Registration& memory, uint16_t* slot);
  bool tell(Pipe* pipe, Posted* posted);
  void tell_all(Pipe* pipe);
  void release(Posted* posted);
  bool take_note(Pipe* pipe, const Header& header, std::span<const std::byte> payload);
  bool take_region(Pipe* pipe, uint16_t slot, const Extent& extent,
                   std::span<const std::byte> packed);
  static ucp_rkey* unpack_key(const Link& link, std::span<const std::byte> packed);
  static void drop_retired(Pipe* pipe);
  static void drop_keys(Pipe* pipe);

  const TransportConfig config_;
  const Options options_;
  int epoll_ = -1;
  Control control_;
  std::unique_ptr<Fabric> host_;              // null: UCX may use none, or nobody needs it
  std::unique_ptr<Fabric> network_;           // likewise
  std::unique_ptr<RegistrationCache> cache_;  // null: no device of ours writes a peer's memory
  std::vector<ucp_worker*> workers_;
  bool all_host_ = true;                      // every rank may use shared memory within its host
  std::vector<Place> places_;                 // by rank
  std::vector<std::unique_ptr<Link>> links_;  // null: never opened, nothing arrived
  std::vector<Pipe*> active_;
  std::vector<Pipe*> running_;  // active_ while it is worked through
  std::vector<Link*> greeted_;  // whose peers' hellos have come
  std::vector<Token> completed_;
  Traffic traffic_;
  Fault failure_;  // the first one is final
  bool abandoned_ = false;
  bool leaving_ = false;
};

}  // namespace gossamer::ucx
