// The rows of a table: the cells of one size each, out of place and in place as the options ask
// for.
//
// Threads    One per rank; all ranks make the same calls.

#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "perf/perf_run.h"

namespace gossamer {

// As many elements as `bytes` hold, at least one, where the larger buffer has `parts` times the
// call's count.
inline void set_size(uint64_t bytes, uint64_t parts, Cell* cell) {
  cell->count = std::max<uint64_t>(bytes / (parts * size_of(cell->type)), 1);
  cell->bytes = cell->count * parts * size_of(cell->type);
}

// How the library runs the cell's call, and what it predicts.
inline void set_choice(const Communicator::Choice& choice, Cell* cell) {
  cell->algorithm = choice.algorithm;
  if (choice.pieces > 1) cell->algorithm += " x" + std::to_string(choice.pieces);
  cell->transport = choice.transport;
  cell->predicted_us = choice.predicted_us;
}

using RowSink = std::function<void(const std::vector<Cell>&)>;

// run(bytes, in_place) measures a cell. Sizes that come to the same count as the one before are
// left out. `places`: whether there is anything to be in place.
template <class Run>
Status run_rows(const PerfOptions& options, bool places, const Run& run, const RowSink& row) {
  uint64_t last_bytes = 0;
  for (const uint64_t bytes : options.sizes) {
    std::vector<Cell> cells;
    for (const bool in_place : {false, true}) {
      if (!(in_place ? options.in_place && places : options.out_of_place)) continue;
      Result<Cell> cell = run(bytes, in_place);
      if (!cell) return cell.status();
      if (cell->bytes == last_bytes) break;
      cells.push_back(*std::move(cell));
    }
    if (cells.empty()) continue;
    last_bytes = cells[0].bytes;
    row(cells);
  }
  return Status::ok();
}

}  // namespace gossamer
