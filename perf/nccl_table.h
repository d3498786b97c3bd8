// The table as nccl-tests print it, column for column, for scripts that read theirs.
//
// Units      Microseconds; GB/s are 10^9 bytes per second.

#pragma once

#include <cstdio>
#include <vector>

#include "perf/perf_run.h"
#include "perf/table.h"

namespace gossamer {

class NcclTable {
 public:
  explicit NcclTable(std::FILE* stream) : stream_(stream) {}

  // What comes before the first row.
  void header(const PerfOptions& options, int ranks) const;
  // One size: out of place, then in place; what a call lacks is N/A.
  void row(const std::vector<Cell>& cells) const;
  // The last lines: whether all elements were right, and the mean bus bandwidth of all cells.
  void footer(const std::vector<Cell>& cells, bool checked) const;

 private:
  std::FILE* stream_;
};

}  // namespace gossamer
