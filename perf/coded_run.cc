#include "perf/coded_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "gossamer/compression.h"
#include "gossamer/gossip.h"
#include "gossamer/mixing.h"
#include "perf/pattern.h"
#include "perf/region.h"
#include "perf/rows.h"
#include "src/call_buffers.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

constexpr double kLossMax = 0.5;

class CodedRunner {
 public:
  CodedRunner(Communicator& communicator, Group& group, const PerfOptions& options,
              const Codec& codec, const Graph* graph)
      : communicator_(communicator), group_(group), options_(options), graph_(graph) {
    compression_.codec = &codec;
  }

  Status allocate() {
    const uint64_t longest = options_.sizes.back() + 8 * static_cast<uint64_t>(group_.size());
    if (Status s = input_.allocate(longest, options_.registered); !s) return s;
    return output_.allocate(longest, options_.registered);
  }

  Result<Cell> run(const Cell& kind, uint64_t bytes, bool in_place) {
    const uint64_t parts = shares_of(kind.collective, group_.size());
    Cell cell = kind;
    cell.ranks = group_.size();
    cell.in_place = in_place;
    cell.checked = options_.check;
    cell.codec = compression_.codec->name();
    set_size(bytes, parts, &cell);
    const auto choice = communicator_.explain(call_of(cell), in_place);
    if (!choice) return choice.status();
    set_choice(*choice, &cell);
    if (Status s = time(&cell); !s) return s;
    return cell;
  }

 private:
  CallBuffers buffers_of_cell(const Cell& cell) const {
    Call shape;
    shape.collective = cell.collective;
    shape.count = cell.count;
    shape.in_place = cell.in_place;
    shape.root = cell.root;
    const std::shared_ptr<const Mixing> mixing = mixing_of(cell);
    shape.mixing = mixing.get();
    return buffers_of(shape, group_.rank(), group_.size());
  }

  uint64_t round() const { return static_cast<uint64_t>(std::max(0, options_.round)); }

  // Null but for collectives that have a graph.
  std::shared_ptr<const Mixing> mixing_of(const Cell& cell) const {
    return has_graph(cell.collective) ? graph_->mixing(round()) : nullptr;
  }

  CollectiveCall call_of(const Cell& cell) const {
    const CallBuffers b = buffers_of_cell(cell);
    const uint64_t element = size_of(cell.type);
    std::byte* const both = output_.data();
    return {.collective = cell.collective,
            .input = b.in_place ? both + b.input_first * element : input_.data(),
            .output = b.in_place ? both + b.output_first * element : both,
            .count = cell.count,
            .type = cell.type,
            .reduction = reduces(cell.collective) ? cell.op : ReduceOp::kSum,
            .root = cell.root,
            .graph = has_graph(cell.collective) ? graph_ : nullptr,
            .round = round(),
            .compression = &compression_};
  }

  // Sums of four numbers in [-1, 1], that repeat after kPeriod elements.
  double value(Rank rank, uint64_t index) const {
    uint64_t state = index % Pattern::kPeriod * 0x9E3779B97F4A7C15U + salt_ * 0xC2B2AE3D27D4EB4FU +
                     static_cast<uint64_t>(rank) * 0x165667B19E3779F9U;
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = (state ^ (state >> 29)) * 0xBF58476D1CE4E5B9U + 0x94D049BB133111EBU;
      sum += static_cast<double>(state >> 11) * 0x1p-52 - 1;
    }
    return sum;
  }

  void fill(const Cell& cell) {
    const CallBuffers b = buffers_of_cell(cell);
    const uint64_t element = size_of(cell.type);
    std::memset(output_.data(), 0, b.output_count * element);
    auto* const mine = static_cast<std::byte*>(const_cast<void*>(call_of(cell).input));
    const uint64_t tile = std::min(Pattern::kPeriod, b.input_count);
    for (uint64_t i = 0; i < tile; ++i) {
      encode(cell.type, value(group_.rank(), i), mine + i * element);
    }
    const uint64_t bytes = b.input_count * element;
    for (uint64_t done = tile * element; done < bytes; done += tile * element) {
      std::memcpy(mine + done, mine, std::min(tile * element, bytes - done));
    }
  }

  // What element `index` of this rank's output is without any loss.
  double exact(const Cell& cell, const Mixing* mixing, uint64_t index) const {
    const Rank self = group_.rank();
    const uint64_t own = static_cast<uint64_t>(self) * cell.count;
    const auto share = static_cast<Rank>(index / cell.count);
    const uint64_t place = index % cell.count;
    double sum = 0;
    switch (cell.collective) {
      case Collective::kAllGather:
      case Collective::kGather:
        return value(share, place);
      case Collective::kBroadcast:
        return value(cell.root, index);
      case Collective::kScatter:
        return value(cell.root, own + index);
      case Collective::kAllToAll:
        return value(share, own + place);
      case Collective::kNeighborAllGather:
        return value(mixing->sources(self)[static_cast<size_t>(share)], place);
      case Collective::kNeighborAverage:
        for (const Weight& w : mixing->row(self)) sum += w.value * value(w.rank, index);
        return sum;
      case Collective::kAllReduce:
      case Collective::kReduce:
      case Collective::kReduceScatter:
        break;
    }
    const uint64_t first = cell.collective == Collective::kReduceScatter ? own : 0;
    for (Rank r = 0; r < group_.size(); ++r) sum += value(r, first + index);
    return cell.op == ReduceOp::kAvg ? sum / group_.size() : sum;
  }

  Status time(Cell* cell) {
    Measured measured;
    measured.prepare = [&](int group) {
      salt_ = static_cast<uint64_t>(group) + 2;
      fill(*cell);
    };
    measured.run = [&](int) {
      compression_.draws.own = ++operations_;
      return communicator_.run(call_of(*cell));
    };
    measured.inspect = [](int) -> uint64_t { return 0; };
    Pace pace = pace_for(cell->bytes, options_.iterations, options_.warmup, options_.seconds);
    pace.bursts = has_root(cell->collective);
    const Result<Timing> timing = measure(group_, pace, measured);
    if (!timing) return timing.status();
    cell->timing = *timing;
    return check_once(cell, measured);
  }

  // One operation on fresh data: what it sends, what it loses, whether ranks differ.
  Status check_once(Cell* cell, const Measured& measured) {
    measured.prepare(-1);
    if (Status s = group_.barrier(); !s) return s;
    const uint64_t before = communicator_.counters().bytes_sent;
    if (Status s = measured.run(0); !s) return s;
    const auto sent = static_cast<double>(communicator_.counters().bytes_sent - before);
    std::vector<double> all;
    if (Status s = group_.gather(sent, &all); !s) return s;
    cell->sent_bytes = static_cast<uint64_t>(*std::max_element(all.begin(), all.end()));
    if (!options_.check) return Status::ok();
    const CallBuffers b = buffers_of_cell(*cell);
    const auto* const output = static_cast<const std::byte*>(call_of(*cell).output);
    const std::shared_ptr<const Mixing> mixing = mixing_of(*cell);
    double lost = 0;
    double square = 0;
    for (uint64_t i = 0; i < b.output_count; ++i) {
      const double right = exact(*cell, mixing.get(), i);
      const double off = decode(cell->type, output + i * size_of(cell->type)) - right;
      lost += off * off;
      square += right * right;
    }
    cell->loss = square > 0 ? lost / square : 0;
    const bool alike = cell->collective == Collective::kAllReduce ||
                       cell->collective == Collective::kAllGather ||
                       cell->collective == Collective::kBroadcast;
    const uint64_t hash = alike ? hash_bytes(output, b.output_count * size_of(cell->type)) : 0;
    if (Status s = group_.gather(static_cast<double>(hash >> 12), &all); !s) return s;
    for (const double other : all) cell->timing.wrong += other == all[0] ? 0 : 1;
    if (Status s = group_.gather(cell->loss, &all); !s) return s;
    for (const double loss : all) cell->timing.wrong += loss <= kLossMax ? 0 : 1;
    return Status::ok();
  }

  Communicator& communicator_;
  Group& group_;
  const PerfOptions& options_;
  const Graph* graph_;
  Compression compression_;
  uint64_t salt_ = 0;
  uint64_t operations_ = 0;
  Region input_;
  Region output_;
};

}  // namespace

Status measure_coded(Communicator& communicator, Group& group, const PerfOptions& options,
                     Collective collective, const RowSink& row) {
  const auto codec = make_codec(options.codec);
  if (!codec) return codec.status();
  std::shared_ptr<const Graph> graph;
  if (has_graph(collective)) {
    auto made = make_graph(options.graph, communicator.size(), options.seed);
    if (!made) return made.status();
    graph = std::move(made).value();
  }
  CodedRunner runner(communicator, group, options, **codec, graph.get());
  if (Status s = runner.allocate(); !s) return s;
  for (const Cell& kind : kinds_of(collective, options, communicator.size())) {
    const auto run = [&](uint64_t bytes, bool in_place) {
      return runner.run(kind, bytes, in_place);
    };
    if (Status s = run_rows(options, is_ever_in_place(collective), run, row); !s) return s;
  }
  return Status::ok();
}

}  // namespace gossamer
