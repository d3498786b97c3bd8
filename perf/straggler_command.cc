// gossamer straggler: what one slow rank costs the others, by the way in which they average.

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "gossamer/gossip.h"
#include "perf/commands.h"
#include "perf/spawn.h"
#include "perf/straggler_run.h"
#include "perf/table.h"
#include "src/bootstrap.h"
#include "src/env.h"

namespace gossamer {
namespace {

struct Flags {
  std::string bytes = "1M";
  int ranks = 4;
  std::string transport = "auto";
  StragglerOptions rest{.graph = "one_peer_exponential", .pairwise_graph = "complete"};
};

Status bad(const std::string& message) {
  return Status::error(Code::kInvalidArgument, message);
}

Result<StragglerOptions> read(const Flags& f) {
  StragglerOptions o = f.rest;
  const Result<uint64_t> bytes = parse_bytes(f.bytes);
  if (!bytes) return bytes.status();
  o.count = *bytes / sizeof(float);
  if (o.count == 0) return bad("-b " + f.bytes + " is less than one float");
  if (!(o.compute_ms > 0) || !std::isfinite(o.compute_ms))
    return bad("--compute-ms must be positive");
  if (!(o.slow >= 1) || !std::isfinite(o.slow)) return bad("--slow must be at least 1");
  if (!(o.seconds > 0) || !(o.seconds <= 600)) return bad("--seconds must be in (0, 600]");
  return o;
}

void print(const StragglerOptions& o, Rank ranks, const std::vector<StragglerRow>& rows) {
  fmt::print("# {} ranks average {}; a step takes {} ms, {} times as long on rank {}\n", ranks,
             bytes_text(o.count * sizeof(float)), o.compute_ms, o.slow, ranks - 1);
  fmt::print("# {:<20} {:>15} {:>12} {:>14} {:>14}\n", "method", "healthy steps/s", "of alone",
             "slow steps/s", "mean moved by");
  for (const StragglerRow& row : rows) {
    fmt::print("  {:<20} {:>15.1f} {:>10.1f} % {:>14.1f} {:>14.1e}\n", row.method,
               row.healthy_steps_s, 100 * row.healthy_steps_s / rows[0].healthy_steps_s,
               row.slow_steps_s, row.mean_moved);
  }
}

int take_part(const StragglerOptions& options, const std::string& transport) {
  Communicator::Options join;
  join.name = "straggler";
  join.transport = transport;
  auto made = Communicator::from_environment(join);
  if (!made) return complain(made.status());
  Communicator& communicator = *made.value();
  if (communicator.size() < 2)
    return complain(bad("one rank has nobody to wait for; start 2 or more"));
  const auto rows = measure_straggler(communicator, options);
  if (!rows) return complain(rows.status());
  if (communicator.rank() == 0) print(options, communicator.size(), *rows);
  const Status last = communicator.barrier();  // nobody leaves while another runs
  return last ? 0 : complain(last);
}

// What each of the ranks would say otherwise.
Status check(const StragglerOptions& o, const Flags& f) {
  Status sound = check_transport(f.transport);
  if (sound) sound = make_graph(o.graph, f.ranks).status();
  if (sound) sound = make_graph(o.pairwise_graph, f.ranks).status();
  return sound;
}

int straggler(const Flags& flags) {
  const Result<StragglerOptions> options = read(flags);
  if (!options) return complain(options.status(), kExitUsage);
  const Result<LaunchedAs> launched = launcher_environment();
  if (!launched) return complain(launched.status(), kExitUsage);
  if (launched->found) return take_part(*options, flags.transport);
  if (Status s = check(*options, flags); !s) return complain(s, kExitUsage);
  return spawn_command(flags.ranks);
}

}  // namespace

void add_straggler_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "straggler", "What one slow rank costs the others, by the way in which they average");
  Flags& f = *flags;
  command->add_option("-b,--bytes", f.bytes, "what is averaged")->capture_default_str();
  command->add_option("--ranks", f.ranks, "local processes to start")
      ->check(CLI::Range(2, 1024))
      ->capture_default_str();
  command
      ->add_option("--compute-ms", f.rest.compute_ms,
                   "of a step, slept as if an accelerator did it")
      ->capture_default_str();
  command->add_option("--slow", f.rest.slow, "times as long on the last rank; 1: on no rank")
      ->capture_default_str();
  command->add_option("--seconds", f.rest.seconds, "per method")->capture_default_str();
  command->add_option("--graph", f.rest.graph, "of neighbor_average")->capture_default_str();
  command->add_option("--pairs", f.rest.pairwise_graph, "of pairwise averages")
      ->capture_default_str();
  command->add_option("--transport", f.transport, "auto, shm, verbs, ucx or tcp")
      ->capture_default_str();
  command->callback([flags, exit_code] { *exit_code = straggler(*flags); });
}

}  // namespace gossamer
