#include "src/call_buffers.h"

#include "gossamer/mixing.h"

namespace gossamer {
namespace {

// Asked for in every call, and so without Mixing::sources(), which makes a list.
uint64_t source_count(const Mixing& mixing, Rank rank) {
  uint64_t count = 0;
  for (const Weight& w : mixing.row(rank)) count += w.rank != rank ? 1 : 0;
  return count;
}

}  // namespace

CallBuffers buffers_of(const Call& call, Rank rank, Rank size) {
  const bool is_root = rank == call.root;
  const uint64_t all = call.count * shares_of(call.collective, size);
  CallBuffers b{.input_count = call.count, .output_count = call.count};
  switch (call.collective) {
    case Collective::kAllReduce:
      b.in_place = call.in_place;
      break;
    case Collective::kAllGather:
      b.output_count = all;
      b.in_place = call.in_place;
      b.input_first = call.count * static_cast<uint64_t>(rank);
      break;
    case Collective::kBroadcast:
      b.input_count = is_root ? call.count : 0;
      b.in_place = call.in_place && is_root;
      break;
    case Collective::kReduce:
      b.output_count = is_root ? call.count : 0;
      b.in_place = call.in_place && is_root;
      break;
    case Collective::kReduceScatter:
      b.input_count = all;
      b.in_place = call.in_place;
      b.output_first = call.count * static_cast<uint64_t>(rank);
      break;
    case Collective::kAllToAll:
      b.input_count = b.output_count = all;
      break;
    case Collective::kGather:
      b.output_count = is_root ? all : 0;
      b.in_place = call.in_place && is_root;
      b.input_first = call.count * static_cast<uint64_t>(rank);
      break;
    case Collective::kScatter:
      b.input_count = is_root ? all : 0;
      b.in_place = call.in_place && is_root;
      b.output_first = call.count * static_cast<uint64_t>(rank);
      break;
    case Collective::kNeighborAverage:
      b.in_place = call.in_place;
      break;
    case Collective::kNeighborAllGather:
      b.output_count = call.mixing == nullptr ? all : call.count * source_count(*call.mixing, rank);
      break;
  }
  if (!b.in_place) b.input_first = b.output_first = 0;
  return b;
}

const char* in_place_rule(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce:
    case Collective::kBroadcast:
    case Collective::kReduce:
    case Collective::kNeighborAverage:
      return "in place means input == output";
    case Collective::kAllGather:
      return "in place means input == output + rank * count";
    case Collective::kGather:
      return "in place means input == output + root * count";
    case Collective::kReduceScatter:
      return "in place means output == input + rank * count";
    case Collective::kScatter:
      return "in place means output == input + root * count";
    case Collective::kAllToAll:
    case Collective::kNeighborAllGather:
      break;
  }
  return "it is never in place, so give it an output of its own";
}

}  // namespace gossamer
