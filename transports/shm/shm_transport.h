// The shared memory transport's state; the data path is in shm.cc, lend.cc and answer.cc,
// opening and control in setup.cc.
//
// Threads    Driving thread, as transport.h says.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/window.h"
#include "transports/shm/control.h"
#include "transports/shm/happens_before.h"
#include "transports/shm/link.h"
#include "transports/shm/staging.h"

namespace gossamer::shm {

class ShmTransport final : public Transport, private ControlEvents {
 public:
  explicit ShmTransport(const TransportConfig& config)
      : config_(config), control_(config, this), links_(static_cast<size_t>(config.size)) {
    active_.reserve(links_.size());  // no run allocates because more links are busy than before
    for (Rank r = 0; r < config.size; ++r) links_[static_cast<size_t>(r)].peer = r;
  }
  ~ShmTransport() override;
  Status listen();

  const char* name() const noexcept override { return "shm"; }
  std::string address() const override;
  Status start(std::vector<std::string> addresses) override;
  Limits limits() const noexcept override {
    return {.message_bytes_max = uint64_t{1} << 40,
            .window = Link::kWindow,
            .lanes = 1,
            .eager_bytes = kBlockBytes,
            // 3 us: two ranks that share a core by chance wait for each other that long, and a
            // yield with nobody to yield to costs 0.3 us.
            .spins = 100};
  }
  Code open(Rank peer, Fault* fault) noexcept override;
  Status pin(std::span<std::byte> span) override;
  void unpin(std::span<std::byte> span) override;
  Traffic traffic() const noexcept override { return traffic_; }
  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override;
  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override;
  Code poll(std::vector<Token>* done, Fault* fault) noexcept override;
  void notify(const Fault& fault) noexcept override;
  void abandon() noexcept override;
  int wait_fd() const noexcept override { return control_.fd(); }
  bool arm() noexcept override;
  Code peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept override;

 private:
  // ControlEvents
  void on_packet(Rank peer, const Packet& packet, std::span<int> descriptors) override;
  void on_connected(Rank peer) override;
  void on_accepted(Rank peer) override;
  void on_gone(Rank peer, const std::string& why) override;

  // setup.cc
  Status announce(Link* link);
  bool map_setup(Link* link, const Packet& packet, std::span<int> descriptors);
  bool window_announced(Link* link, const SharedWindow& window) noexcept;
  void announce_pinned(Link* link) noexcept;
  void announce_gone() noexcept;
  Code look_at_control(Fault* fault) noexcept;
  Code connect(Link* link) noexcept;
  Code lost(const Link& link, Fault* fault) const noexcept;
  Code lost_for_good(Link* link, Fault* fault) noexcept;
  Code find_dead(Fault* fault) noexcept;

  // lend.cc
  bool push_window(Link* link, Link::Outgoing* out) noexcept;
  bool push_memory(Link* link, Link::Outgoing* out) noexcept;
  const Mapping* peer_window(const Link& link, uint32_t id) noexcept;

  // shm.cc
  enum class Pushed : uint8_t { kDone, kLent, kPartial };
  void activate(Link* link);
  // Around what orders the two ends of a link.
  void before_our_store(const Link& link) const noexcept {
    before_store(config_.session, config_.rank, link.peer);
  }
  void after_their_load(const Link& link) const noexcept {
    after_load(config_.session, link.peer, config_.rank);
  }
  void copied(uint64_t bytes) noexcept {
    ++traffic_.copies;
    traffic_.bytes_copied += bytes;
  }
  void deliver(Link* link, const Sink& sink, CellKind kind, const std::byte* arrived,
               uint64_t bytes) noexcept;
  bool cell_free(Link* link, uint32_t cells) noexcept;  // of so many, one
  void release_consumed(Link* link) noexcept;
  void publish(Link* link, CellKind kind, const Message& message, int16_t slot) noexcept;
  void wake(Link* link) noexcept;
  Pushed push(Link* link, Link::Outgoing* out) noexcept;
  Pushed push_staged(Link* link, Link::Outgoing* out) noexcept;
  bool stage(Link* link, const Message& message, uint64_t from, uint64_t run,
             Staging::Place* place) noexcept;
  void advance_out(Link* link, std::vector<Token>* done) noexcept;
  void count_consumed(Link* link) noexcept;
  bool visit(Link* link) noexcept;
  bool end_visit(Link* link) noexcept;
  Code pull(Link* link, bool* complete, Fault* fault) noexcept;
  bool can_answer(Link* link, const Cell& cell, const Sink& sink) noexcept;
  std::byte* place_of_answer(Link* link, const Cell& cell) noexcept;
  bool fold_into_both(Link* link, const Sink& sink, const std::byte* arrived, uint64_t bytes,
                      std::byte* answer) noexcept;
  bool answer_run(Link* link, const Sink& sink, const Cell& cell, std::byte* arrived) noexcept;
  void revoke(Link* link) noexcept;
  const std::byte* locate(Link* link, const Cell& cell, uint64_t* message, uint64_t* run) noexcept;
  bool something_new(const Link& link) const noexcept;

  TransportConfig config_;
  Control control_;
  std::vector<Link> links_;
  std::vector<Link*> active_;  // links with something posted or under way
  Mapping pool_;
  int pool_fd_ = -1;  // open while links may still be announced
  Staging staging_;
  WindowView windows_;
  std::vector<std::span<std::byte>> pinned_;
  uint64_t pins_ = 0;     // calls of pin() so far
  bool may_read_ = true;  // GOSSAMER_SHM_READ
  Traffic traffic_;
  Fault notice_;    // what a peer told us
  Status trouble_;  // what failed in an event handler
  uint32_t polls_ = 0;
  int64_t looked_ = 0;
  uint32_t opening_ = 0;
  bool napping_ = false;
  bool somebody_gone_ = false;  // and it is not known yet whether it said goodbye
  bool slots_travel_ = false;
  uint64_t block_bytes_max_ = kBlockBytes;  // longer messages are staged in slots
  bool failed_ = false;                     // abandoned: nothing is accepted any more
};

// Makes a nap visible to peers before the cells are looked at once more, without a fence on the
// senders' path: the kernel fences every registered process instead. False: not supported here.
bool register_barrier();

// Monotonic, as cheap as the system has it, a few milliseconds coarse.
int64_t coarse_now();

}  // namespace gossamer::shm
