// gossamer train-lab: what each codec does to what is learned, and to what is sent.

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "perf/check_flags.h"
#include "perf/commands.h"
#include "perf/training.h"

namespace gossamer {
namespace {

struct Flags {
  int ranks = 4;
  int epochs = 16;
  int seeds = 3;
  bool regression = false;
  std::string only;
  std::string codec;
  std::string feedback;
  std::string rest_codec;
  bool markdown = false;
  bool list = false;
};

void print_methods() {
  const char* const form = "{:<26} {:<44} {:<19} {}\n";
  fmt::print(fmt::runtime(form), "method", "codec", "feedback", "of biases");
  for (const TrainingMethod& method : training_methods()) {
    const auto or_none = [](const std::string& text) { return text.empty() ? "-" : text; };
    const std::string& rest = method.vectors_too ? method.codec : method.rest_codec;
    fmt::print(fmt::runtime(form), method.name, or_none(method.codec), or_none(method.feedback),
               or_none(rest));
  }
}

// Those of the table whose names fit, or the one of the command line, after dense.
std::vector<TrainingMethod> chosen_methods(const Flags& f) {
  std::vector<TrainingMethod> methods = training_methods();
  if (f.codec.empty()) {
    std::erase_if(methods, [&](const TrainingMethod& method) {
      return !method.codec.empty() && method.name.find(f.only) == std::string::npos;
    });
    return methods;
  }
  methods.resize(1);
  // These have the momentum inside: twice is too much.
  const bool inside = f.feedback.starts_with("dgc") || f.feedback.starts_with("ef21_sgdm");
  methods.push_back({.name = f.codec + (f.feedback.empty() ? "" : " + " + f.feedback),
                     .codec = f.codec,
                     .feedback = f.feedback,
                     .momentum_inside = inside,
                     .rest_codec = f.rest_codec});
  return methods;
}

struct Row {
  double loss = 0;
  double accuracy = 0;
  double bytes = 0;
};

int run(const Flags& f) {
  if (f.list) {
    print_methods();
    return 0;
  }
  if (Status known = check_rule_names({f.codec, f.rest_codec}, f.feedback); !known) {
    return complain(known, kExitUsage);
  }
  Training training;
  training.ranks = f.ranks;
  training.epochs = static_cast<size_t>(f.epochs);
  if (f.regression) training.widths = {TrainingData::kDimensions, TrainingData::kClasses};
  const std::vector<TrainingMethod> methods = chosen_methods(f);
  if (methods.size() == 1 && !f.only.empty()) {
    return complain(Status::error(Code::kInvalidArgument,
                                  "no method's name contains '" + f.only + "'; --list shows them"),
                    kExitUsage);
  }
  if (!f.markdown) {
    fmt::print("# {}, {} ranks with {} points a step each, {} epochs, mean of {} seeds\n",
               f.regression ? "logistic regression" : "network 32-256-256-10", f.ranks,
               training.batch, f.epochs, f.seeds);
  }
  const char* const form =
      f.markdown ? "| {} | {} | {} | {} | {} |\n" : "{:<26} {:>10} {:>9} {:>12} {:>8}\n";
  fmt::print(fmt::runtime(form), "method", "loss", "accuracy", "bytes/step", "fewer");
  if (f.markdown) fmt::print("|---|---|---|---|---|\n");
  double dense_bytes = 0;
  for (const TrainingMethod& method : methods) {
    Row row;
    for (int seed = 0; seed < f.seeds; ++seed) {
      training.seed = static_cast<uint64_t>(seed);
      const Result<Trained> trained = train(training, method);
      if (!trained) return complain(trained.status());
      row.loss += trained->train.loss / f.seeds;
      row.accuracy += trained->test.accuracy / f.seeds;
      row.bytes += trained->last_bytes_per_step / f.seeds;
    }
    if (dense_bytes == 0) dense_bytes = row.bytes;
    fmt::print(fmt::runtime(form), method.name, fmt::format("{:.4f}", row.loss),
               fmt::format("{:.1f} %", 100 * row.accuracy), fmt::format("{:.0f}", row.bytes),
               fmt::format("{:.1f}x", dense_bytes / row.bytes));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

void add_train_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* const command = app.add_subcommand(
      "train-lab",
      "Trains a small network with compressed gradients, and tells loss, accuracy and bytes sent");
  command->footer(
      "Ranks are threads of this process, and gradients go through the gradient hook. loss: on the "
      "training data; accuracy: on others; bytes/step: what a rank sends in a step of the last "
      "epoch; fewer: how many times fewer than dense.");
  command->add_option("--ranks", flags->ranks, "ranks, 32 points per step each")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--epochs", flags->epochs, "times that all points are seen")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--seeds", flags->seeds, "runs that are averaged")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_flag("--regression", flags->regression,
                    "logistic regression instead of the network 32-256-256-10");
  command->add_option("--only", flags->only, "methods whose names contain this, beside dense");
  CLI::Option* const codec =
      command->add_option("--codec", flags->codec, "this one alone, beside dense: topk:ratio=0.01");
  command->add_option("--feedback", flags->feedback, "with it: ef14, ef21, dgc, ef21_sgdm")
      ->needs(codec);
  command->add_option("--rest-codec", flags->rest_codec, "with it, of the biases: bf16")
      ->needs(codec);
  command->add_flag("--list", flags->list, "show the methods' codecs and feedback, and end");
  command->add_flag("--markdown", flags->markdown, "a table for a document");
  command->callback([flags, exit_code] { *exit_code = run(*flags); });
}

}  // namespace gossamer
