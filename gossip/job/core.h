// What the steps of an averaging job and its connections share: the ledger, who is there, what has
// arrived and waits to be taken, what is to be answered.
//
//   Threads   all of it is guarded by m; methods are called with m held.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include "gossip/job/frames.h"
#include "gossip/job/ledger.h"
#include "src/net.h"

namespace gossamer::job {

struct Peer {
  SocketAddress address;  // for connections
  bool slow = false;      // suspect or stuck
  bool leaving = false;   // takes nothing more
  bool reached = false;   // it has welcomed our connection
};

struct Arrival {
  PeerId from;
  Packet packet;
};

struct Reply {
  PeerId to;
  Head head;
};

// Packets that have arrived and wait for a step; beyond, senders wait.
inline constexpr size_t kInboxMax = 16;

struct Core {
  Core(uint64_t count, DataType type) : ledger(count, type) {}

  // Takes what has arrived, of all or of one peer.
  void take_inbox();
  // In a step that can push to nobody: of those alone whom a packet of ours has reached or will, so
  // that mass does not gather where it cannot go on; but no two ever wait for each other.
  void take_exchanges();
  void take_inbox_of(PeerId from);
  // Everything known of the peer goes; what has arrived of it is taken before.
  void remove(PeerId id);

  bool may_push(PeerId id) const;
  // Whom to push to in the step of this number, 0: nobody is free.
  PeerId choose_exponential(uint64_t turn);
  PeerId choose_random();
  // Whether nothing is under way from here.
  bool all_confirmed() const;
  // Peers that take something.
  size_t taking() const;

  PeerId self = 0;  // set before there are threads
  std::mutex m;
  std::condition_variable changed;  // anything here

  Ledger ledger;
  std::map<PeerId, Peer> peers;  // those that average the same, without this one
  std::vector<Arrival> inbox;
  std::vector<Reply> replies;
  uint64_t steps = 0;
  uint64_t keeps = 0;
  uint64_t steps_heard = 0;  // of the sender of the packet taken last
  PeerId asked = 0;          // by a newcomer, for its first packet; 0: nobody
  bool asked_in_vain = false;
  bool leaving = false;  // no more steps
  bool closed = false;   // what arrives is refused
  bool stopping = false;
  std::mt19937_64 random;

 private:
  void take(Arrival&& arrival);
  void take_some(const std::function<bool(PeerId)>& which);
};

}  // namespace gossamer::job
