// What every collective promises, rank by rank.

#include "gossamer/mixing.h"
#include "src/verify_parts.h"

namespace gossamer {
namespace {

// The shares of a buffer in rank order, from `first` on: share r comes from rank r.
void promise_shares(const Proof& proof, uint64_t input_first, std::vector<Promise>* promises) {
  const uint64_t count = proof.call.count;
  for (Rank r = 0; r < proof.size; ++r) {
    promises->push_back({count * static_cast<uint64_t>(r), count, r, input_first, false});
  }
}

// In place, what lies around the output in the memory of both is input and stays so.
void promise_to_keep(const Memory& memory, Rank rank, std::vector<Promise>* promises) {
  const uint64_t end = memory.output_first + memory.output_count;
  promises->push_back({0, memory.output_first, rank, 0, true});
  promises->push_back({end, memory.both_count() - end, rank, end, true});
}

}  // namespace

std::vector<Promise> promises_of(const Proof& proof, Rank rank) {
  const Call& call = proof.call;
  const Memory memory(proof, rank);
  const uint64_t own = call.count * static_cast<uint64_t>(rank);
  std::vector<Promise> promises;
  if (memory.in_place && memory.both_count() > memory.output_count) {
    promise_to_keep(memory, rank, &promises);
  }
  switch (call.collective) {
    case Collective::kAllReduce:
      promises.push_back({0, call.count, -1, 0, false});
      break;
    case Collective::kReduce:
      promises.push_back({0, memory.output_count, -1, 0, false});
      break;
    case Collective::kReduceScatter:
      promises.push_back({memory.output_first, call.count, -1, own, false});
      break;
    case Collective::kBroadcast:
      promises.push_back({0, call.count, call.root, 0, false});
      break;
    case Collective::kScatter:
      promises.push_back({memory.output_first, call.count, call.root, own, false});
      break;
    case Collective::kAllGather:
      promise_shares(proof, 0, &promises);
      break;
    case Collective::kGather:
      if (memory.output_count > 0) promise_shares(proof, 0, &promises);
      break;
    case Collective::kAllToAll:
      promise_shares(proof, own, &promises);
      break;
    case Collective::kNeighborAverage:
      promises.push_back({0, call.count, -1, 0, false});
      break;
    case Collective::kNeighborAllGather:
      for (const Rank source : call.mixing->sources(rank)) {
        promises.push_back({call.count * promises.size(), call.count, source, 0, false});
      }
      break;
  }
  return promises;
}

}  // namespace gossamer
