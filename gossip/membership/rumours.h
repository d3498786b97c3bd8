// Which members there is news of, and how often it has been passed on. What is said about them is
// looked up when it is sent, so that a rumour is never older than what its sender knows.
//
//   Order      those sent least often first, and of these the newest: fresh news spreads even while
//              a thousand members join.
//   Threads    one thread per object.

#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <vector>

#include "gossip/membership/member.h"

namespace gossamer::swim {

class Rumours {
 public:
  // There is news of `id`: it starts over if there was some already.
  void spread(MemberId id);
  void drop(MemberId id);
  size_t size() const { return ranked_.size(); }

  // Offers ids to `pack` until it returns false, which is when the datagram is full; each one that
  // it took counts as sent once, and is dropped after `limit` times.
  template <class Pack>
  void send(int limit, const Pack& pack) {
    taken_.clear();
    for (const Rank& rank : ranked_) {
      if (!pack(rank.id)) break;
      taken_.push_back(rank);
    }
    for (const Rank& rank : taken_) count(rank, limit);
  }

 private:
  struct Rank {
    int sent;
    uint64_t age;  // lower is newer
    MemberId id;
    // NOLINTNEXTLINE(modernize-use-nullptr): a false alarm about the comparison it generates
    friend auto operator<=>(const Rank&, const Rank&) = default;
  };
  void count(const Rank& rank, int limit);

  std::set<Rank> ranked_;
  std::unordered_map<MemberId, Rank> by_id_;
  std::vector<Rank> taken_;
  uint64_t next_age_ = ~uint64_t{0};
};

}  // namespace gossamer::swim
