#include "gossip/membership/rumours.h"

namespace gossamer::swim {

void Rumours::spread(MemberId id) {
  drop(id);
  const Rank rank{0, next_age_--, id};
  ranked_.insert(rank);
  by_id_.emplace(id, rank);
}

void Rumours::drop(MemberId id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  ranked_.erase(found->second);
  by_id_.erase(found);
}

void Rumours::count(const Rank& rank, int limit) {
  ranked_.erase(rank);
  if (rank.sent + 1 >= limit) {
    by_id_.erase(rank.id);
    return;
  }
  const Rank next{rank.sent + 1, rank.age, rank.id};
  ranked_.insert(next);
  by_id_.insert_or_assign(rank.id, next);
}

}  // namespace gossamer::swim
