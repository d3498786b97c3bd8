#include "perf/compress_lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "gossamer/code_sums.h"
#include "perf/plot.h"

namespace gossamer {
namespace {

constexpr uint64_t kFileBytesMax = uint64_t{4} << 30;
constexpr int kTurns = 7;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

double median_seconds(const std::function<void()>& work) {
  std::vector<double> times;
  for (int turn = -1; turn < kTurns; ++turn) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (turn >= 0) times.push_back(time.count());
  }
  std::nth_element(times.begin(), times.begin() + kTurns / 2, times.end());
  return times[kTurns / 2];
}

// What is not finite has no part in the error.
double relative_error(std::span<const float> values, std::span<const float> back) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    const auto value = static_cast<double>(values[i]);
    const double lost = value - static_cast<double>(back[i]);
    error += lost * lost;
    norm += value * value;
  }
  return norm > 0 ? error / norm : 0;
}

// Added as often as it takes: what the sum is does not change how long that is.
void measure_sum(const Codec& codec, std::span<const std::byte> code, uint64_t count, int ranks,
                 LabRow* row) {
  const CodeSums& sums = *codec.sums();
  const auto terms = static_cast<uint32_t>(std::max(ranks, 2));
  std::vector<std::byte> sum(sums.sum_bytes(count, terms));
  row->sum_bytes = static_cast<double>(sum.size()) / static_cast<double>(count);
  sums.begin_sum(code, count, terms, sum);
  row->merge = median_seconds([&] { (void)sums.add_code(code, count, terms, sum); }) /
               static_cast<double>(count);
}

}  // namespace

Result<std::vector<float>> generated_data(const std::string& kind, uint64_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::exponential_distribution<float> exponential;
  std::vector<float> values(count);
  const auto two_sided = [&] {
    const float magnitude = exponential(generator);
    return generator() % 2 == 0 ? magnitude : -magnitude;
  };
  if (kind == "gaussian") {
    for (float& value : values) value = normal(generator);
  } else if (kind == "laplace") {
    for (float& value : values) value = two_sided();
  } else if (kind == "gradient") {
    constexpr uint64_t kStretch = 4096;
    float scale = 1;
    for (uint64_t i = 0; i < count; ++i) {
      if (i % kStretch == 0) scale = 1e-3F * std::exp2(2 * normal(generator));
      values[i] = scale * (generator() % 10 == 0 ? 3 * two_sided() : 0.3F * normal(generator));
    }
  } else {
    return invalid(fmt::format(
        "no data is called '{}'; there are gaussian, laplace and gradient, or give --file", kind));
  }
  return values;
}

Result<std::vector<float>> read_data(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return invalid(fmt::format("'{}' is a folder; give a file of fp32 values", path));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Status::error(Code::kSystem, fmt::format("cannot read '{}': {}", path, strerror(errno)));
  }
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) {
    return Status::error(Code::kSystem,
                         fmt::format("cannot tell the size of '{}': {}", path, error.message()));
  }
  if (bytes == 0) return invalid(fmt::format("'{}' is empty; it must hold fp32 values", path));
  if (bytes % sizeof(float) != 0) {
    return invalid(
        fmt::format("'{}' has {} bytes, which are no whole number of fp32 values; write "
                    "nothing but the values into it, without a header",
                    path, bytes));
  }
  if (bytes > kFileBytesMax) {
    return invalid(
        fmt::format("'{}' has {} bytes; give one of at most {}", path, bytes, kFileBytesMax));
  }
  std::vector<float> values(bytes / sizeof(float));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  if (file) return values;
  return Status::error(Code::kSystem, fmt::format("cannot read all of '{}'", path));
}

Result<double> parse_link(const std::string& text) {
  static constexpr struct {
    std::string_view unit;
    double bits;
  } kUnits[] = {{"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}, {"Tbit", 1e12}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& known : kUnits) {
    if (error == std::errc{} && unit == known.unit && number > 0 && number < 1e6) {
      return number * known.bits / 8;
    }
  }
  return invalid(
      fmt::format("'{}' is no speed of a link: write for example 100Mbit, 1Gbit or "
                  "2.5Gbit",
                  text));
}

double LabRow::all_reduce_seconds(double count, const LabLink& link) const {
  if (link.ranks < 2) return 0;
  const auto ranks = static_cast<double>(link.ranks);
  const double others = ranks - 1;
  const double speed = link.bytes_per_second * kGoodput;
  if (sum_bytes > 0) {
    return 2 * link.latency + others / ranks * count * (bytes + sum_bytes) / speed +
           count * (encode + merge + decode);
  }
  if (gathered) {
    return link.latency + others * count * bytes / speed + count * (encode + ranks * add);
  }
  const double moved = 2 * others / ranks * count * bytes / speed;
  if (codec == "none") return 2 * others * link.latency + moved;
  return 2 * link.latency + moved + count * (encode * (1 + 1 / ranks) + add + decode);
}

LabRow dense_row() {
  LabRow row;
  row.codec = "none";
  row.bytes = sizeof(float);
  return row;
}

LabRow measure_codec(const Codec& codec, const std::vector<float>& values, int ranks) {
  const auto count = static_cast<double>(values.size());
  std::vector<std::byte> code(codec.bytes_max(values.size()));
  std::vector<std::byte> workspace(codec.workspace_bytes(values.size()));
  std::vector<float> back(values.size());
  std::vector<float> sum(values.size());
  Encoded made;
  LabRow row;
  row.codec = codec.name();
  row.gathered = codec.traits().sparse;
  row.encode = median_seconds([&] { made = codec.encode(values, {}, code, workspace); }) / count;
  const auto used = std::span<const std::byte>(code).first(made.bytes);
  row.decode = median_seconds([&] { codec.decode(used, back); }) / count;
  row.add = median_seconds([&] { codec.add(used, 1, sum); }) / count;
  row.bytes = static_cast<double>(made.bytes) / count;
  if (codec.sums() != nullptr) measure_sum(codec, used, values.size(), ranks, &row);
  row.not_finite = made.not_finite;
  row.error = relative_error(values, back);
  return row;
}

std::string lab_plot(const std::vector<LabRow>& rows, const LabLink& link,
                     const std::string& title) {
  PlotPanel errors = {"error over ratio", "squared, relative", false, {}};
  PlotPanel times = {"all-reduce over bytes of fp32", "ms, predicted", true, {}};
  for (const LabRow& row : rows) {
    PlotSeries error = {row.codec, {}};
    if (row.error > 0 && std::isfinite(row.error)) error.points.push_back({row.ratio(), row.error});
    errors.series.push_back(error);
    PlotSeries time = {row.codec, {}};
    for (double bytes = 65536; bytes <= 256e6 * 1.1; bytes *= 4) {
      const double seconds = row.all_reduce_seconds(bytes / sizeof(float), link);
      if (seconds > 0) time.points.push_back({bytes, seconds * 1e3});
    }
    times.series.push_back(time);
  }
  return plot_svg(errors, times, title);
}

}  // namespace gossamer
