// sim: N ranks in one thread, in virtual time. A SimNetwork holds what is in flight and one clock;
// every rank's transport is a view of it. Equal seeds give equal runs, event for event.
//
//   Model      LogGP's network part: a message waits for its sender's transmit port, occupies it
//              for bytes * ns_per_byte, arrives latency (plus seeded jitter) later, and occupies
//              the receiver's port likewise. Computing takes no virtual time.
//   Sends      up to eager_bytes are copied and complete when they have left the port; longer ones
//              are read from the sender's buffer when they are received.
//   Driving    poll every rank that take_ready() names; when it names none, advance(). With
//              Options::self_driven a rank's poll() advances by itself when it has nothing to do.
//   Scale      state per link exists from its first message on; thousands of ranks are fine.
//   Threads    one. Ownership: transports keep their network alive.
//   Units      nanoseconds of virtual time.

#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "gossamer/transport.h"

namespace gossamer {

class SimNetwork : public std::enable_shared_from_this<SimNetwork> {
 public:
  struct Link {
    uint64_t latency_ns = 1'000;
    double ns_per_byte = 0.1;  // 10 GB/s
  };
  struct Options {
    Rank size = 1;
    uint64_t seed = 1;
    uint8_t lanes = 4;
    uint32_t window = 64;
    uint64_t eager_bytes = 16 * 1024;
    uint64_t jitter_ns = 0;  // each message: uniformly up to this much later
    bool self_driven = false;
    std::function<Link(Rank from, Rank to)> link = {};  // empty: Link{} everywhere
  };
  struct Counters {
    uint64_t messages = 0;
    uint64_t bytes = 0;
    uint64_t events = 0;
  };

  static std::shared_ptr<SimNetwork> create(Options options);

  // The transport of one rank; once per rank.
  std::unique_ptr<Transport> attach(Rank rank);

  uint64_t now_ns() const { return now_ns_; }
  const Counters& counters() const { return counters_; }

  // Goes on to the next event. False: nothing is in flight, so nothing will ever happen.
  bool advance();
  // Ranks for which poll() may have something to do since the last call, each once, in order.
  std::vector<Rank> take_ready();

  // From now on nothing sent between a and b arrives, and nobody is told: a partition.
  void cut(Rank a, Rank b);
  // The rank stops in the middle of what it does; its peers are told after the link's latency.
  void crash(Rank rank);

 private:
  friend class SimTransport;
  struct Letter {
    Message message;
    Token token = 0;
    std::vector<std::byte> copy;  // eager: the bytes themselves
    bool eager = false;
  };
  struct Posted {
    Sink sink;
    Token token = 0;
  };
  // What one peer has sent to this rank on one lane.
  struct Channel {
    std::deque<Letter> letters;  // in flight or arrived
    size_t arrived = 0;          // how many of them have arrived
    uint64_t last_ns = 0;        // when the last one will
    std::deque<Posted> posted;
  };
  struct Node {
    bool attached = false;
    bool gone = false;
    bool ready = false;  // is in ready_
    uint64_t transmit_free_ns = 0;
    uint64_t receive_free_ns = 0;
    std::unordered_map<uint64_t, Channel> inbox;  // by peer * 256 + lane
    std::vector<uint64_t> arrivals;               // channels of the inbox to look at
    std::vector<Token> completed;
    std::unordered_map<Rank, uint32_t> outstanding;  // sends that wait for their receiver
    std::vector<Rank> opened_by;
    std::unordered_set<Rank> lost;     // peers known to be gone
    std::unordered_set<Rank> crashed;  // of those, the ones that did not leave in good order
    Fault notice;
  };
  enum class What : uint8_t { kArrival, kSent, kLeft, kCrashed, kNotice };
  struct Event {
    uint64_t time_ns;
    uint64_t sequence;  // equal times: in the order they were made
    What what;
    Rank from;
    Rank to;
    uint64_t detail;  // channel, token or index of a notice
    bool operator>(const Event& other) const {
      return time_ns != other.time_ns ? time_ns > other.time_ns : sequence > other.sequence;
    }
  };

  explicit SimNetwork(Options options);
  Node& node(Rank rank) { return nodes_[static_cast<size_t>(rank)]; }
  Link link(Rank from, Rank to) const { return options_.link ? options_.link(from, to) : Link{}; }
  bool is_cut(Rank a, Rank b) const;
  void wake(Rank rank);
  void schedule(uint64_t time_ns, What what, Rank from, Rank to, uint64_t detail);
  void launch(Rank from, Rank to, Lane lane, Channel* channel, uint64_t bytes, bool eager,
              Token token);
  void leave(Rank rank, What how);

  Options options_;
  std::mt19937_64 random_;
  uint64_t now_ns_ = 0;
  uint64_t next_sequence_ = 0;
  Counters counters_;
  std::vector<Node> nodes_;
  std::vector<Rank> ready_;
  std::vector<Fault> notices_;
  std::unordered_set<uint64_t> cuts_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

}  // namespace gossamer
