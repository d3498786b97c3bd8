#include "perf/nccl_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace gossamer {
namespace {

// Their names of types.
const char* nccl_name_of(DataType type) {
  switch (type) {
    case DataType::kInt8:
      return "int8";
    case DataType::kUint8:
      return "uint8";
    case DataType::kInt32:
      return "int32";
    case DataType::kUint32:
      return "uint32";
    case DataType::kInt64:
      return "int64";
    case DataType::kUint64:
      return "uint64";
    case DataType::kFloat16:
      return "half";
    case DataType::kFloat32:
      return "float";
    case DataType::kFloat64:
      return "double";
    case DataType::kBfloat16:
      return "bfloat16";
    case DataType::kFloat8E4M3:
      return "f8e4m3";
    case DataType::kFloat8E5M2:
      return "f8e5m2";
  }
  return "?";
}

// At most seven characters.
std::string time_text(double us) {
  if (us >= 10'000) return fmt::format("{:.0f}", us);
  return us >= 100 ? fmt::format("{:.1f}", us) : fmt::format("{:.2f}", us);
}

}  // namespace

void NcclTable::header(const PerfOptions& o, int ranks) const {
  fmt::print(stream_, "# nccl-tests' columns, by gossamer {}: host memory\n", GOSSAMER_VERSION);
  fmt::print(stream_,
             "# nRanks {} minBytes {} maxBytes {} warmup iters: {} iters: {} validation: {}\n",
             ranks, o.sizes.front(), o.sizes.back(), o.warmup, o.iterations, o.check ? 1 : 0);
  fmt::print(stream_, "#\n# {:>63}{:>36}\n", "out-of-place", "in-place");
  fmt::print(stream_, "# {:>10}  {:>12}  {:>8}  {:>6}  {:>6}", "size", "count", "type", "redop",
             "root");
  for (int place = 0; place < 2; ++place) {
    fmt::print(stream_, "  {:>7}  {:>6}  {:>6}  {:>6}", "time", "algbw", "busbw", "#wrong");
  }
  fmt::print(stream_, "\n# {:>10}  {:>12}  {:>8}  {:>6}  {:>6}", "(B)", "(elements)", "", "", "");
  for (int place = 0; place < 2; ++place) {
    fmt::print(stream_, "  {:>7}  {:>6}  {:>6}  {:>6}", "(us)", "(GB/s)", "(GB/s)", "");
  }
  fmt::print(stream_, "\n");
  std::fflush(stream_);
}

void NcclTable::row(const std::vector<Cell>& cells) const {
  if (cells.empty()) return;
  const Cell& any = cells.front();
  fmt::print(stream_, "{:>12}  {:>12}  {:>8}  {:>6}  {:>6}", any.bytes, any.count,
             nccl_name_of(any.type), any.reduction(), any.has_root() ? any.root : -1);
  for (const bool in_place : {false, true}) {
    const auto found = std::ranges::find(cells, in_place, &Cell::in_place);
    if (found == cells.end()) {
      fmt::print(stream_, "  {:>7}  {:>6}  {:>6}  {:>6}", "N/A", "N/A", "N/A", "N/A");
      continue;
    }
    fmt::print(stream_, "  {:>7}  {:>6.2f}  {:>6.2f}  {:>6}", time_text(found->timing.median_us),
               found->algbw_gbps(), found->busbw_gbps(),
               found->checked ? std::to_string(found->timing.wrong) : "N/A");
  }
  fmt::print(stream_, "\n");
  std::fflush(stream_);
}

void NcclTable::footer(const std::vector<Cell>& cells, bool checked) const {
  uint64_t wrong = 0;
  double total = 0;
  for (const Cell& cell : cells) {
    wrong += cell.timing.wrong;
    total += cell.busbw_gbps();
  }
  if (checked) {
    fmt::print(stream_, "# Out of bounds values : {} {}\n", wrong, wrong == 0 ? "OK" : "FAILED");
  }
  const double mean = cells.empty() ? 0 : total / static_cast<double>(cells.size());
  fmt::print(stream_, "# Avg bus bandwidth    : {:.6g}\n#\n", mean);
  std::fflush(stream_);
}

}  // namespace gossamer
