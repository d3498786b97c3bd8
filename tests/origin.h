// What every collective leaves where, said element by element: the tests' own statement of it.

#pragma once

#include "src/price.h"

namespace gossamer {

// Element `element` of the input of rank `from`, or of the sum over all inputs (-1).
struct Origin {
  Rank from = -1;
  uint64_t element = 0;
};

// Where element i of `rank`'s output comes from.
inline Origin origin_of(const Call& call, Rank rank, uint64_t i) {
  const auto share = static_cast<Rank>(i / call.count);
  const uint64_t mine = static_cast<uint64_t>(rank) * call.count;
  switch (call.collective) {
    case Collective::kAllReduce:
    case Collective::kReduce:
      return {-1, i};
    case Collective::kReduceScatter:
      return {-1, mine + i};
    case Collective::kAllGather:
    case Collective::kGather:
      return {share, i % call.count};
    case Collective::kBroadcast:
      return {call.root, i};
    case Collective::kScatter:
      return {call.root, mine + i};
    case Collective::kAllToAll:
      return {share, mine + i % call.count};
    case Collective::kNeighborAverage:  // tests/neighbors_test.cc
    case Collective::kNeighborAllGather:
      break;
  }
  return {};
}

}  // namespace gossamer
