// gossamer perf: times collectives, among N processes it starts itself or in the job that launched
// it.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/gossip.h"
#include "perf/check_flags.h"
#include "perf/commands.h"
#include "perf/exchange_run.h"
#include "perf/perf_run.h"
#include "perf/spawn.h"
#include "src/bootstrap.h"
#include "src/env.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

constexpr int kRanksMax = 1024;

// As typed.
struct Flags {
  std::string collective;
  std::string begin = "8";
  std::string end = "64M";
  std::string step;
  double factor = 2;
  int iterations = 0;
  int warmup = 5;
  int check = 1;
  std::string type = "float32";
  std::string op = "sum";
  std::string root = "0";
  int ranks = 0;
  std::string direction = "both";
  std::string memory = "host";
  bool registered = false;
  int bind = 1;
  PerfOptions rest;
};

Status bad(const std::string& message) {
  return Status::error(Code::kInvalidArgument, message);
}

Status read_names(const Flags& f, PerfOptions* o) {
  if (f.collective == "all") {
    for (int i = 0; i < kCollectiveCount; ++i) o->collectives.push_back(static_cast<Collective>(i));
  } else if (is_exchange(f.collective)) {
    o->exchange = f.collective;
  } else if (const auto c = parse_collective(f.collective)) {
    o->collectives = {*c};
  } else {
    return bad("'" + f.collective + "' is no collective; there are " +
               known_names<Collective>(kCollectiveCount) +
               ", neighbor_average, neighbor_all_gather, sendrecv, hypercube and all");
  }
  if (f.type == "all") {
    o->types.clear();
    for (int i = 0; i < kDataTypeCount; ++i) o->types.push_back(static_cast<DataType>(i));
  } else if (const auto t = parse_data_type(f.type)) {
    o->types = {*t};
  } else {
    return bad("'" + f.type + "' is no data type; there are " +
               known_names<DataType>(kDataTypeCount) + " and all");
  }
  if (f.op == "all") {
    o->ops.clear();
    for (int i = 0; i < kReduceOpCount - 1; ++i) o->ops.push_back(static_cast<ReduceOp>(i));
  } else if (const auto op = parse_reduce_op(f.op); op && *op != ReduceOp::kUser) {
    o->ops = {*op};
  } else {
    return bad("'" + f.op + "' is no reduction that can be timed; there are " +
               known_names<ReduceOp>(kReduceOpCount - 1) + " and all");
  }
  for (const Collective c : o->collectives) {
    if (Status known = check_algorithm(c, o->algorithm); !known) return known;
  }
  return Status::ok();
}

Status read_sizes(const Flags& f, PerfOptions* o) {
  const Result<uint64_t> begin = parse_bytes(f.begin);
  const Result<uint64_t> end = parse_bytes(f.end);
  if (!begin) return begin.status();
  if (!end) return end.status();
  if (*begin == 0) return bad("-b must be at least 1 byte");
  if (*begin > *end) return bad("-b " + f.begin + " is more than -e " + f.end);
  uint64_t step = 0;
  if (!f.step.empty()) {
    const Result<uint64_t> parsed = parse_bytes(f.step);
    if (!parsed) return parsed.status();
    if (*parsed == 0) return bad("-i must be at least 1 byte");
    step = *parsed;
  }
  if (step == 0 && !(f.factor > 1)) return bad("-f must be greater than 1");
  if (step > 0 && (*end - *begin) / step > 100'000) return bad("-i makes over 100000 sizes");
  o->sizes = sweep_sizes(*begin, *end, step > 0 ? 0 : f.factor, step);
  return Status::ok();
}

Status read_exchange(const Flags& f, PerfOptions* o) {
  if (f.direction == "in" && o->exchange == kSendRecv)
    return bad("sendrecv is never in place; leave --place in out");
  if (!o->exchange.empty() && (o->persistent || !o->algorithm.empty()))
    return bad(
        "sends and receives have no algorithms and no persistent form; leave --algorithm "
        "and --persistent out");
  return Status::ok();
}

Status read_graph(const Flags& f, PerfOptions* o) {
  const bool needed = !o->collectives.empty() && has_graph(o->collectives.front());
  if (!needed && (!o->graph.empty() || o->round != -1))
    return bad("--graph and --round go with neighbor_average and neighbor_all_gather");
  if (!needed) return Status::ok();
  if (o->graph.empty()) o->graph = "one_peer_exponential";
  if (o->round < -1) return bad("--round cannot be negative");
  if (o->persistent)
    return bad(f.collective + " is timed as calls, one per round; leave --persistent out");
  if (f.op != "sum") return bad(f.collective + " has weights and no reduction; leave --op out");
  if (f.direction == "in" && o->collectives.front() == Collective::kNeighborAllGather)
    return bad("neighbor_all_gather is never in place; leave --place in out");
  for (const DataType type : o->types) {
    if (is_narrow_float(type) || type == DataType::kFloat32 || type == DataType::kFloat64) continue;
    return bad(f.collective + " is timed with floats, not " + std::string(name_of(type)));
  }
  return Status::ok();
}

Status read_swap(const Flags& f, const PerfOptions& o) {
  if (o.exchange != kSendRecv &&
      (o.collectives.empty() || o.collectives.front() != Collective::kNeighborAverage))
    return bad("--swap goes with sendrecv and neighbor_average");
  return f.direction == "in" ? bad("--swap is out of place; leave --place in out") : Status::ok();
}

Status read_codec(const Flags&, PerfOptions* o) {
  if (o->codec.empty()) return Status::ok();
  if (const auto codec = make_codec(o->codec); !codec) return codec.status();
  if (o->persistent || !o->exchange.empty() || !o->baseline.empty() || o->nccl || o->swap)
    return bad(
        "--codec goes with collectives, and with no --persistent, --baseline, --swap or --nccl");
  const bool floats = std::ranges::all_of(o->types, [](DataType type) {
    return is_narrow_float(type) || type == DataType::kFloat32 || type == DataType::kFloat64;
  });
  const bool sums = std::ranges::all_of(
      o->ops, [](ReduceOp op) { return op == ReduceOp::kSum || op == ReduceOp::kAvg; });
  if (!floats || !sums) return bad("--codec goes with float types, and with sum and avg");
  return Status::ok();
}

Status read_rest(const Flags& f, PerfOptions* o) {
  if (f.direction != "both" && f.direction != "in" && f.direction != "out")
    return bad("--place wants in, out or both");
  if (o->swap) {
    if (Status s = read_swap(f, *o); !s) return s;
  }
  o->in_place = f.direction != "out" && !o->swap;
  o->out_of_place = f.direction != "in";
  if (f.memory != "host" && f.memory != "registered")
    return bad("--memory wants host or registered");
  o->registered = f.registered || f.memory == "registered";
  const bool compares = !o->baseline.empty();
  if (compares && o->baseline != "rpc" && o->baseline != "push")
    return bad("--baseline wants rpc or push");
  if (compares && (f.collective != "all_reduce" || f.type != "float32" || f.op != "sum"))
    return bad("--baseline times all_reduce of float32 (sum) only");
  if (compares && (!o->csv.empty() || !o->json.empty() || !o->plot.empty()))
    return bad("--baseline prints a table only; leave --csv, --json and --plot out");
  if (o->touch && !compares) return bad("--touch goes with --baseline");
  if (f.root == "all" || f.root == "-1") {
    o->root = -1;
  } else {
    const Result<int64_t> root = parse_int(f.root, 0, kRanksMax, "--root");
    if (!root) return root.status();
    o->root = static_cast<Rank>(*root);
  }
  if (f.iterations < 0 || f.warmup < 0) return bad("-n and -w cannot be negative");
  if (f.check < 0) return bad("-c wants 0 or 1");
  if (!(o->seconds > 0)) return bad("--seconds must be positive");
  if (!(o->timeout_s > 0) || o->timeout_s > 1e6) return bad("--timeout must be positive");
  o->iterations = f.iterations;
  o->warmup = f.warmup;
  o->check = f.check != 0;
  return Status::ok();
}

Result<PerfOptions> read(const Flags& flags) {
  PerfOptions options = flags.rest;
  for (const auto part :
       {read_names, read_sizes, read_rest, read_exchange, read_graph, read_codec}) {
    if (Status s = part(flags, &options); !s) return s;
  }
  return options;
}

// What each of the ranks would say otherwise.
Status check(const PerfOptions& o, int ranks) {
  if (Status known = check_transport(o.transport); !known) return known;
  if (o.root >= ranks) return bad(fmt::format("--root {} is none of the {} ranks", o.root, ranks));
  if (o.graph.empty()) return Status::ok();
  return make_graph(o.graph, ranks, o.seed).status();
}

int perf(const Flags& flags) {
  const Result<PerfOptions> options = read(flags);
  if (!options) return complain(options.status(), kExitUsage);
  const Result<LaunchedAs> launched = launcher_environment();
  if (!launched) return complain(launched.status(), kExitUsage);
  if (launched->found) return run_perf(*options, flags.ranks);
  // as many as there are cores, but enough to have something to say
  const int ranks = flags.ranks > 0 ? flags.ranks : std::clamp(usable_cores(), 2, 8);
  if (Status s = check(*options, ranks); !s) return complain(s, kExitUsage);
  if (Status s = check_outputs({options->csv, options->json, options->plot}); !s) {
    return complain(s);
  }
  return spawn_command(ranks, flags.bind != 0);
}

}  // namespace

void add_perf_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "perf",
      "Times collectives: among --ranks local processes, or in the job of mpirun, srun or "
      "torchrun");
  Flags& f = *flags;
  command
      ->add_option("collective", f.collective,
                   known_names<Collective>(kCollectiveCount) +
                       ", neighbor_average, neighbor_all_gather, sendrecv, hypercube or all")
      ->required();
  command->add_option("-b,--minbytes", f.begin, "first size: 8, 1K, 64M, 1G")
      ->capture_default_str();
  command->add_option("-e,--maxbytes", f.end, "last size")->capture_default_str();
  command->add_option("-f,--stepfactor", f.factor, "factor between sizes")->capture_default_str();
  command->add_option("-i,--stepbytes", f.step, "step between sizes, instead of -f");
  command
      ->add_option("-n,--iters", f.iterations, "operations per size; 0: as many as fit --seconds")
      ->capture_default_str();
  command->add_option("-w,--warmup_iters", f.warmup, "untimed ones before")->capture_default_str();
  command->add_option("-c,--check", f.check, "1: check every element on every rank; 0: do not")
      ->capture_default_str();
  command->add_option("-d,--datatype", f.type, "a type, or all")->capture_default_str();
  command->add_option("-o,--op", f.op, "a reduction, or all")->capture_default_str();
  command->add_option("-r,--root", f.root, "a rank, or all, for collectives that have a root")
      ->capture_default_str();
  command->add_option("--ranks", f.ranks, "local processes to start (default: one per core)")
      ->check(CLI::Range(1, kRanksMax));
  command->add_option("--algorithm", f.rest.algorithm, "this one instead of the cheapest");
  command->add_option("--transport", f.rest.transport, "auto, shm, verbs, ucx or tcp")
      ->capture_default_str();
  command->add_option("--codec", f.rest.codec,
                      "messages are codes of this one: int8:block=256, fp16");
  command->add_option("--graph", f.rest.graph,
                      "of a neighbor collective: ring, base:k=2; gossamer graph list tells all");
  command->add_option("--round", f.rest.round, "of the graph, all the time (default: in turn)");
  command->add_option("--seed", f.rest.seed, "of a random graph")->capture_default_str();
  command->add_option("--place", f.direction, "in, out or both")->capture_default_str();
  command->add_flag("--swap", f.rest.swap,
                    "sendrecv, neighbor_average: each takes what the one before has left, so that "
                    "no cache holds it already");
  command->add_option("--memory", f.memory, "host, or registered: from the library's allocator")
      ->capture_default_str();
  command->add_flag("--registered", f.registered, "the same as --memory registered");
  command->add_flag("--persistent", f.rest.persistent,
                    "bind each collective to its buffers once, then start and wait");
  command->add_flag("--nccl", f.rest.nccl, "print nccl-tests' columns");
  command->add_flag("--counters", f.rest.counters,
                    "print what was copied, registered, exchanged and sent how");
  command->add_option("--baseline", f.rest.baseline,
                      "compare with all-reduces made of remote procedure calls: rpc; push: without "
                      "replies to small ones");
  command->add_flag("--touch", f.rest.touch,
                    "with --baseline: ranks write their buffers before each operation");
  command
      ->add_option("--bind", f.bind,
                   "1: each local rank to a core of its own, if there are enough; 0: do not")
      ->check(CLI::Range(0, 1))
      ->capture_default_str();
  command->add_option("--seconds", f.rest.seconds, "time per size")->capture_default_str();
  command->add_option("--timeout", f.rest.timeout_s, "seconds for joining and for one operation")
      ->capture_default_str();
  command->add_option("--csv", f.rest.csv, "write the results to this file");
  command->add_option("--json", f.rest.json, "the same as JSON");
  command->add_option("--plot", f.rest.plot, "write FILE.svg and FILE.png");
  command->callback([flags, exit_code] { *exit_code = perf(*flags); });
}

}  // namespace gossamer
