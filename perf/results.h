// What has been measured: kept, and shown by the rank that prints, in either table.
//
// Threads    One thread per object.

#pragma once

#include <string>
#include <vector>

#include "perf/nccl_table.h"
#include "perf/perf_run.h"
#include "perf/table.h"

namespace gossamer {

class Results {
 public:
  Results(const PerfOptions& options, int ranks, bool prints)
      : options_(options),
        ranks_(ranks),
        prints_(prints),
        table_(stdout, options.out_of_place, options.in_place, !options.codec.empty()) {}

  void header(const std::string& name) const {
    if (!prints_) return;
    std::fprintf(stdout, "#\n# %s\n", name.c_str());
    if (options_.nccl) {
      nccl_table_.header(options_, ranks_);
    } else {
      table_.header();
    }
  }
  void row(const std::vector<Cell>& cells) {
    cells_.insert(cells_.end(), cells.begin(), cells.end());
    if (!prints_) return;
    if (options_.nccl) {
      nccl_table_.row(cells);
    } else {
      table_.row(cells);
    }
  }
  void footer() const {
    if (options_.nccl) {
      nccl_table_.footer(cells_, options_.check);
    } else if (options_.check) {
      std::fprintf(stdout, "# %llu wrong elements in %zu measurements\n",
                   static_cast<unsigned long long>(wrong()), cells_.size());
    }
  }
  uint64_t wrong() const {
    uint64_t wrong = 0;
    for (const Cell& cell : cells_) wrong += cell.timing.wrong;
    return wrong;
  }
  const std::vector<Cell>& cells() const { return cells_; }

 private:
  const PerfOptions& options_;
  int ranks_;
  bool prints_;
  Table table_;
  NcclTable nccl_table_{stdout};
  std::vector<Cell> cells_;
};

}  // namespace gossamer
