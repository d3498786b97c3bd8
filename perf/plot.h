// Plots of two panels, log-log, as SVG; PNG through rsvg-convert. Those of measurements have bus
// bandwidth and latency over size.

#pragma once

#include <string>
#include <vector>

#include "gossamer/status.h"
#include "perf/table.h"

namespace gossamer {

struct PlotPoint {
  double x;  // both > 0
  double y;
};
struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;  // joined by a line
};
struct PlotPanel {
  std::string title;
  std::string unit;  // of y
  bool bytes;        // x is bytes, else a plain number
  std::vector<PlotSeries> series;
};

// An SVG document. Both panels have the same series, which are named below them.
std::string plot_svg(const PlotPanel& left, const PlotPanel& right, const std::string& title);

// The same of a measurement. One line per algorithm-independent series: collective, ranks,
// type, operation, in or out of place.
std::string plot_svg(const std::vector<Cell>& cells, const std::string& title);

// Writes `path` and its twin: x.svg and x.png, whichever of the two is named (or neither).
//   kSystem       a file cannot be written
//   kUnavailable  the SVG was written but there is no rsvg-convert for the PNG
Status write_plot(const std::string& path, const std::string& svg);
Status write_plot(const std::string& path, const std::vector<Cell>& cells,
                  const std::string& title);

}  // namespace gossamer
