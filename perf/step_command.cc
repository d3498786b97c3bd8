// gossamer step: what a training step takes whose gradients are averaged in one way or another.

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <memory>

#include "perf/check_flags.h"
#include "perf/commands.h"
#include "perf/spawn.h"
#include "perf/step_run.h"
#include "perf/table.h"
#include "src/bootstrap.h"

namespace gossamer {
namespace {

struct Flags {
  int ranks = 4;
  std::string transport = "auto";
  std::string csv;
  StepOptions rest;
};

Status bad(const std::string& message) {
  return Status::error(Code::kInvalidArgument, message);
}

Status check(const StepOptions& o) {
  if (!(o.compute_ms >= 0) || !(o.compute_ms <= 60'000)) {
    return bad("--compute-ms must be in [0, 60000]");
  }
  if (o.codec.empty() && !o.feedback.empty()) return bad("--feedback goes with --codec");
  if (Status known = check_step_model(o.model); !known) return known;
  return check_rule_names({o.codec, o.rest_codec}, o.feedback);
}

Status report(const Flags& f, Rank ranks, const StepTiming& timing) {
  std::string method = f.rest.codec.empty() ? "dense" : f.rest.codec;
  if (!f.rest.feedback.empty()) method += " + " + f.rest.feedback;
  if (!f.rest.rest_codec.empty()) method += ", rest " + f.rest.rest_codec;
  fmt::print("# {} of {}, {} ranks, {} ms of computation{}\n", f.rest.model,
             bytes_text(timing.gradient_bytes), ranks, f.rest.compute_ms,
             f.rest.overlap ? ", overlapped" : "");
  fmt::print("# {:<56} {:>10} {:>16} {:>14}\n", "method", "ms/step", "bytes sent/step", "user ms");
  fmt::print("  {:<56} {:>10.2f} {:>16.0f} {:>14.2f}\n", method, timing.median_ms,
             timing.bytes_sent, timing.processor_ms);
  if (f.csv.empty()) return Status::ok();
  std::ofstream file(f.csv);
  file << "method,ranks,ms_per_step,bytes_sent,processor_ms\n"
       << fmt::format("\"{}\",{},{},{},{}\n", method, ranks, timing.median_ms, timing.bytes_sent,
                      timing.processor_ms);
  file.close();
  return file ? Status::ok() : Status::error(Code::kSystem, "cannot write '" + f.csv + "'");
}

int take_part(const Flags& f) {
  Communicator::Options join;
  join.name = "step";
  join.transport = f.transport;
  auto made = Communicator::from_environment(join);
  if (!made) return complain(made.status());
  Communicator& communicator = *made.value();
  const auto timing = measure_steps(communicator, f.rest);
  if (!timing) return complain(timing.status());
  if (communicator.rank() == 0) {
    if (Status s = report(f, communicator.size(), *timing); !s) return complain(s);
  }
  const Status last = communicator.barrier();  // nobody leaves while another runs
  return last ? 0 : complain(last);
}

int step(const Flags& flags) {
  Status sound = check(flags.rest);
  if (sound) sound = check_transport(flags.transport);
  if (!sound) return complain(sound, kExitUsage);
  const Result<LaunchedAs> launched = launcher_environment();
  if (!launched) return complain(launched.status(), kExitUsage);
  if (launched->found) return take_part(flags);
  if (Status s = check_outputs({flags.csv}); !s) return complain(s);
  return spawn_command(flags.ranks);
}

}  // namespace

void add_step_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "step",
      "Times training steps of a known model's size through the gradient hook, dense or "
      "compressed, among --ranks local processes or in a launcher's job");
  Flags& f = *flags;
  command->add_option("--model", f.rest.model, step_models())->capture_default_str();
  command->add_option("--codec", f.rest.codec,
                      "of all matrices: int8:block=256, powersgd:rank=4; default: dense");
  command->add_option("--rest-codec", f.rest.rest_codec,
                      "of vectors and small matrices: bf16; default: dense");
  command->add_option("--feedback", f.rest.feedback,
                      "with it: ef14, ef21, ef21_sgdm, dgc:momentum=0.9");
  command
      ->add_option("--compute-ms", f.rest.compute_ms,
                   "of a step, slept as if an accelerator did it")
      ->capture_default_str();
  command->add_flag("--overlap", f.rest.overlap, "gradients come while the computation goes on");
  command->add_flag("--in-place", f.rest.in_place,
                    "gradients are computed in the hook's buckets, and not copied there and back");
  command->add_option("--steps", f.rest.steps, "timed ones")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("--warmup", f.rest.warmup, "untimed ones before")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command->add_option("--bucket-bytes", f.rest.bucket_bytes_max, "most bytes of a bucket")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--ranks", f.ranks, "local processes to start")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--transport", f.transport, "auto, shm, verbs, ucx or tcp")
      ->capture_default_str();
  command->add_option("--csv", f.csv, "write the result to this file");
  command->callback([flags, exit_code] { *exit_code = step(*flags); });
}

}  // namespace gossamer
