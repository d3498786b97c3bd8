// The connections of an averaging job, on a thread of their own: carries packets that are under way
// until they are confirmed, answers, lets others connect, and follows who is there.
//
//   Links     one to each peer that is pushed to, one from each that pushes here, opened when they
//             are needed and again when they break, with growing pauses. Strangers' are bounded in
//             number and time.
//   Threads   start(), wake() and stop() from any; the rest is the thread's own. It sleeps unless a
//             socket is ready, wake() is called, or an attempt is due.
//   Blocking  stop() until the thread has ended, at once.

#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gossip/job/core.h"
#include "gossip/job/link.h"
#include "gossip/membership/membership.h"

namespace gossamer::job {

class Carrier {
 public:
  struct Config {
    Key key{};
    uint64_t session = 0;
    Link::Shape shape;
    uint32_t scope = 0;  // of our interface, for link-local addresses
  };
  Carrier(const Config& config, Fd listening, Core* core)
      : config_(config), core_(*core), listening_(std::move(listening)) {}
  ~Carrier() { stop(); }
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

  //   kSystem  no descriptor or thread
  Status open();                               // before anything else
  Status start(const Membership* membership);  // which outlives the thread
  void stop();

  void wake() const;
  // Somebody has come, gone or changed; `left` where it has said so. From the membership's thread.
  void note(MemberId id, bool left);

 private:
  using Clock = std::chrono::steady_clock;
  struct Outbound {
    std::unique_ptr<Link> link;
    uint64_t lane = 0;  // of the packet that the link was given last
    uint64_t sequence = 0;
    bool wanted = false;   // it was asked for a first packet on this link
    bool hurried = false;  // it was told to take this packet at once
    Clock::time_point retry{};
    std::chrono::milliseconds pause{0};
  };
  struct Unknown {  // accepted, not yet known to be a peer's; or refused, and to be told so
    std::unique_ptr<Link> link;
    Clock::time_point until;
    bool refused = false;
  };
  struct Errand {
    PeerId to;
    SocketAddress address;
    std::shared_ptr<const Packet> packet;  // null: ask for one
    bool hurry = false;
  };

  void run();
  bool stopping();
  // members.cc
  void follow_members();
  void depart(PeerId id);
  // carrier.cc
  void give_out();
  void run_errand(const Errand& errand);
  void push(Outbound* out, const std::shared_ptr<const Packet>& shared) const;
  bool connect(Outbound* out, const Errand& errand);
  void wait();
  void accept_all();
  void step_all();
  // incoming.cc
  void step_unknown();
  bool introduce(Unknown* unknown);
  void refuse(Unknown* unknown, Refusal why) const;
  void step_inbound(PeerId from, Link* link);
  void receive(PeerId from, Link* link, Message message);
  void step_outbound(PeerId to, Outbound* out);
  void hear(PeerId to, Outbound* out, const Head& head);
  void set_reached(PeerId id, bool reached);
  void until(Clock::time_point time) { next_ = std::min(next_, time); }

  const Config config_;
  Core& core_;
  Fd listening_;
  Fd wake_;
  const Membership* membership_ = nullptr;
  std::thread thread_;

  std::map<PeerId, Outbound> out_;
  std::map<PeerId, std::unique_ptr<Link>> in_;
  std::vector<Unknown> unknown_;
  std::map<PeerId, Clock::time_point> departing_;  // said that it leaves; when we stop to listen
  Clock::time_point next_{};                       // when something is due
  Clock::time_point accept_again_{};

  std::atomic<bool> members_changed_{true};
  std::mutex left_m_;
  std::set<PeerId> left_;  // guarded by left_m_; of those not yet gone here
};

}  // namespace gossamer::job
