#include "src/plan.h"

#include <algorithm>
#include <numeric>

#include "gossamer/codec.h"
#include "gossamer/mixing.h"
#include "src/call_buffers.h"
#include "src/check.h"

namespace gossamer {
namespace {

constexpr uint64_t kGranuleBytes = 64;  // a cache line: no two blocks share one in aligned buffers

// Cuts [0, count) like Shape::range cuts blocks, so that pieces begin on granules too.
Slice piece_of(uint64_t count, uint64_t granule, uint32_t pieces, uint32_t index) {
  Shape cutter;
  cutter.size = static_cast<Rank>(pieces);
  cutter.count = count;
  cutter.granule = granule;
  return cutter.block(index);
}

// A group of one: the result is the input, whatever the collective; but of votes, which have other
// values than what they are votes of, it is the rank's own.
void emit_alone(const Call& call, Builder& b) {
  if (call.collective == Collective::kNeighborAllGather) return;  // nobody is its neighbor
  const Slice input = {Buffer::kInput, 0, call.count};
  const Slice output = {Buffer::kOutput, 0, call.count};
  const bool votes = call.codec != nullptr && call.codec->traits().votes;
  if (!votes || !reduces(call.collective)) return b.copy(input, output);
  const Slice code = b.code(call.count);
  b.encode(input, code, output, Builder::Residual::kOfElements);
  b.decode(code, output);
}

}  // namespace

bool accumulates_wide(const Algorithm& algorithm, const Call& call) {
  // Codecs decode into fp32.
  if (call.codec != nullptr) return call.type != DataType::kFloat32 && sums(call.collective);
  if (call.collective == Collective::kNeighborAverage) {
    // With one source, the fold is the only one and rounds once by itself.
    return is_narrow_float(call.type) && call.mixing != nullptr && call.mixing->sources_max() > 1;
  }
  const bool rounds = call.op == ReduceOp::kSum || call.op == ReduceOp::kProd ||
                      call.op == ReduceOp::kAvg || call.op == ReduceOp::kPreMulSum;
  return reduces(call.collective) && algorithm.rounds_once && is_narrow_float(call.type) && rounds;
}

Schedule build_schedule(const Algorithm& algorithm, const Call& call, Rank rank, Rank size,
                        std::span<const Rank> hosts, uint32_t pieces, uint8_t lanes) {
  GOSSAMER_CHECK(pieces >= 1 && lanes >= 1 && size_of(call.type) > 0);
  GOSSAMER_CHECK(hosts.empty() || hosts.size() == static_cast<size_t>(size));
  Builder b({.collective = call.collective,
             .rank = rank,
             .size = size,
             .root = call.root,
             .count = call.count,
             .in_place = call.in_place,
             .wide = accumulates_wide(algorithm, call),
             .finishes = reduces(call.collective) && call.op == ReduceOp::kAvg,
             .codec = call.codec,
             .element_bytes = size_of(call.type)});
  if (size == 1) {
    emit_alone(call, b);
    return b.finish();
  }

  Shape shape;
  shape.rank = rank;
  shape.size = size;
  shape.root = call.root;
  shape.wide = accumulates_wide(algorithm, call);
  shape.granule = std::max<uint64_t>(1, kGranuleBytes / size_of(call.type));
  if (call.codec != nullptr) shape.granule = std::lcm(shape.granule, call.codec->block());
  shape.hosts = hosts;
  shape.in_place = buffers_of(call, rank, size).in_place;
  shape.eager_count = call.eager_bytes / size_of(call.type);
  shape.stride = call.count;
  shape.mixing = call.mixing;
  shape.codec = call.codec;

  std::vector<Slice> ranges;
  std::vector<int> rounds;
  for (uint32_t i = 0; i < pieces; ++i) {
    ranges.push_back(piece_of(call.count, shape.granule, pieces, i));
    shape.count = ranges.back().count;
    rounds.push_back(shape.count == 0 ? 0 : algorithm.rounds(shape));
  }
  const int rounds_max = *std::max_element(rounds.begin(), rounds.end());
  for (int time = 0; time < rounds_max + static_cast<int>(pieces) - 1; ++time) {
    // The youngest piece first: its first messages wait for nothing, and on a lane they must not
    // queue behind those of an older piece that do.
    const int oldest = std::max(0, time - rounds_max + 1);
    for (int i = std::min(time, static_cast<int>(pieces) - 1); i >= oldest; --i) {
      const auto piece = static_cast<size_t>(i);
      if (time - i >= rounds[piece]) continue;
      shape.count = ranges[piece].count;
      b.begin_piece(ranges[piece].first, static_cast<Lane>(i % lanes));
      algorithm.emit(shape, time - i, b);
    }
  }
  return b.finish();
}

}  // namespace gossamer
