// All members that one of them knows, itself included: whom to probe next, whom to ask, what to
// compare with another member, and the dead for as long as they must be remembered.
//
//   Order      Each pass over the living is shuffled, and a newcomer takes a random place in it, so
//              that a member is probed by everybody once in at most 2n - 1 periods (A. Das,
//              I. Gupta, A. Motivala, "SWIM: scalable weakly-consistent infection-style process
//              group membership protocol", DSN 2002, 4.3).
//   The dead   block late rumours that they live, and are asked now and then whether the network
//              only was divided. At most kTombstonesMax, the oldest go first.
//   Threads    one thread per object.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "gossip/membership/datagram.h"
#include "gossip/membership/suspicion.h"

namespace gossamer::swim {

// A seeded generator of 8 bytes: thousands of members in one process have one each (splitmix64, by
// S. Vigna).
class Random {
 public:
  using result_type = uint64_t;
  explicit Random(uint64_t seed) : state_(seed) {}
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()();
  size_t below(size_t bound) { return static_cast<size_t>((*this)() % bound); }
  double real() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }  // [0, 1)

 private:
  uint64_t state_;
};

class Roster {
 public:
  static constexpr size_t kTombstonesMax = 4'096;

  struct Entry {
    MemberId id = 0;
    Endpoint address;
    std::string metadata;
    uint64_t progress = 0;
    uint32_t incarnation = 0;
    MemberState state = MemberState::kAlive;
    bool stuck = false;

    bool is_live() const { return state <= MemberState::kSuspect; }
  };

  Roster(const Entry& self, uint64_t seed);

  MemberId self_id() const { return self_; }
  const Entry& self() const { return entries_.at(self_); }
  const Entry* find(MemberId id) const;
  size_t live() const { return order_.size() + (self().is_live() ? 1 : 0); }
  size_t dead() const { return tombstones_.size(); }
  const Digests& digests() const { return digests_; }
  const std::unordered_map<MemberId, Entry>& entries() const { return entries_; }

  // Whatever changes an entry goes through here. An id that is new gets its entry.
  void put(const Entry& entry, Instant now);
  void set_progress(MemberId id, uint64_t progress);
  // Forgets those who died before `since`.
  void forget(Instant since);

  // The next to probe; nothing when there is nobody else.
  const Entry* next_target();
  // Up to `count` living others, each once, at random.
  std::vector<const Entry*> pick(size_t count);
  // The same without suspects and `except`: those who are likely to answer.
  std::vector<const Entry*> pick_helpers(size_t count, MemberId except);
  // One of the dead that did not leave and whose address is known, at random; or nothing.
  const Entry* pick_dead();
  Random& random() { return random_; }

 private:
  struct Tombstone {
    Instant since;
    MemberId id;
  };
  template <class Suits>
  std::vector<const Entry*> pick_suitable(size_t count, const Suits& suits);
  void enter_order(MemberId id);
  void leave_order(MemberId id);
  void count_in_digest(const Entry& entry);

  MemberId self_;
  Random random_;
  std::unordered_map<MemberId, Entry> entries_;
  std::vector<MemberId> order_;  // the living but oneself
  size_t next_ = 0;              // in order_
  std::deque<Tombstone> tombstones_;
  Digests digests_{};
};

}  // namespace gossamer::swim
