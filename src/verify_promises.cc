// What every collective promises, rank by rank.

#include "gossamer/mixing.h"
#include "src/verify_parts.h"
#include "src/verify_symbols.h"

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

const char* broken_promise(const Proof& proof, Rank rank, const Promise& promise, const Value& v,
                           uint64_t contributors) {
  const bool weighted = proof.call.collective == Collective::kNeighborAverage;
  const bool in_place_of_it =
      v.shift == static_cast<int64_t>(promise.input_first) - static_cast<int64_t>(promise.first);
  // A rank whose neighbors are silent in this round only copies.
  const bool alone = weighted && proof.call.mixing->sources(rank).empty();
  const bool finishes =
      proof.size > 1 && !alone &&
      ((proof.wide && proof.call.codec == nullptr) || proof.call.op == ReduceOp::kAvg);
  // What was encoded is the same value, though not the same bits.
  const bool exact = proof.call.codec == nullptr || promise.is_kept || proof.size == 1;
  if (!v.defined) return "was never written";
  if (v.coded) return "is a byte of a code";
  if (promise.from >= 0) {
    const bool right = exact ? v.hash == leaf_hash(promise.from) : v.contributors == contributors;
    if (right && in_place_of_it) return nullptr;
    return promise.is_kept ? "was input only, and is overwritten" : "is not what its rank put in";
  }
  if (v.contributors != contributors || !in_place_of_it) {
    return weighted ? "is not the sum that its row of the mixing matrix says"
                    : "is not the sum over all ranks";
  }
  return finishes && !v.settled ? "was never settled" : nullptr;
}

}  // namespace gossamer
