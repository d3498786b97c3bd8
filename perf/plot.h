// Plots of bus bandwidth and latency over size, log-log, as SVG; PNG through rsvg-convert.

#pragma once

#include <string>
#include <vector>

#include "gossamer/status.h"
#include "perf/table.h"

namespace gossamer {

// An SVG document with two panels. One line per algorithm-independent series: collective, ranks,
// type, operation, in or out of place.
std::string plot_svg(const std::vector<Cell>& cells, const std::string& title);

// Writes `path` and its twin: x.svg and x.png, whichever of the two is named (or neither).
//   kSystem       a file cannot be written
//   kUnavailable  the SVG was written but there is no rsvg-convert for the PNG
Status write_plot(const std::string& path, const std::vector<Cell>& cells,
                  const std::string& title);

}  // namespace gossamer
