// Who is in a group of processes that has no centre: over UDP, by SWIM with Lifeguard.
//
// One process starts and is a group of one. Others start and join it through any member. From then
// on all are equal: each learns of everybody who joins, leaves, dies, hangs or returns, and no
// death, the first member's included, changes anything for the rest. What every member knows is
// the same in the end, not at once: a death is known after about 7 probe intervals among 10 members
// and 17 among 1,000 (see MembershipTiming).
//
//   Feeding others  A communicator or an averaging job keeps its own number of a member (its rank,
//                   say) in the metadata, and acts on kDied and kLeft ("this rank is lost"),
//                   kJoined ("somebody new asks to take part"), kReturned ("what was written off
//                   was not lost"; of oneself: "the others have gone on without us") and kStuck.
//   Threads         start() starts one thread, which sleeps until a datagram comes or the next
//                   probe is due. Everything else may be called from any thread, and from
//                   on_event what does not wait. advance_progress() is one atomic addition.
//   Blocking        join() and leave() up to their timeout; events() as long as it is told to.
//   Ownership       The object is the member. Destroyed without leave() it is dead to the others.
//                   In a forked child it does nothing.
//   Security        Who does not know the key can neither take part nor make a member believe
//                   anything, but can read: datagrams are authenticated, not encrypted.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gossamer/status.h"
#include "gossip/membership/member.h"
#include "src/fd.h"

namespace gossamer {

struct UniqueId;

namespace swim {
class Protocol;
}

class Membership {
 public:
  struct Options {
    std::array<std::byte, 32> key{};  // the group's secret; not all zeros
    uint64_t session = 0;             // groups of equal key and different session do not mix
    std::string interfaces;           // as GOSSAMER_SOCKET_IFNAME, which holds when empty
    SocketAddress address;            // where to receive, instead: one of this host's, at any port
    std::string port_range;           // as GOSSAMER_PORT_RANGE, which holds when empty
    std::string metadata;             // at most kMetadataBytesMax bytes, for the others to see
    MembershipTiming timing;
    // A counter of the application's that is watched as advance_progress() is; may be null, and
    // must outlive the member.
    const std::atomic<uint64_t>* progress = nullptr;
    // Called for each event, in order, on the membership's thread, which does nothing else
    // meanwhile: be quick, and do not leave() or destroy. Empty: events() keeps them.
    std::function<void(const MemberEvent&)> on_event;
    // Key and session of a communicator's id.
    //   kInvalidArgument  it is no usable id
    static Result<Options> of(const UniqueId& id);
  };

  // A member that knows nobody yet, with a socket on the first suitable interface.
  //   kInvalidArgument  the options contradict themselves, or no interface matches
  //   kSystem           no free port, descriptor or thread
  static Result<std::unique_ptr<Membership>> start(const Options& options);
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // Where this member receives, "10.0.0.1:4711": what others join() through.
  std::string address() const;
  MemberId id() const { return id_; }

  // Joins the group that the member at `address` ("host:port", "[::1]:port") belongs to, and
  // returns when members() has all that it knew. May be called again, with another address, after
  // a failure, and to unite two groups; one call at a time.
  //   kInvalidArgument  no address, of the other IP family, or this member's own
  //   kTimeout          no member with our key and session answered
  //   kAborted          leave() was called
  Status join(const std::string& address, std::chrono::milliseconds timeout);

  // All that are alive or suspect, this one included, by id: the same order everywhere.
  std::vector<Member> members() const;

  // What happened since the last call, oldest first; waits up to `wait` for something to happen.
  // The latest kEventsMax are kept. Empty at once with Options::on_event.
  static constexpr size_t kEventsMax = 65'536;
  std::vector<MemberEvent> events(std::chrono::milliseconds wait = std::chrono::milliseconds(0));

  // The application has come `steps` further. A member that calls it and then does not for
  // timing.progress_limit, while others do, is reported as stuck by all.
  void advance_progress(uint64_t steps = 1) {
    progress_.fetch_add(steps, std::memory_order_relaxed);
  }

  // Replaces the metadata; the others see kUpdated.
  //   kInvalidArgument  more than kMetadataBytesMax bytes
  Status set_metadata(const std::string& metadata);

  // Tells the others and ends: they see kLeft. Returns once enough of them have confirmed it.
  //   kTimeout          nobody did; they will see kDied
  //   kInvalidArgument  called from on_event
  Status leave(std::chrono::milliseconds timeout);

 private:
  Membership() = default;
  void run();
  void receive_all();
  void send_all();
  void hand_out_events();
  void wake() const;
  void stop();

  // Constant after start().
  MemberId id_ = 0;
  Endpoint endpoint_;
  uint32_t scope_ = 0;  // of our interface: link-local addresses mean nothing without
  Fd socket_;
  Fd wake_;
  Fd epoll_;
  std::function<void(const MemberEvent&)> on_event_;
  pid_t owner_ = 0;
  std::thread thread_;

  const std::atomic<uint64_t>* counter_ = nullptr;  // the application's, constant after start()
  std::atomic<uint64_t> progress_{0};

  mutable std::mutex m_;
  std::condition_variable changed_;           // something that join(), leave() or events() await
  std::unique_ptr<swim::Protocol> protocol_;  // guarded by m_
  std::vector<MemberEvent> events_;           // guarded by m_
  bool stopping_ = false;                     // guarded by m_
  bool leaving_ = false;                      // guarded by m_
};

}  // namespace gossamer
