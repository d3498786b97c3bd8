// Results of a measurement, and how they are shown: a table in nccl-tests' columns, CSV and JSON.
//
// Units      Microseconds; GB/s are 10^9 bytes per second.

#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "gossamer/status.h"
#include "gossamer/types.h"
#include "perf/measure.h"

namespace gossamer {

struct Cell {
  Collective collective = Collective::kAllReduce;
  std::string exchange;  // "sendrecv", "hypercube": what is measured instead of a collective
  int ranks = 1;
  uint64_t bytes = 0;  // of the larger buffer of a rank, input or output
  uint64_t count = 0;  // as in the call: elements of the buffer, or of one share
  DataType type = DataType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  std::string algorithm;
  std::string transport;
  Rank root = 0;
  bool in_place = false;
  bool checked = false;  // whether timing.wrong means anything
  double predicted_us = 0;
  std::string codec;        // empty: messages are elements
  uint64_t sent_bytes = 0;  // per operation, by the rank that sends most, with a codec
  double loss = 0;          // mean squared error over the mean square, with a codec
  Timing timing;

  // Bytes per time of the median operation; and what a link carries for it whatever the algorithm,
  // as nccl-tests define it: times 2 (n - 1) / n for all-reduce, 1 for broadcast and reduce,
  // (n - 1) / n for the others.
  double algbw_gbps() const;
  double busbw_gbps() const;
  std::string name() const;       // "all_reduce", "sendrecv"
  std::string reduction() const;  // "sum", or "none"
  bool has_root() const;
};

// The column names of the CSV file, without the line's end; with a codec, three more.
extern const char* const kCsvColumns;
extern const char* const kCsvCodedColumns;
std::string csv_line(const Cell& cell);
Status write_csv(const std::string& path, const std::vector<Cell>& cells);
Status write_json(const std::string& path, const std::vector<Cell>& cells);

// "512 B", "64 KiB", "1.5 MiB".
std::string bytes_text(uint64_t bytes);
// "8", "1K", "64M", "1G", also "64MiB" and "64MB" (all binary).
//   kInvalidArgument  anything else
Result<uint64_t> parse_bytes(const std::string& text);

// Prints cells in the order they come; a size's two directions share a line.
class Table {
 public:
  Table(std::FILE* stream, bool out_of_place, bool in_place, bool coded = false);
  void header() const;
  // One or two cells of the same size and type.
  void row(const std::vector<Cell>& cells) const;

 private:
  std::FILE* stream_;
  bool out_of_place_;
  bool in_place_;
  bool coded_;  // shows what was sent and lost
};

}  // namespace gossamer
