#include "src/price.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "gossamer/codec.h"
#include "src/call_buffers.h"
#include "src/check.h"
#include "src/plan.h"
#include "src/price_walk.h"

namespace gossamer {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr uint32_t kPiecesMax = 256;
constexpr double kBlockPieceBytesMin = 32 * 1024;  // smaller pieces only add steps
constexpr double kRoundingFactor = 2;              // see price.h
// Prices this close are a tie; see price.h. With 8 ranks on 2 cores a direct broadcast of 8 KiB
// takes 6.3 us and a tree 9.4, whose prices are 1 % apart.
constexpr double kTie = 0.02;
// What further pieces of a call with a codec have to gain. The walk hides their wake-ups and calls
// behind the link; 4 ranks that share two busy cores pay for them: 25 MiB as fp16 at 1 Gbit/s take
// 6 % less in 32 pieces than in 128, whose price is 1 % lower, and as long when there is no other
// work.
constexpr double kCodedPiecesGain = 0.02;

Rank size_of_group(const Machine& machine) {
  GOSSAMER_CHECK(!machine.host_of.empty());
  return static_cast<Rank>(machine.host_of.size());
}

double bytes_of(const Call& call) {
  return static_cast<double>(call.count) * size_of(call.type);
}

bool accepts(const Algorithm& algorithm, const Call& call, const Machine& machine) {
  Shape shape;
  shape.size = size_of_group(machine);
  shape.root = call.root;
  shape.count = call.count;
  shape.mixing = call.mixing;
  shape.codec = call.codec;
  if (machine.host_of.back() > 0) shape.hosts = machine.host_of;
  return algorithm.collective == call.collective && algorithm.codes == (call.codec != nullptr) &&
         algorithm.accepts(shape);
}

// Bytes of the buffers that the ranks of the fullest host touch, input and output.
double host_bytes(const Call& call, const Machine& machine) {
  std::vector<double> elements(static_cast<size_t>(machine.host_of.back()) + 1, 0);
  for (Rank r = 0; r < size_of_group(machine); ++r) {
    const CallBuffers buffers = buffers_of(call, r, size_of_group(machine));
    elements[static_cast<size_t>(machine.host_of[static_cast<size_t>(r)])] +=
        static_cast<double>(buffers.input_count + buffers.output_count);
  }
  return *std::max_element(elements.begin(), elements.end()) * size_of(call.type);
}

bool rounds_at_every_fold(const Algorithm& algorithm, const Call& call) {
  if (call.codec != nullptr) return !algorithm.rounds_once;
  Algorithm ideal = algorithm;
  ideal.rounds_once = true;
  return accumulates_wide(ideal, call) && !accumulates_wide(algorithm, call);
}

uint32_t pieces_max(const Call& call, const Machine& machine) {
  double block_bytes = bytes_of(call);
  if (call.collective == Collective::kAllReduce) block_bytes /= size_of_group(machine);
  uint32_t pieces = 1;
  while (pieces < kPiecesMax && block_bytes / (2 * pieces) >= kBlockPieceBytesMin) pieces *= 2;
  return pieces;
}

// As if the call were in place, or were not.
double price_placed(const Algorithm& algorithm, const Call& call, uint32_t pieces, bool in_place,
                    const Machine& machine) {
  const uint64_t piece_count = (call.count + pieces - 1) / pieces;
  const double whole_bytes = host_bytes(call, machine);
  const PieceCost cost =
      walk_piece(algorithm, call, piece_count, whole_bytes / pieces <= machine.cache_bytes,
                 whole_bytes > machine.cache_bytes, in_place, machine);
  const double first = std::max(
      {cost.path_us, cost.port_us, cost.cores_us + cost.waits_us + cost.idle_us, cost.memory_us});
  // While one piece waits, a rank goes on with another: a further piece adds one switch at most.
  const double further =
      std::max({cost.rank_us, cost.port_us, cost.cores_us + cost.switch_us, cost.memory_us});
  return first + further * (pieces - 1);
}

// Whether it takes a codec like the call's, on some machine.
bool takes_codec(const Algorithm& algorithm, const Call& call) {
  static constexpr std::array<Rank, 4> kTwoHosts = {0, 0, 1, 1};
  Shape shape;
  shape.size = 4;
  shape.count = call.count;
  shape.mixing = call.mixing;
  shape.codec = call.codec;
  return has_graph(call.collective) || algorithm.accepts(shape) || [&] {
    shape.hosts = kTwoHosts;
    return algorithm.accepts(shape);
  }();
}

const char* why_not(const Algorithm& algorithm, const Call& call, const Machine& machine) {
  if (call.codec != nullptr && !takes_codec(algorithm, call)) {
    if (call.codec->traits().votes) return "counts no votes";
    if (call.codec->sums() != nullptr) return "decodes before it adds";
    if (algorithm.accepts == has_adding_codec) return "needs codes that are added as they are";
    return call.codec->traits().sparse ? "takes no sparse codec" : "needs a sparse codec";
  }
  return machine.host_of.back() == 0 ? "needs ranks on two hosts or more"
                                     : "does not fit this number of ranks and hosts";
}

// The best power of two, or with a codec the least that is nearly as good; prices fall and then
// rise with the number of pieces, so the search stops where they have clearly risen.
Candidate cheapest(const Algorithm& algorithm, const Call& call, const Machine& machine) {
  Candidate best;
  best.algorithm = &algorithm;
  best.predicted_us = kInfinity;
  if (!accepts(algorithm, call, machine)) {
    best.why_not = why_not(algorithm, call, machine);
    return best;
  }
  const uint32_t last = pieces_max(call, machine);
  std::vector<double> prices;  // of 1, 2, 4, ... pieces
  for (uint32_t pieces = 1; pieces <= last; pieces *= 2) {
    prices.push_back(price(algorithm, call, pieces, machine));
    if (prices.back() > 1.25 * *std::min_element(prices.begin(), prices.end())) break;
  }
  const double least = *std::min_element(prices.begin(), prices.end());
  const double enough = call.codec != nullptr ? least * (1 + kCodedPiecesGain) : least;
  const auto chosen =
      std::find_if(prices.begin(), prices.end(), [&](double us) { return us <= enough; });
  best.predicted_us = *chosen;
  best.pieces = uint32_t{1} << (chosen - prices.begin());
  // One exchange, which transports fold as it arrives: it runs whole at the price of its pieces,
  // which would only add messages. 8 ranks at 1 Gbit/s, 16 MiB: 256 pieces take 1.04 times as long
  // as a plain exchange, one takes 1.01.
  if (has_graph(call.collective)) best.pieces = 1;
  return best;
}

}  // namespace

double price(const Algorithm& algorithm, const Call& call, uint32_t pieces,
             const Machine& machine) {
  GOSSAMER_CHECK(pieces >= 1);
  if (!accepts(algorithm, call, machine)) return kInfinity;
  if (call.count == 0) return 0;
  if (size_of_group(machine) == 1) {
    return machine.step_us + bytes_of(call) * machine.copy_us_per_byte;
  }
  const double apart = price_placed(algorithm, call, pieces, false, machine);
  if (!reduces(call.collective)) return apart;
  return std::max(apart, price_placed(algorithm, call, pieces, true, machine));
}

std::vector<Candidate> candidates(const Call& call, const Machine& machine,
                                  const std::string& only) {
  std::vector<Candidate> found;
  for (const Algorithm* algorithm : algorithms()) {
    if (algorithm->collective == call.collective && algorithm->codes == (call.codec != nullptr)) {
      found.push_back(cheapest(*algorithm, call, machine));
    }
  }
  const auto key = [&](const Candidate& c) {
    const double factor = rounds_at_every_fold(*c.algorithm, call) ? kRoundingFactor : 1;
    const bool chosen = c.why_not.empty() && only == c.algorithm->name;
    return chosen ? -1 : c.predicted_us * factor;
  };
  const auto cheaper = [&](const Candidate& a, const Candidate& b) { return key(a) < key(b); };
  if (found.empty()) return found;
  const double least = key(*std::min_element(found.begin(), found.end(), cheaper));
  const double most = least + kTie * std::abs(least);
  const auto chosen =
      std::find_if(found.begin(), found.end(), [&](const Candidate& c) { return key(c) <= most; });
  std::rotate(found.begin(), chosen, chosen + 1);
  std::stable_sort(found.begin() + 1, found.end(), cheaper);
  return found;
}

}  // namespace gossamer
