// An averaging job: processes that train or average together, which come and go while it runs.
// There is no server and no special member; whoever is there goes on.
//
//   auto job = gossamer::AveragingJob::start({.key = secret, .count = n, .port_range = "4711"}, x);
//   auto job = gossamer::AveragingJob::join("10.0.0.1:4711", {.key = secret, .count = n}, x);
//   while (...) {
//     ...                                        // g = gradient at x, on this process's data
//     if (gossamer::Status s = (*job)->step(x, g, 0.1); !s) ...
//   }
//   (*job)->leave(std::chrono::seconds(10));
//
// Each member holds a pair (s, w), mass and weight, and its values are x = s / w (push-sum). A step
// halves the pair and sends one half to one peer of those that are there now.
//
//   step   (s, w) += what has come;  s <- s - rate w gradient;
//          one peer: (s, w) <- (s, w) / 2, and the other half to it;  x = s / w
//   join   a member that is asked pushes half of its pair to the newcomer, who begins with nothing:
//          so it starts from that member's values, with half of its weight, at its step number
//   leave  the whole pair goes to one peer
//
// The gradient is taken times w, so x moves by rate * gradient however small the weight is. In the
// mean a member's data counts by its weight and by how often it steps: one that is slow gathers
// weight meanwhile, but counts for less than the others all the same.
//
// Conserved  The sums over members of s (but for gradients) and of w, with what is under way:
//            starting adds (x, 1); steps, joins and leaving change nothing, to the rounding of
//            float64; what is sent in float32 is what the sender gives up, to the bit. Messages are
//            numbered and kept until the receiver says that it has taken them: a connection that
//            breaks loses and repeats nothing.
// A death    What a member holds when it dies, and what it had sent and nobody has received, is
//            written off: it leaves both sums. What was pushed to it and not confirmed is taken
//            back. If it had taken that already, and had passed a part on before it died, that part
//            is there twice, s together with w: the mean then weighs it more, by at most that
//            message's weight, and never leaves the range of honest values.
// Taken for  A member that is declared dead and is not (stopped, or cut off) returns by itself with
// dead       what it holds: what was written off counts again. Messages between it and the others
//            start anew under new numbers, the unconfirmed being taken back; those that had been
//            taken all the same count twice, as above. If a network is cut, both sides go on, and
//            unite when it heals (within an hour, else one of them has to join anew).
// Weight     It falls with each death, by about 1 in n, and only its ratios matter: a member whose
//            weight falls below 2^-512 multiplies both by 2^512, which does not change x and makes
//            it outweigh those who still have less.
// Slow ones  A step never waits for another member. A peer has at most one message that it has not
//            taken; until then it is passed over, so who stands still holds back no more than that.
//            A step that can push to nobody takes only from those it has a message under way to, so
//            mass does not run into a member that cannot reach the others.
//
// Saved      Nothing. A member that was stopped joins again, and starts from the values of those
//            that went on: its old values, weight and numbers belong to one that is dead, and would
//            count twice. A whole job that has ended is taken up by start() with the x that was
//            kept.
//
// Threads    One of its own for connections and one for membership; both sleep unless something
//            comes. step(), leave() and destruction: one thread at a time. All else: any thread.
// Blocking   start() not, join() and leave() up to their timeout, events() as told, step() never
//            for another member.
// Memory     s in 64 bits; a message for each peer that has not confirmed, and at most 16 that have
//            arrived and wait for the next step. What was kept for who has gone is freed.
// Ownership  Buffers are lent for the call. Destroyed without leave(), the member is dead to the
//            others. In a forked child it does nothing.
// Security   As everywhere here: who does not know the key can read, and neither take part nor make
//            a member believe anything.
// Source     Kempe, Dobra and Gehrke, FOCS 2003; Assran, Loizou, Ballas and Rabbat, ICML 2019;
//            membership: SWIM with Lifeguard.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/export.h"
#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

class GOSSAMER_API AveragingJob {
 public:
  // Whom a step pushes to. kOnePeerExponential: 1, 2, 4, ... places further in the order of ids, in
  // turn, and anybody where none of those has confirmed the last message. kRandom: anybody who has.
  enum class Peers : uint8_t { kOnePeerExponential = 0, kRandom = 1 };

  // All members give the same key or id, name, count and type.
  struct Options {
    std::string key = {};          // a secret; long and random
    const UniqueId* id = nullptr;  // instead: its key, and its session besides the name
    std::string name = "job";      // jobs of one key and different names do not mix
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64: of x and gradients, and as values travel
    Peers peers = Peers::kOnePeerExponential;
    uint64_t seed = 1;            // of kRandom
    std::string label = {};       // for the others to see; at most 64 bytes
    std::string interfaces = {};  // as GOSSAMER_SOCKET_IFNAME, which holds when empty
    // "first-last", or one port: for UDP and TCP. GOSSAMER_PORT_RANGE holds when empty.
    std::string port_range = {};
    // A member is probed in each; a death is known after about 7 among 10 members.
    std::chrono::milliseconds probe_interval{1'000};
    // A member that does not step for so long while others do is reported as stuck. 0: never.
    std::chrono::milliseconds stuck_after{30'000};
    std::chrono::milliseconds timeout{30'000};  // of join()
  };

  // The first member, with x as its values, weight 1 and step 0.
  //   kInvalidArgument  no key, no elements, a type that is neither float32 nor float64, ...
  //   kSystem           no free port in the range; no descriptor or thread
  static Result<std::unique_ptr<AveragingJob>> start(const Options& options, const void* x);

  // Joins the job of the member at `address`, "host:port" as address() gives it of any member;
  // x becomes that member's values, or another's if it has none. It need not be stepping.
  //   kInvalidArgument  as start(); no address; an address of another IP family
  //   kTimeout          no member there with our key and name, or none that had values to give
  //   kMismatch         the members average another count or type, or do something else
  static Result<std::unique_ptr<AveragingJob>> join(const std::string& address,
                                                    const Options& options, void* x);

  ~AveragingJob();
  AveragingJob(const AveragingJob&) = delete;
  AveragingJob& operator=(const AveragingJob&) = delete;

  // One iteration, as above; x is what the last call returned and is overwritten. `gradient` may be
  // null, and any update that an optimizer computed.
  //   kInvalidArgument  a null x, buffers that overlap, a rate that is not finite
  //   kAborted          leave() was called, or this is a forked child
  Status step(void* x, const void* gradient, double rate);

  // Hands all that this member holds to one peer, exactly once, waits until that and all that is
  // under way from here has been confirmed, tells the others, and ends. The last one has nobody
  // to hand it to.
  //   kTimeout  a peer has not confirmed: the message says what weight is thereby uncertain
  Status leave(std::chrono::milliseconds timeout);

  // "10.0.0.1:4711": what others join() through, while this member lives.
  std::string address() const;

  struct Member {
    uint64_t id = 0;
    std::string address;
    std::string label;
    uint64_t steps = 0;  // as last heard from itself
    bool stuck = false;
    bool self = false;
  };
  // All that are there, as far as this one knows, this one included, by id.
  std::vector<Member> members() const;

  enum class EventKind : uint8_t {
    kJoined,
    kDied,      // what it held is written off
    kLeft,      // what it held was handed on
    kReturned,  // it had been taken for dead; of oneself: the others took this member for dead
    kStuck,     // alive, and does not step while others do
    kMoving,    // steps again
  };
  struct Event {
    EventKind kind = EventKind::kJoined;
    Member member;
  };
  // What happened since the last call, oldest first; waits up to `wait` for something. The latest
  // 65536 are kept.
  std::vector<Event> events(std::chrono::milliseconds wait = std::chrono::milliseconds(0));

  // Where this member's mass is and has been, all of it as weight.
  struct Account {
    double weight = 0;      // held, without what has arrived since the last step
    double under_way = 0;   // sent, not confirmed
    double taken_back = 0;  // sent to members that died or left before they confirmed it
    uint64_t pushes = 0;    // messages sent
    uint64_t takes = 0;     // messages taken
    uint64_t keeps = 0;     // steps that pushed nothing, since no peer was free
  };
  Account account() const;
  double weight() const { return account().weight; }
  uint64_t steps() const;  // begins at the count of the member that values were copied from

 private:
  struct Impl;
  explicit AveragingJob(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

GOSSAMER_API std::string_view name_of(AveragingJob::EventKind kind);

}  // namespace gossamer
