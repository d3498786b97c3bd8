// gossamer compress-lab: what each codec makes of gradients, and what it is worth on a link.

#include <fmt/format.h>

#include <memory>
#include <string>

#include "perf/check_flags.h"
#include "perf/commands.h"
#include "perf/compress_lab.h"
#include "perf/plot.h"

namespace gossamer {
namespace {

struct Flags {
  std::vector<std::string> codecs;
  std::string data = "gradient";
  std::string file;
  uint64_t count = uint64_t{4} << 20;
  uint64_t seed = 1;
  std::string link = "1Gbit";
  double latency_us = 50;
  int ranks = 4;
  std::string svg;
  bool list = false;
};

constexpr uint64_t kCountMax = uint64_t{1} << 30;
constexpr int kRanksMax = 1 << 20;

void print_list() {
  fmt::print("{:<12} {}\n", "codec", "what it is; its parameters, after a colon");
  for (const CodecInfo& info : codecs()) {
    fmt::print("{:<12} {}{}{}\n", info.name, info.summary, info.parameters.empty() ? "" : "; ",
               info.parameters);
  }
}

// All codecs, or those that were asked for.
Result<std::vector<std::unique_ptr<Codec>>> chosen_codecs(const Flags& f) {
  std::vector<std::string> texts = f.codecs;
  if (texts.empty()) {
    for (const CodecInfo& info : codecs()) texts.emplace_back(info.name);
  }
  std::vector<std::unique_ptr<Codec>> chosen;
  for (const std::string& text : texts) {
    Result<std::unique_ptr<Codec>> made = make_codec(text);
    if (!made) return made.status();
    chosen.push_back(std::move(made).value());
  }
  return chosen;
}

Status check_flags(const Flags& f) {
  if (f.count < 1 || f.count > kCountMax) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("--count is 1 to {}, not {}", kCountMax, f.count));
  }
  if (f.ranks < 2 || f.ranks > kRanksMax) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("--ranks is 2 to {}, not {}", kRanksMax, f.ranks));
  }
  if (!(f.latency_us >= 0 && f.latency_us <= 1e9)) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("--latency is microseconds, not {}", f.latency_us));
  }
  return Status::ok();
}

std::string speed_text(double seconds_per_element) {
  return seconds_per_element > 0 ? fmt::format("{:.2f}", 4e-9 / seconds_per_element) : "-";
}

void print_rows(const std::vector<LabRow>& rows, const LabLink& link, double count) {
  fmt::print("{:<48} {:>8} {:>10} {:>7} {:>7} {:>7} {:>12} {:>8}\n", "codec", "ratio", "error",
             "encode", "decode", "add", "all-reduce", "speed-up");
  fmt::print("{:<48} {:>8} {:>10} {:>7} {:>7} {:>7} {:>12} {:>8}\n", "", "", "relative", "GB/s",
             "GB/s", "GB/s", "ms", "");
  const double dense = rows.front().all_reduce_seconds(count, link);
  for (const LabRow& row : rows) {
    const double seconds = row.all_reduce_seconds(count, link);
    fmt::print("{:<48} {:>8.2f} {:>10.3g} {:>7} {:>7} {:>7} {:>12.3f} {:>8.2f}\n", row.codec,
               row.ratio(), row.error, speed_text(row.encode), speed_text(row.decode),
               speed_text(row.add), seconds * 1e3, dense / seconds);
  }
}

int experiment(const Flags& f) {
  if (f.list) {
    print_list();
    return 0;
  }
  if (Status sound = check_flags(f); !sound) return complain(sound, kExitUsage);
  LabLink link;
  const Result<double> speed = parse_link(f.link);
  if (!speed) return complain(speed.status(), kExitUsage);
  link.bytes_per_second = *speed;
  link.latency = f.latency_us * 1e-6;
  link.ranks = f.ranks;
  const auto chosen = chosen_codecs(f);
  if (!chosen) return complain(chosen.status(), kExitUsage);
  const Result<std::vector<float>> values =
      f.file.empty() ? generated_data(f.data, f.count, f.seed) : read_data(f.file);
  if (!values) {
    return complain(values.status(),
                    values.status().code() == Code::kInvalidArgument ? kExitUsage : kExitFailure);
  }
  if (Status s = check_outputs({f.svg}); !s) return complain(s);
  std::vector<LabRow> rows = {dense_row()};
  for (const auto& codec : *chosen) rows.push_back(measure_codec(*codec, *values, f.ranks));
  const std::string title =
      fmt::format("{} values of {}; all-reduce of {} ranks at {}, {:g} us", values->size(),
                  f.file.empty() ? f.data : f.file, f.ranks, f.link, f.latency_us);
  fmt::print("{}\n", title);
  print_rows(rows, link, static_cast<double>(values->size()));
  if (rows.size() > 1 && rows[1].not_finite > 0) {
    fmt::print("{} values are not finite and have no part in the error\n", rows[1].not_finite);
  }
  if (f.svg.empty()) return 0;
  const Status written = write_plot(f.svg, lab_plot(rows, link, title));
  if (written.code() == Code::kUnavailable) {
    complain(written);
    return 0;
  }
  return written ? 0 : complain(written);
}

}  // namespace

void add_compress_lab_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "compress-lab", "Codecs on gradients: ratio, error, speed, time on a link");
  Flags& f = *flags;
  command->add_option("--codec,-c", f.codecs,
                      "a codec, with parameters: int8:block=64; may be repeated; default: all");
  command->add_option("--data", f.data, "gaussian, laplace or gradient")->capture_default_str();
  command->add_option("--file", f.file, "a file of fp32 values instead");
  command->add_option("--count", f.count, "of generated values")->capture_default_str();
  command->add_option("--seed", f.seed, "of generated values")->capture_default_str();
  command->add_option("--link", f.link, "speed from each rank: 100Mbit, 1Gbit")
      ->capture_default_str();
  command->add_option("--latency", f.latency_us, "of a message, microseconds")
      ->capture_default_str();
  command->add_option("--ranks,-n", f.ranks, "number of ranks")->capture_default_str();
  command->add_option("--svg", f.svg, "plot into this file, and into a PNG beside it");
  command->add_flag("--list", f.list, "print the codecs and their parameters");
  command->callback([flags, exit_code] { *exit_code = experiment(*flags); });
}

}  // namespace gossamer
