// Shape's arithmetic and the Builder: checks slices, moves them into place, leaves out what does
// nothing. Edges come from src/edges.h.

#include <algorithm>

#include "gossamer/schedule.h"
#include "src/call_buffers.h"
#include "src/check.h"
#include "src/edges.h"

namespace gossamer {

Slice Shape::range(int64_t index, Rank blocks) const {
  const Rank first = wrap(index);
  GOSSAMER_CHECK(blocks >= 0 && first + blocks <= size);
  // Whole granules where every block gets at least one, else single elements.
  const auto n = static_cast<uint64_t>(size);
  const uint64_t unit = granule > 1 && count / granule >= n ? granule : 1;
  const uint64_t units = (count + unit - 1) / unit;
  const uint64_t base = units / n;
  const uint64_t rest = units % n;
  const auto boundary = [&](uint64_t block) {
    return std::min(count, (block * base + std::min(block, rest)) * unit);
  };
  const auto index_first = static_cast<uint64_t>(first);
  const uint64_t begin = boundary(index_first);
  const uint64_t end = boundary(index_first + static_cast<uint64_t>(blocks));
  return {Buffer::kOutput, begin, end - begin};
}

Slice Shape::share(int64_t index) const {
  const uint64_t step = stride == 0 ? count : stride;
  return {Buffer::kOutput, static_cast<uint64_t>(wrap(index)) * step, count};
}

Builder::Builder(const Options& options) : options_(options) {
  GOSSAMER_CHECK(options.size >= 1 && options.rank >= 0 && options.rank < options.size);
  const CallBuffers buffers = buffers_of({.collective = options.collective,
                                          .count = options.count,
                                          .in_place = options.in_place,
                                          .root = options.root},
                                         options.rank, options.size);
  in_place_ = buffers.in_place;
  input_first_ = buffers.input_first;
  output_first_ = buffers.output_first;
}

void Builder::send(Rank to, Slice from) {
  push(Verb::kSend, to, place(from), {});
}

void Builder::recv(Rank from, Slice into) {
  push(Verb::kRecv, from, {}, place(into));
}

void Builder::recv_reduce(Rank from, Slice into, Slice operand) {
  push(Verb::kRecvReduce, from, place(operand), place(into));
}

void Builder::recv_mix(Rank from, Slice into, Slice operand, const Factors& factors) {
  push(Verb::kRecvReduce, from, place(operand), place(into), factors);
}

void Builder::copy(Slice from, Slice into, double factor) {
  const Slice source = place(from);
  const Slice target = place(into);
  if (source != target || factor != 1) push(Verb::kCopy, -1, source, target, {factor, 1});
}

void Builder::reduce(Slice from, Slice into) {
  push(Verb::kReduce, -1, place(from), place(into));
}

void Builder::settle(Slice accumulated, Slice result) {
  const Slice source = place(accumulated);
  const Slice target = place(result);
  if (options_.finishes || source.buffer == Buffer::kWide) {
    push(Verb::kSettle, -1, source, target);
  } else if (source != target) {
    push(Verb::kCopy, -1, source, target);
  }
}

Slice Builder::scratch(uint64_t count, int index) {
  for (const Region& region : scratch_) {
    if (region.piece == piece_first_ && region.output == nest_output_.first &&
        region.count == count && region.index == index) {
      return {Buffer::kScratch, region.first, count};
    }
  }
  scratch_.push_back({piece_first_, nest_output_.first, count, index, schedule_.scratch_count});
  schedule_.scratch_count += count;
  return {Buffer::kScratch, scratch_.back().first, count};
}

Slice Builder::accumulator(Slice result) {
  if (!options_.wide) return result;
  const Slice at = place(result);
  GOSSAMER_CHECK(at.buffer == Buffer::kOutput || at.buffer == Buffer::kScratch);
  for (const Accumulator& known : accumulators_) {
    if (known.result == at) return {Buffer::kWide, known.first, at.count};
  }
  accumulators_.push_back({at, schedule_.wide_count});
  schedule_.wide_count += at.count;
  return {Buffer::kWide, accumulators_.back().first, at.count};
}

void Builder::begin_piece(uint64_t first, Lane lane) {
  piece_first_ = first;
  lane_ = lane;
  lane_max_ = std::max(lane_max_, lane);
}

void Builder::nest(std::span<const Rank> ranks, Slice output, Slice input) {
  nest_ranks_.assign(ranks.begin(), ranks.end());
  nest_output_ = ranks.empty() ? Slice{} : output;
  nest_input_ = ranks.empty() ? Slice{} : input;
}

Schedule Builder::finish() {
  schedule_.lanes = static_cast<uint8_t>(lane_max_ + 1);
  if (!schedule_.factors.empty()) schedule_.factors.resize(schedule_.steps.size());
  derive_edges(&schedule_);
  return std::move(schedule_);
}

// From an algorithm's point of view to the call's: out of the nested algorithm, into the piece, and
// into the memory of both where input and output share it.
Slice Builder::place(Slice slice) const {
  if (!nest_ranks_.empty()) {
    if (slice.buffer == Buffer::kInput) {
      slice = {nest_input_.buffer, nest_input_.first + slice.first, slice.count};
    } else if (slice.buffer == Buffer::kOutput) {
      slice = {nest_output_.buffer, nest_output_.first + slice.first, slice.count};
    }
  }
  if (slice.buffer == Buffer::kScratch || slice.buffer == Buffer::kWide) return slice;
  slice.first += piece_first_;
  if (in_place_) {
    slice.first += slice.buffer == Buffer::kInput ? input_first_ : output_first_;
    slice.buffer = Buffer::kOutput;
  }
  return slice;
}

// Slices are in place already.
void Builder::push(Verb verb, Rank peer, Slice from, Slice into, const Factors& factors) {
  Step step;
  step.verb = verb;
  step.lane = lane_;
  step.count = std::max(from.count, into.count);
  if (step.count == 0) return;
  if (step.is_message()) {
    if (!nest_ranks_.empty()) {
      GOSSAMER_CHECK(peer >= 0 && static_cast<size_t>(peer) < nest_ranks_.size());
      peer = nest_ranks_[static_cast<size_t>(peer)];
    }
    GOSSAMER_CHECK(peer >= 0 && peer < options_.size && peer != options_.rank);
    step.peer = peer;
  }
  if (step.reads_from()) {
    GOSSAMER_CHECK(from.count == step.count);
    step.from_buffer = from.buffer;
    step.from_first = from.first;
  }
  if (step.writes_into()) {
    GOSSAMER_CHECK(into.count == step.count && into.buffer != Buffer::kInput);
    step.into_buffer = into.buffer;
    step.into_first = into.first;
  }
  if (step.reads_from() && step.writes_into() && from.buffer == into.buffer) {
    const uint64_t apart =
        from.first < into.first ? into.first - from.first : from.first - into.first;
    GOSSAMER_CHECK(apart == 0 || apart >= step.count);
  }
  schedule_.steps.push_back(step);
  if (factors == Factors{}) return;
  schedule_.factors.resize(schedule_.steps.size());
  schedule_.factors.back() = factors;
}

}  // namespace gossamer
