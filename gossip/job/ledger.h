// One member's part of a push-sum over members that come and go, without sockets, clocks and
// threads: what it holds, what is under way from it, and what it has taken, each message once. The
// same code runs between processes and, hundreds at once, in a simulation that loses messages.
//
//   Lane       of messages to one peer: one at a time, numbered 1, 2, ...; kept until the peer has
//              confirmed it, and sent again as often as need be. Lanes are numbered too, upwards
//              through all peers, so that a message of a lane that was given up is told from one
//              of its successor, whatever comes late.
//   Mass       a message is taken from what is held, to the bit, before it is sent: at any time the
//              mass is what members hold and what is under way and not yet taken. It changes by
//              begin(), adapt(), and when a peer is forgotten: see averaging_job.h.
//   Threads    one thread at a time. Packets are never changed once made.
//   Memory     a packet per peer that has not confirmed, some numbers per peer until forget().

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/types.h"

namespace gossamer::job {

using PeerId = uint64_t;

struct Packet {
  uint64_t lane = 0;      // not 0
  uint64_t sequence = 0;  // not 0
  uint64_t steps = 0;     // of the sender
  double weight = 0;      // above 0
  bool wide = false;      // elements are float64, whatever the job's type is
  std::vector<std::byte> elements;
};

// Packets whose pairs are scaled up: see Weight in averaging_job.h.
inline constexpr double kWeightFloor = 0x1p-512;

class Ledger {
 public:
  enum class Taken : uint8_t {
    kTaken,
    kBefore,       // it was taken already: confirm it again
    kUnknownLane,  // of a lane whose beginning was not seen, or that was given up: refuse it
    kMalformed,    // no message of such a job
  };
  struct Totals {
    double under_way = 0;
    double taken_back = 0;
    uint64_t pushes = 0;
    uint64_t takes = 0;
  };

  Ledger(uint64_t count, DataType type);  // float32 or float64

  void begin(const void* z);  // (z, 1); without it, nothing is held
  double weight() const { return weight_; }
  std::span<const double> mass() const { return mass_; }
  bool value(void* z) const;  // false, and z as it was, while nothing is held
  void adapt(const void* gradient, double rate);

  // Whether push() would send: something is held, and nothing unconfirmed is on the way there.
  bool may_push(PeerId to) const;
  // Half of what is held, or all of it. Null where may_push() is false.
  std::shared_ptr<const Packet> push(PeerId to, uint64_t steps);
  std::shared_ptr<const Packet> push_all(PeerId to, uint64_t steps);
  // What is to be sent to this peer again and again; null: nothing.
  std::shared_ptr<const Packet> under_way(PeerId to) const;
  // The peer has confirmed this message. False where it was not the one under way.
  bool confirm(PeerId to, uint64_t lane, uint64_t sequence);

  Taken take(PeerId from, const Packet& packet);

  // The peer has not taken what is under way to it, or does not know the lane: takes it back. The
  // next message to it begins a new lane.
  void take_back(PeerId to);
  // The peer is gone: takes back what is under way to it, and drops what is known of it.
  void forget(PeerId peer);

  Totals totals() const;
  size_t peers_known() const { return out_.size() + in_.size(); }

 private:
  struct Out {
    uint64_t lane = 0;
    uint64_t sequence = 0;
    std::shared_ptr<const Packet> packet;
  };
  struct In {
    uint64_t lane = 0;
    uint64_t sequence = 0;
  };
  std::shared_ptr<const Packet> send(PeerId to, uint64_t steps, double share);
  void add(const Packet& packet);
  void keep_off_the_floor();

  const uint64_t count_;
  const DataType type_;
  std::vector<double> mass_;
  double weight_ = 0;
  uint64_t lanes_ = 0;
  std::map<PeerId, Out> out_;
  std::map<PeerId, In> in_;
  Totals totals_;
};

}  // namespace gossamer::job
