#include "perf/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace gossamer {
namespace {

// Writes the whole file or says why not.
Status write_file(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (file) return Status::ok();
  return Status::error(Code::kSystem, "cannot write " + path + ": " + std::strerror(errno));
}

// Three to four significant digits in at most eight characters.
std::string figure(double value) {
  if (value < 1) return fmt::format("{:.3f}", value);
  if (value < 1000) return fmt::format("{:.2f}", value);
  return fmt::format("{:.0f}", value);
}

}  // namespace

const char* const kCsvColumns =
    "op,ranks,bytes,dtype,redop,algorithm,transport,in_place,iters,median_us,p99_us,min_us,"
    "algbw_gbps,busbw_gbps,predicted_us,wrong";
const char* const kCsvCodedColumns = ",codec,sent_bytes,loss";

double Cell::algbw_gbps() const {
  return timing.median_us > 0 ? static_cast<double>(bytes) / timing.median_us * 1e-3 : 0;
}

double Cell::busbw_gbps() const {
  const double others = static_cast<double>(ranks - 1) / ranks;
  if (collective == Collective::kAllReduce) return algbw_gbps() * 2 * others;
  return algbw_gbps() * (is_in_shares(collective) ? others : 1);
}

std::string Cell::name() const {
  return exchange.empty() ? std::string(name_of(collective)) : exchange;
}

bool Cell::has_root() const {
  return exchange.empty() && gossamer::has_root(collective);
}

std::string Cell::reduction() const {
  return reduces(collective) ? std::string(name_of(op)) : "none";
}

std::string csv_line(const Cell& c) {
  // Names of codecs have commas.
  const std::string coded =
      c.codec.empty() ? "" : fmt::format(",\"{}\",{},{:.4e}", c.codec, c.sent_bytes, c.loss);
  return fmt::format("{},{},{},{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{:.5f},{:.5f},{:.3f},{}{}",
                     c.name(), c.ranks, c.bytes, name_of(c.type), c.reduction(), c.algorithm,
                     c.transport, c.in_place ? 1 : 0, c.timing.iterations, c.timing.median_us,
                     c.timing.p99_us, c.timing.min_us, c.algbw_gbps(), c.busbw_gbps(),
                     c.predicted_us, c.timing.wrong, coded);
}

Status write_csv(const std::string& path, const std::vector<Cell>& cells) {
  const bool coded = !cells.empty() && !cells.front().codec.empty();
  std::string text = std::string(kCsvColumns) + (coded ? kCsvCodedColumns : "") + "\n";
  for (const Cell& cell : cells) text += csv_line(cell) + "\n";
  return write_file(path, text);
}

Status write_json(const std::string& path, const std::vector<Cell>& cells) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Cell& c : cells) {
    rows.push_back({{"op", c.name()},
                    {"ranks", c.ranks},
                    {"bytes", c.bytes},
                    {"dtype", name_of(c.type)},
                    {"redop", c.reduction()},
                    {"algorithm", c.algorithm},
                    {"transport", c.transport},
                    {"in_place", c.in_place},
                    {"iters", c.timing.iterations},
                    {"median_us", c.timing.median_us},
                    {"p99_us", c.timing.p99_us},
                    {"min_us", c.timing.min_us},
                    {"algbw_gbps", c.algbw_gbps()},
                    {"busbw_gbps", c.busbw_gbps()},
                    {"predicted_us", c.predicted_us},
                    {"wrong", c.timing.wrong}});
    if (c.codec.empty()) continue;
    rows.back()["codec"] = c.codec;
    rows.back()["sent_bytes"] = c.sent_bytes;
    rows.back()["loss"] = c.loss;
  }
  return write_file(path, rows.dump(2) + "\n");
}

std::string bytes_text(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text + " " + kUnits[unit];
}

Result<uint64_t> parse_bytes(const std::string& text) {
  const auto fail = [&] {
    return Status::error(Code::kInvalidArgument,
                         "'" + text + "' is not a size: write for example 8, 1K, 64M or 1G");
  };
  size_t at = 0;
  uint64_t value = 0;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) {
    value = value * 10 + static_cast<uint64_t>(text[at] - '0');
    if (value > (uint64_t{1} << 50)) return fail();
  }
  if (at == 0) return fail();
  std::string unit = text.substr(at);
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::toupper(c); });
  static constexpr struct {
    const char* name;
    int shift;
  } kUnits[] = {{"", 0},    {"B", 0},    {"K", 10}, {"KB", 10}, {"KIB", 10}, {"M", 20},
                {"MB", 20}, {"MIB", 20}, {"G", 30}, {"GB", 30}, {"GIB", 30}};
  for (const auto& known : kUnits) {
    if (unit != known.name) continue;
    if (value > (uint64_t{1} << 44 >> known.shift)) return fail();
    return value << known.shift;
  }
  return fail();
}

Table::Table(std::FILE* stream, bool out_of_place, bool in_place, bool coded)
    : stream_(stream), out_of_place_(out_of_place), in_place_(in_place), coded_(coded) {}

void Table::header() const {
  std::string kinds;
  std::string names;
  std::string units;
  for (const bool in_place : {false, true}) {
    if (!(in_place ? in_place_ : out_of_place_)) continue;
    kinds += fmt::format("{:^44}", in_place ? "in-place" : "out-of-place");
    names += fmt::format("{:>9}{:>9}{:>9}{:>9}{:>8}", "time", "p99", "algbw", "busbw", "#wrong");
    units += fmt::format("{:>9}{:>9}{:>9}{:>9}{:>8}", "(us)", "(us)", "(GB/s)", "(GB/s)", "");
  }
  if (coded_) {
    names += fmt::format("{:>12}{:>10}", "sent", "loss");
    units += fmt::format("{:>12}{:>10}", "(B)", "");
  }
  fmt::print(stream_, "#{:>55}{}\n", "", kinds);
  fmt::print(stream_, "#{:>11}{:>13}{:>12}{:>12}{:>7}{}{:>10}  {}\n", "size", "count", "type",
             "redop", "root", names, "predicted", "algorithm, transport");
  fmt::print(stream_, "#{:>11}{:>13}{:>31}{}{:>10}\n", "(B)", "(elements)", "", units, "(us)");
  std::fflush(stream_);
}

void Table::row(const std::vector<Cell>& cells) const {
  if (cells.empty()) return;
  const Cell& any = cells.front();
  std::string line =
      fmt::format("{:>12}{:>13}{:>12}{:>12}{:>7}", any.bytes, any.count, name_of(any.type),
                  any.reduction(), any.has_root() ? any.root : -1);
  for (const bool in_place : {false, true}) {
    if (!(in_place ? in_place_ : out_of_place_)) continue;
    const auto cell =
        std::ranges::find_if(cells, [&](const Cell& c) { return c.in_place == in_place; });
    if (cell == cells.end()) {  // this collective is never in place
      line += fmt::format("{:>9}{:>9}{:>9}{:>9}{:>8}", "N/A", "N/A", "N/A", "N/A", "N/A");
      continue;
    }
    const Cell& c = *cell;
    line += fmt::format("{:>9}{:>9}{:>9.3f}{:>9.3f}{:>8}", figure(c.timing.median_us),
                        figure(c.timing.p99_us), c.algbw_gbps(), c.busbw_gbps(),
                        c.checked ? std::to_string(c.timing.wrong) : "N/A");
  }
  if (coded_) line += fmt::format("{:>12}{:>10.1e}", any.sent_bytes, any.loss);
  std::string chosen = any.algorithm + ", " + any.transport;
  if (cells.back().algorithm != any.algorithm)
    chosen += " (in place: " + cells.back().algorithm + ")";
  fmt::print(stream_, "{}{:>10}  {}\n", line, figure(any.predicted_us), chosen);
  std::fflush(stream_);
}

}  // namespace gossamer
