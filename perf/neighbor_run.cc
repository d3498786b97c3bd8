#include "perf/neighbor_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "gossamer/gossip.h"
#include "perf/pattern.h"
#include "perf/region.h"
#include "perf/rows.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

// What rounding may change of a weighted sum, relative to it.
double tolerance_of(DataType type) {
  switch (type) {
    case DataType::kFloat64:
      return 0x1p-48;
    case DataType::kFloat32:
      return 0x1p-20;
    case DataType::kFloat16:
      return 0x1p-10;
    case DataType::kBfloat16:
      return 0x1p-7;
    case DataType::kFloat8E4M3:
      return 0x1p-3;
    default:
      return 0x1p-2;
  }
}

class Neighbors {
 public:
  Neighbors(Communicator& communicator, Group& group, const PerfOptions& options,
            const Graph& graph)
      : communicator_(communicator), group_(group), options_(options), graph_(graph) {
    for (uint64_t t = 0; t < std::max<uint64_t>(graph.period(), 1); ++t) {
      shares_ = std::max<uint64_t>(shares_, static_cast<uint64_t>(graph.mixing(t)->sources_max()));
    }
  }

  Status allocate() {
    const uint64_t longest = options_.sizes.back() + 8 * shares_;
    if (Status s = input_.allocate(longest, options_.registered); !s) return s;
    return output_.allocate(longest, options_.registered);
  }

  Result<Cell> run(Collective collective, DataType type, uint64_t bytes, bool in_place) {
    const uint64_t parts = collective == Collective::kNeighborAverage ? 1 : shares_;
    Cell cell;
    cell.collective = collective;
    cell.ranks = group_.size();
    cell.type = type;
    cell.in_place = in_place;
    cell.checked = options_.check;
    set_size(bytes, parts, &cell);
    const auto choice = communicator_.explain(call_of(cell, first_round()), in_place);
    if (!choice) return choice.status();
    set_choice(*choice, &cell);
    if (Status s = time(&cell); !s) return s;
    return cell;
  }

 private:
  uint64_t first_round() const { return static_cast<uint64_t>(std::max(0, options_.round)); }

  // Whether an operation's input is what another has left: then only the first is checked.
  bool goes_on(const Cell& cell) const { return cell.in_place || options_.swap; }

  // `back`: from the output to the input.
  CollectiveCall call_of(const Cell& cell, uint64_t round, bool back = false) const {
    return {.collective = cell.collective,
            .input = cell.in_place || back ? output_.data() : input_.data(),
            .output = back ? input_.data() : output_.data(),
            .count = cell.count,
            .type = cell.type,
            .graph = &graph_,
            .round = round};
  }

  // Small whole numbers, exact in every type, that repeat after kPeriod elements.
  double value(Rank rank, uint64_t index) const {
    const uint64_t salted = index * 0x9E3779B97F4A7C15U + salt_ * 0xC2B2AE3D27D4EB4FU +
                            static_cast<uint64_t>(rank) * 0x165667B19E3779F9U;
    return static_cast<double>((salted ^ (salted >> 31)) * 0xBF58476D1CE4E5B9U >> 61);
  }

  void fill(const Cell& cell) {
    const uint64_t element = size_of(cell.type);
    std::memset(output_.data(), 0xA5, cell.bytes);  // what no operation would leave
    std::byte* const mine = cell.in_place ? output_.data() : input_.data();
    const uint64_t tile = std::min(Pattern::kPeriod, cell.count) * element;
    for (uint64_t i = 0; i * element < tile; ++i) {
      encode(cell.type, value(group_.rank(), i), mine + i * element);
    }
    const uint64_t bytes = cell.count * element;
    for (uint64_t done = tile; done < bytes; done += tile) {
      std::memcpy(mine + done, mine, std::min(tile, bytes - done));
    }
  }

  // Changes the first element from operation to operation, so that a result left over shows. In
  // place each operation changes its input by itself.
  void stamp(const Cell& cell, int operation) {
    if (goes_on(cell)) return;
    encode(cell.type, value(group_.rank(), Pattern::kPeriod + static_cast<uint64_t>(operation)),
           input_.data());
  }

  // Of the last operation, which was number `operation` of its group.
  uint64_t wrong(const Cell& cell, int operation) const {
    const std::shared_ptr<const Mixing> mixing = graph_.mixing(last_round_);
    const uint64_t bytes = cell.count * size_of(cell.type);
    if (cell.collective == Collective::kNeighborAverage) {
      const auto row = mixing->row(group_.rank());
      return wrong_in(cell, output_.data(), operation, {row.begin(), row.end()});
    }
    uint64_t wrong = 0;
    const std::byte* share = output_.data();
    for (const Rank source : mixing->sources(group_.rank())) {
      wrong += wrong_in(cell, share, operation, {{source, 1}});
      share += bytes;
    }
    return wrong;
  }

  uint64_t wrong_in(const Cell& cell, const std::byte* have, int operation,
                    const std::vector<Weight>& row) const {
    const auto expected = [&](uint64_t index) {
      double sum = 0;
      for (const Weight& w : row) sum += w.value * value(w.rank, index);
      return sum;
    };
    std::vector<double> tile(std::min(Pattern::kPeriod, cell.count));
    for (uint64_t i = 0; i < tile.size(); ++i) tile[i] = expected(i);
    const double relative = tolerance_of(cell.type);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < cell.count; ++i) {
      const bool stamped = i == 0 && !goes_on(cell);
      const double right = stamped ? expected(Pattern::kPeriod + static_cast<uint64_t>(operation))
                                   : tile[i % tile.size()];
      const double got = decode(cell.type, have + i * size_of(cell.type));
      wrong += std::abs(got - right) <= relative * right ? 0 : 1;
    }
    return wrong;
  }

  Status time(Cell* cell) {
    Measured measured;
    measured.prepare = [&](int group) {
      salt_ = static_cast<uint64_t>(group + 2);
      fill(*cell);
    };
    measured.run = [&](int index) {
      stamp(*cell, index);
      last_round_ = options_.round >= 0 ? first_round() : next_round_++;
      const bool back = options_.swap && index % 2 == 1;
      return communicator_.run(call_of(*cell, last_round_, back));
    };
    // What many operations that go on from each other leave is their product.
    measured.inspect = [&](int operations) -> uint64_t {
      if (!options_.check || (goes_on(*cell) && operations > 1)) return 0;
      return wrong(*cell, operations - 1);
    };
    const Pace pace = pace_for(cell->bytes, options_.iterations, options_.warmup, options_.seconds);
    const Result<Timing> timing = measure(group_, pace, measured);
    if (!timing) return timing.status();
    cell->timing = *timing;
    if (!options_.check || !goes_on(*cell)) return Status::ok();
    return check_once(group_, measured, &cell->timing);
  }

  Communicator& communicator_;
  Group& group_;
  const PerfOptions& options_;
  const Graph& graph_;
  uint64_t shares_ = 1;  // most sources of a rank
  uint64_t salt_ = 0;
  uint64_t next_round_ = 0;
  uint64_t last_round_ = 0;
  Region input_;
  Region output_;
};

}  // namespace

Status measure_neighbors(Communicator& communicator, Group& group, const PerfOptions& options,
                         const RowSink& row) {
  const Collective collective = options.collectives.front();
  const auto graph = make_graph(options.graph, communicator.size(), options.seed);
  if (!graph) return graph.status();
  Neighbors neighbors(communicator, group, options, **graph);
  if (Status s = neighbors.allocate(); !s) return s;
  for (const DataType type : options.types) {
    const auto run = [&](uint64_t bytes, bool in_place) {
      return neighbors.run(collective, type, bytes, in_place);
    };
    const bool places = collective == Collective::kNeighborAverage;  // others never are
    if (Status s = run_rows(options, places, run, row); !s) return s;
  }
  return Status::ok();
}

}  // namespace gossamer
