// Shape's arithmetic and the Builder: checks slices, moves them into place, leaves out what does
// nothing. Edges come from src/edges.h.

#include <algorithm>

#include "gossamer/code_sums.h"
#include "gossamer/codec.h"
#include "gossamer/schedule.h"
#include "src/call_buffers.h"
#include "src/check.h"
#include "src/edges.h"
#include "src/packing.h"

namespace gossamer {
namespace {

constexpr uint64_t kCodeAlign = 64;  // no two codes share a cache line

}  // namespace

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

bool has_plain_codec(const Shape& shape) {
  return has_codec(shape) && !has_vote_codec(shape) && !has_adding_codec(shape);
}

bool has_sparse_codec(const Shape& shape) {
  return has_plain_codec(shape) && shape.codec->traits().sparse;
}

bool has_dense_codec(const Shape& shape) {
  return has_plain_codec(shape) && !shape.codec->traits().sparse;
}

bool has_vote_codec(const Shape& shape) {
  return has_codec(shape) && shape.codec->traits().votes;
}

bool has_adding_codec(const Shape& shape) {
  return has_codec(shape) && shape.codec->sums() != nullptr;
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
  input_count_ = buffers.input_count;
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
  if (options_.finishes || (source.buffer == Buffer::kWide && source != target)) {
    push(Verb::kSettle, -1, source, target);
  } else if (source != target) {
    push(Verb::kCopy, -1, source, target);
  }
}

void Builder::encode(Slice from, Slice into, Slice elements, Residual residual) {
  if (from.count == 0) return;
  GOSSAMER_CHECK(into.buffer == Buffer::kCode && elements.count == from.count);
  const bool own = residual == Residual::kOwn || !nest_ranks_.empty();
  if (own) keeps_own_.push_back(static_cast<uint32_t>(schedule_.steps.size()));
  keeps_elements_ = keeps_elements_ || !own;
  push(Verb::kEncode, -1, place(from), into, {}, into.count);
  note_encoding(elements, own);
}

// Of the step just emitted.
void Builder::note_encoding(Slice elements, bool own) {
  uint64_t first = elements.first + piece_first_;
  if (!nest_ranks_.empty()) first += nest_output_.first;
  schedule_.encodings.resize(schedule_.steps.size());
  schedule_.encodings.back() = {first, own ? 0 : first};
}

void Builder::decode(Slice from, Slice into) {
  GOSSAMER_CHECK(from.buffer == Buffer::kCode || into.count == 0);
  push(Verb::kDecode, -1, from, place(into), {}, from.count);
}

void Builder::decode_reduce(Slice from, Slice into, double factor) {
  GOSSAMER_CHECK(from.buffer == Buffer::kCode || into.count == 0);
  push(Verb::kDecodeReduce, -1, from, place(into), {1, factor}, from.count);
}

void Builder::pack(Slice from, Slice into) {
  GOSSAMER_CHECK(into.buffer == Buffer::kCode);
  push(Verb::kPack, -1, place(from), into, {}, into.count);
}

void Builder::unpack(Slice from, Slice into) {
  GOSSAMER_CHECK(from.buffer == Buffer::kCode);
  push(Verb::kUnpack, -1, from, place(into), {}, from.count);
}

void Builder::measure(Slice from, Slice place_of_numbers, Slice elements) {
  const Slice into = numbers_of(place_of_numbers, from.count);
  if (into.count == 0) return;
  GOSSAMER_CHECK(nest_ranks_.empty() && elements.count == from.count);
  push(Verb::kMeasure, -1, place(from), into, {}, into.count);
  note_encoding(elements, false);
}

void Builder::agree(Slice from, Slice into, uint64_t count) {
  GOSSAMER_CHECK(from.count == into.count);
  merge(Verb::kAgree, from, into, count);
}

void Builder::encode_agreed(Slice from, Slice place_of_code, Slice elements) {
  if (from.count == 0) return;
  GOSSAMER_CHECK(nest_ranks_.empty() && elements.count == from.count);
  keeps_elements_ = true;
  push(Verb::kEncodeAgreed, -1, place(from), place_of_code, {}, place_of_code.count);
  note_encoding(elements, false);
}

void Builder::begin_sum(Slice from, Slice into, uint64_t count) {
  merge(Verb::kBeginSum, from, into, count);
}

void Builder::add_code(Slice from, Slice into, uint64_t count) {
  merge(Verb::kAddCode, from, into, count);
}

void Builder::decode_sum(Slice from, Slice into) {
  GOSSAMER_CHECK(from.buffer == Buffer::kCode || into.count == 0);
  push(Verb::kDecodeSum, -1, from, place(into), {}, from.count);
}

Slice Builder::agreed(uint64_t count, int index) {
  GOSSAMER_CHECK(options_.codec != nullptr && options_.codec->sums() != nullptr);
  const uint64_t numbers = options_.codec->sums()->agreed_count(count) * sizeof(float);
  return reserve(count, index, count == 0 ? 0 : numbers + options_.codec->bytes_max(count));
}

Slice Builder::numbers_of(Slice place, uint64_t count) const {
  const uint64_t bytes = options_.codec->sums()->agreed_count(count) * sizeof(float);
  return count == 0 ? Slice{Buffer::kCode, 0, 0} : place.part(0, bytes);
}

Slice Builder::code_of(Slice place, uint64_t count) const {
  const uint64_t before = numbers_of(place, count).count;
  return place.part(before, place.count - before);
}

Slice Builder::numbers(uint64_t count, int index) {
  GOSSAMER_CHECK(options_.codec != nullptr && options_.codec->sums() != nullptr);
  const uint64_t numbers = count == 0 ? 0 : options_.codec->sums()->agreed_count(count);
  return reserve(count, index, numbers * sizeof(float));
}

Slice Builder::sum(uint64_t count, int index) {
  GOSSAMER_CHECK(options_.codec != nullptr && options_.codec->sums() != nullptr);
  const auto ranks = static_cast<uint32_t>(options_.size);
  return reserve(count, index, count == 0 ? 0 : options_.codec->sums()->sum_bytes(count, ranks));
}

Slice Builder::packed(uint64_t count, int index) {
  GOSSAMER_CHECK(options_.codec != nullptr);
  const uint64_t entries = packed_entries(*options_.codec, options_.size, count);
  return reserve(count, index, packed_bytes(count, entries, options_.element_bytes));
}

Slice Builder::code(uint64_t count, int index) {
  GOSSAMER_CHECK(options_.codec != nullptr);
  return reserve(count, index, count == 0 ? 0 : options_.codec->bytes_max(count));
}

Slice Builder::reserve(uint64_t count, int index, uint64_t bytes) {
  if (bytes == 0) return {Buffer::kCode, 0, 0};
  const auto [known, fresh] =
      codes_.try_emplace({piece_first_, nest_output_.first, count, static_cast<uint64_t>(index)},
                         schedule_.code_count);
  if (fresh) schedule_.code_count += (bytes + kCodeAlign - 1) / kCodeAlign * kCodeAlign;
  return {Buffer::kCode, known->second, bytes};
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
  place_residuals();
  derive_edges(&schedule_);
  return std::move(schedule_);
}

// Those of elements come first, then each one's own.
void Builder::place_residuals() {
  if (schedule_.encodings.empty()) return;
  schedule_.encodings.resize(schedule_.steps.size());
  schedule_.residual_count = keeps_elements_ ? input_count_ : 0;
  for (const uint32_t step : keeps_own_) {
    schedule_.encodings[step].residual_first = schedule_.residual_count;
    schedule_.residual_count += schedule_.steps[step].count;
  }
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
  if (slice.buffer != Buffer::kInput && slice.buffer != Buffer::kOutput) return slice;
  slice.first += piece_first_;
  if (in_place_) {
    slice.first += slice.buffer == Buffer::kInput ? input_first_ : output_first_;
    slice.buffer = Buffer::kOutput;
  }
  return slice;
}

// Slices are in place already.
void Builder::push(Verb verb, Rank peer, Slice from, Slice into, const Factors& factors,
                   uint64_t code_count) {
  Step step;
  step.verb = verb;
  step.lane = lane_;
  step.count = std::max(from.count, into.count);
  if (step.encodes()) step.count = from.count;
  if (step.decodes()) step.count = into.count;
  if (step.count == 0) return;
  step.code_count = code_count;
  if (step.is_message()) {
    if (!nest_ranks_.empty()) {
      GOSSAMER_CHECK(peer >= 0 && static_cast<size_t>(peer) < nest_ranks_.size());
      peer = nest_ranks_[static_cast<size_t>(peer)];
    }
    GOSSAMER_CHECK(peer >= 0 && peer < options_.size && peer != options_.rank);
    step.peer = peer;
  }
  if (step.reads_from()) {
    GOSSAMER_CHECK(from.count == (step.decodes() ? code_count : step.count));
    step.from_buffer = from.buffer;
    step.from_first = from.first;
  }
  if (step.writes_into()) {
    GOSSAMER_CHECK(into.count == (step.encodes() ? code_count : step.count) &&
                   into.buffer != Buffer::kInput);
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

// Bytes into bytes, which belong to `count` elements.
void Builder::merge(Verb verb, Slice from, Slice into, uint64_t count) {
  if (from.count == 0) return;
  GOSSAMER_CHECK(from.buffer == Buffer::kCode && into.buffer == Buffer::kCode);
  Step step;
  step.verb = verb;
  step.lane = lane_;
  step.from_buffer = step.into_buffer = Buffer::kCode;
  step.from_first = from.first;
  step.into_first = into.first;
  step.count = count;
  step.code_count = from.count;
  step.sum_count = verb == Verb::kAgree ? 0 : into.count;
  schedule_.steps.push_back(step);
}

}  // namespace gossamer
