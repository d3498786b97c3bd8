#include "perf/perf_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "perf/coded_run.h"
#include "perf/commands.h"
#include "perf/communicator_group.h"
#include "perf/exchange_run.h"
#include "perf/neighbor_run.h"
#include "perf/pattern.h"
#include "perf/persistent_run.h"
#include "perf/plot.h"
#include "perf/region.h"
#include "perf/results.h"
#include "perf/rows.h"
#include "src/call_buffers.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

constexpr uint64_t kBandwidthBytesMin = 1 << 20;  // below, latency decides and not bandwidth

// Measures cells of one communicator.
class Runner {
 public:
  Runner(Communicator& communicator, Group& group, const PerfOptions& options)
      : communicator_(communicator), group_(group), options_(options) {}

  Status allocate() {
    const uint64_t longest = options_.sizes.back() + 8 * static_cast<uint64_t>(group_.size());
    if (Status s = output_.allocate(longest, options_.registered); !s) return s;
    return input_.allocate(longest, options_.registered);
  }

  Result<Cell> run(Collective collective, DataType type, ReduceOp op, Rank root, uint64_t bytes,
                   bool in_place) {
    const uint64_t parts = shares_of(collective, group_.size());
    Cell cell;
    cell.collective = collective;
    cell.ranks = group_.size();
    cell.type = type;
    cell.op = op;
    cell.root = root;
    cell.in_place = in_place;
    cell.checked = options_.check;
    set_size(bytes, parts, &cell);
    Reduction reduction = op;
    if (op == ReduceOp::kPreMulSum) reduction = Reduction::pre_mul_sum(Pattern::kScalar);
    const auto choice =
        communicator_.explain(collective, cell.count, type, reduction, in_place, root);
    if (!choice) return choice.status();
    set_choice(*choice, &cell);
    if (Status s = time(&cell, reduction); !s) return s;
    return cell;
  }

 private:
  struct Buffers {
    std::byte* input;  // null where this rank has none
    std::byte* output;
    uint64_t output_bytes;
  };
  Buffers place(const Cell& cell) const {
    Call shape;
    shape.collective = cell.collective;
    shape.count = cell.count;
    shape.root = cell.root;
    shape.in_place = cell.in_place;
    const CallBuffers b = buffers_of(shape, group_.rank(), group_.size());
    const uint64_t element = size_of(cell.type);
    Buffers buffers{input_.data(), output_.data(), b.output_count * element};
    if (b.in_place) {
      buffers.input = output_.data() + b.input_first * element;
      buffers.output += b.output_first * element;
    }
    if (b.input_count == 0) buffers.input = nullptr;
    if (b.output_count == 0) buffers.output = nullptr;
    return buffers;
  }

  static CollectiveCall call_of(const Cell& cell, const Buffers& buffers,
                                const Reduction& reduction) {
    return {cell.collective, buffers.input, buffers.output, cell.count,
            cell.type,       reduction,     cell.root};
  }

  // Binds a persistent collective to what call() will be called with.
  Status bind(const Cell& cell, const Buffers& buffers, const Reduction& reduction) {
    plan_ = {};
    if (!options_.persistent) return Status::ok();
    Result<PersistentCollective> made = communicator_.plan(call_of(cell, buffers, reduction));
    if (!made) return made.status();
    plan_ = std::move(*made);
    return Status::ok();
  }

  Status call(const Cell& cell, const Buffers& buffers, const Reduction& reduction) {
    if (!options_.persistent) return communicator_.run(call_of(cell, buffers, reduction));
    if (Status s = plan_.start(); !s) return s;
    return plan_.wait();
  }

  Status time(Cell* cell, const Reduction& reduction) {
    const Buffers buffers = place(*cell);
    if (Status s = bind(*cell, buffers, reduction); !s) return s;
    Pattern pattern({cell->collective, cell->type, cell->op, cell->ranks, cell->count,
                     cell->in_place, cell->root});
    Measured measured;
    measured.prepare = [&](int group) {
      pattern.reseed(static_cast<uint32_t>(group + 1));
      // what no operation would leave
      if (buffers.output != nullptr) std::memset(buffers.output, 0xA5, buffers.output_bytes);
      pattern.fill(group_.rank(), buffers.input);
    };
    measured.run = [&](int index) {
      pattern.stamp(index, buffers.input);
      return call(*cell, buffers, reduction);
    };
    measured.inspect = [&](int operations) -> uint64_t {
      if (!options_.check || !pattern.can_foretell(operations)) return 0;
      return pattern.wrong(buffers.output, operations);
    };
    Pace pace = pace_for(cell->bytes, options_.iterations, options_.warmup, options_.seconds);
    pace.bursts = has_root(cell->collective);
    const Result<Timing> timing = measure(group_, pace, measured);
    if (!timing) return timing.status();
    cell->timing = *timing;
    if (!options_.check) return Status::ok();
    if (!pattern.can_foretell(pace.group + 1)) {
      if (Status s = check_once(group_, measured, &cell->timing); !s) return s;
    }
    if (!same_everywhere(cell->collective)) return Status::ok();
    return check_same_bits(cell, &pattern, buffers, reduction);
  }

  static bool same_everywhere(Collective collective) {
    return collective == Collective::kAllReduce || collective == Collective::kAllGather ||
           collective == Collective::kBroadcast;
  }

  // Values whose sum depends on the order: all ranks must still hold the same bits. A rank that
  // differs counts as one wrong element.
  Status check_same_bits(Cell* cell, Pattern* pattern, const Buffers& buffers,
                         const Reduction& reduction) {
    pattern->fill_irregular(group_.rank(), buffers.input);
    if (Status s = group_.barrier(); !s) return s;
    if (Status s = call(*cell, buffers, reduction); !s) return s;
    std::vector<double> hashes;
    const uint64_t hash = hash_bytes(buffers.output, buffers.output_bytes);
    if (Status s = group_.gather(static_cast<double>(hash >> 12), &hashes); !s) return s;
    for (const double h : hashes) cell->timing.wrong += h == hashes[0] ? 0 : 1;
    return Status::ok();
  }

  Communicator& communicator_;
  Group& group_;
  const PerfOptions& options_;
  Region input_;
  Region output_;
  PersistentCollective plan_;
};

// What the engine and the transports of this rank have counted.
void print_counters(const Communicator::Counters& c) {
  fmt::print("# counters of rank 0, warm-up and checks included:\n");
  fmt::print("#   {} operations, {} plans built, {} steps, {} messages of {} bytes, {} wakeups\n",
             c.operations, c.plans_built, c.steps_run, c.messages_sent, c.bytes_sent, c.wakeups);
  const Traffic& t = c.traffic;
  fmt::print("#   {} messages inline, {} staged, {} direct; {} copies of {} bytes\n",
             t.inline_messages, t.staged_messages, t.direct_messages, t.copies, t.bytes_copied);
  fmt::print("#   {} registrations, {} exchanges of addresses\n", t.registrations, t.exchanges);
}

void print_preamble(const PerfOptions& o, int ranks, const Whereabouts& where) {
  fmt::print("# gossamer {}: {} ranks on {} host{} ({}), {} cores\n", GOSSAMER_VERSION, ranks,
             where.hosts, where.hosts == 1 ? "" : "s", where.host, where.cores);
  if (!o.graph.empty())
    fmt::print("# graph {}, {}\n", o.graph,
               o.round < 0 ? "its rounds one after another" : fmt::format("round {}", o.round));
  if (!o.codec.empty())
    fmt::print(
        "# codec {}: sent: bytes per operation, by the rank that sends most; loss: of the square\n",
        o.codec);
  fmt::print("# {}transport {}, algorithm {}, {} buffers, {}\n",
             o.persistent ? "persistent collectives, " : "", o.transport,
             o.algorithm.empty() ? "by price" : o.algorithm,
             o.registered ? "library-allocated" : "ordinary",
             !o.check          ? "results not checked"
             : o.codec.empty() ? "every element of every rank checked"
                               : "ranks compared, and what is lost measured");
  fmt::print("# time: median; p99: 99 of 100 are not slower; {}\n",
             where.shared_clock ? "an operation ends when its last rank ends (shared clock)"
                                : "the slowest rank's own clock counts");
  if (std::ranges::any_of(o.collectives, has_root))
    fmt::print("# around a root, where ranks run ahead: per operation, of groups of up to {}\n",
               pace_for(o.sizes.front(), o.iterations, o.warmup, o.seconds).group + 1);
  fmt::print("# algbw, busbw: from the median, 10^9 bytes per second\n");
}

// The least time that a two-shot all-reduce needs on one host, by the memory's bandwidth.
Status print_limit(Group& group, const Whereabouts& where, const std::vector<Cell>& cells) {
  if (where.hosts != 1 || group.size() < 2) return Status::ok();
  const auto largest = std::ranges::max_element(cells, [](const Cell& a, const Cell& b) {
    return std::pair(a.collective == Collective::kAllReduce, a.bytes) <
           std::pair(b.collective == Collective::kAllReduce, b.bytes);
  });
  if (largest == cells.end() || largest->collective != Collective::kAllReduce ||
      largest->bytes < kBandwidthBytesMin)
    return Status::ok();
  const Result<double> rate = copy_rate(group, largest->bytes);
  if (!rate) return rate.status();
  if (group.rank() != 0) return Status::ok();
  const auto traffic = 3.0 * static_cast<double>(largest->bytes) * group.size();
  const double limit_us = traffic / (2 * *rate);
  double best_us = INFINITY;
  for (const Cell& c : cells) {
    if (c.collective == Collective::kAllReduce && c.bytes == largest->bytes)
      best_us = std::min(best_us, c.timing.median_us);
  }
  fmt::print(
      "# limit of this host: {} ranks copy {:.1f} GB/s together at {} (read and written: "
      "{:.1f} GB/s)\n",
      group.size(), *rate * 1e-3, bytes_text(largest->bytes), 2 * *rate * 1e-3);
  fmt::print(
      "# two-shot all_reduce: each rank reads 2 S and writes S, so {} needs {:.0f} us; "
      "measured {:.0f} us = {:.2f} x the limit{}\n",
      bytes_text(largest->bytes), limit_us, best_us, best_us / limit_us,
      best_us < limit_us ? ": part of it stays in the caches" : "");
  return Status::ok();
}

Status measure_collectives(Runner* runner, const PerfOptions& o, Rank size, Results* results) {
  for (const Collective collective : o.collectives) {
    results->header(std::string(name_of(collective)));
    for (const Cell& kind : kinds_of(collective, o, size)) {
      const auto run = [&](uint64_t bytes, bool in_place) {
        return runner->run(kind.collective, kind.type, kind.op, kind.root, bytes, in_place);
      };
      const bool places = is_ever_in_place(collective);
      const auto row = [&](const std::vector<Cell>& cells) { results->row(cells); };
      if (Status s = run_rows(o, places, run, row); !s) return s;
    }
  }
  return Status::ok();
}

Status measure_all(Communicator& communicator, Group& group, const PerfOptions& o,
                   Results* results) {
  const auto row = [&](const std::vector<Cell>& cells) { results->row(cells); };
  for (const Collective collective : o.codec.empty() ? std::vector<Collective>() : o.collectives) {
    results->header(std::string(name_of(collective)));
    if (Status s = measure_coded(communicator, group, o, collective, row); !s) return s;
  }
  if (!o.codec.empty()) return Status::ok();
  if (!o.collectives.empty() && has_graph(o.collectives.front())) {
    results->header(std::string(name_of(o.collectives.front())));
    return measure_neighbors(communicator, group, o, row);
  }
  if (o.exchange.empty()) {
    Runner runner(communicator, group, o);
    if (Status s = runner.allocate(); !s) return s;
    return measure_collectives(&runner, o, communicator.size(), results);
  }
  results->header(o.exchange);
  return measure_exchange(communicator, group, o, row);
}

Status write_files(const PerfOptions& o, const std::vector<Cell>& cells, const std::string& title) {
  if (!o.csv.empty()) {
    if (Status s = write_csv(o.csv, cells); !s) return s;
  }
  if (!o.json.empty()) {
    if (Status s = write_json(o.json, cells); !s) return s;
  }
  if (o.plot.empty()) return Status::ok();
  return write_plot(o.plot, cells, title);
}

}  // namespace

std::vector<uint64_t> sweep_sizes(uint64_t begin, uint64_t end, double factor, uint64_t step) {
  std::vector<uint64_t> sizes;
  uint64_t size = begin;
  while (size <= end) {
    sizes.push_back(size);
    const auto scaled = static_cast<uint64_t>(static_cast<double>(size) * factor);
    const uint64_t next = factor > 1 ? std::max(scaled, size + 1) : size + step;
    if (next <= size) break;
    size = next;
  }
  return sizes;
}

std::vector<Cell> kinds_of(Collective collective, const PerfOptions& o, Rank size) {
  std::vector<Cell> kinds;
  const size_t ops = reduces(collective) ? o.ops.size() : 1;
  const Rank first = has_root(collective) ? std::max(o.root, 0) : 0;
  const Rank last = has_root(collective) && o.root < 0 ? size - 1 : first;
  for (const DataType type : o.types) {
    for (size_t op = 0; op < ops; ++op) {
      for (Rank root = first; root <= last; ++root) {
        Cell& kind = kinds.emplace_back();
        kind.collective = collective;
        kind.type = type;
        kind.op = o.ops[op];
        kind.root = root;
      }
    }
  }
  return kinds;
}

int run_perf(const PerfOptions& o, int ranks_wanted) {
  Communicator::Options join;
  join.name = "perf";
  join.transport = o.transport;
  join.algorithm = o.algorithm;
  join.timeout = std::chrono::milliseconds(static_cast<int64_t>(o.timeout_s * 1000));
  auto made = Communicator::from_environment(join);
  if (!made) return complain(made.status());
  Communicator& communicator = *made.value();
  const int ranks = communicator.size();
  if (ranks_wanted > 0 && ranks_wanted != ranks)
    return complain(Status::error(Code::kInvalidArgument,
                                  fmt::format("--ranks {} does not fit the {} ranks this job was "
                                              "launched with; leave --ranks out",
                                              ranks_wanted, ranks)),
                    kExitUsage);
  if (o.root >= ranks)
    return complain(Status::error(Code::kInvalidArgument,
                                  fmt::format("--root {} is none of the {} ranks", o.root, ranks)),
                    kExitUsage);
  const bool reports = communicator.rank() == 0;
  Whereabouts where;
  auto group = meet(communicator, &where);
  if (!group) return complain(group.status());
  if (reports && !o.nccl) print_preamble(o, ranks, where);
  if (!o.baseline.empty()) {
    const Status compared = compare_with_rpc(communicator, **group, o);
    return compared ? 0 : complain(compared);
  }
  Results results(o, ranks, reports);
  if (Status s = measure_all(communicator, **group, o, &results); !s) return complain(s);
  const std::vector<Cell>& cells = results.cells();
  if (!o.nccl) {
    if (Status s = print_limit(**group, where, cells); !s) return complain(s);
  }
  if (reports) {
    if (o.counters) print_counters(communicator.counters());
    results.footer();
    std::fflush(stdout);
    const std::string title =
        fmt::format("gossamer {}, {} ranks, {} host{}, {}", GOSSAMER_VERSION, ranks, where.hosts,
                    where.hosts == 1 ? "" : "s", cells.empty() ? "" : cells.back().transport);
    if (Status s = write_files(o, cells, title); !s) return complain(s);
  }
  if (Status s = (*group)->barrier(); !s) return complain(s);  // nobody leaves while another runs
  return results.wrong() == 0 ? 0 : kExitFailure;
}

}  // namespace gossamer
