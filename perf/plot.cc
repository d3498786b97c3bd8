#include "perf/plot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "perf/svg.h"

namespace gossamer {
namespace {

using Series = PlotSeries;
using Point = PlotPoint;

constexpr double kWidth = 1120;
constexpr double kPanelWidth = 440;
constexpr double kPanelHeight = 330;
constexpr double kTop = 84;
// How series `index` looks: when the colours have run out they come again, hollow and broken.
struct Look {
  const char* colour;
  const char* fill;
  const char* dashes;
};
Look look_of(size_t index) {
  const char* const colour = kColours[index % std::size(kColours)];
  if (index < std::size(kColours)) return {colour, colour, "none"};
  return {colour, "white", index < 2 * std::size(kColours) ? "7 4" : "2 3"};
}
std::string stroke(const std::string& path, const Look& look) {
  return fmt::format("<path d='{}' class='line' stroke='{}' stroke-dasharray='{}'/>", path,
                     look.colour, look.dashes);
}
std::string dot(double x, double y, const Look& look) {
  return fmt::format(
      "<circle cx='{:.1f}' cy='{:.1f}' r='3.2' stroke-width='1.6' stroke='{}' fill='{}'/>", x, y,
      look.colour, look.fill);
}

// A logarithmic scale from `low` to `high`, powers of its base.
struct Scale {
  double low;
  double high;
  double base;
  double position(double value, double length) const {
    return std::log(value / low) / std::log(high / low) * length;
  }
};

Scale cover(double least, double most, double base) {
  const double low = std::pow(base, std::floor(std::log(least) / std::log(base) + 1e-9));
  double high = std::pow(base, std::ceil(std::log(most) / std::log(base) - 1e-9));
  if (high <= low) high = low * base;
  return {low, high, base};
}

std::string value_text(double value) {
  return value >= 1e6   ? fmt::format("{:.0f}M", value / 1e6)
         : value >= 1e3 ? fmt::format("{:.0f}k", value / 1e3)
                        : fmt::format("{:g}", value);
}

class Panel {
 public:
  Panel(double left, const PlotPanel& what) : left_(left), what_(what) {}

  std::string draw() {
    const std::vector<Series>& series = what_.series;
    double x_min = INFINITY;
    double x_max = 0;
    double y_min = INFINITY;
    double y_max = 0;
    for (const Series& s : series) {
      for (const Point& p : s.points) {
        x_min = std::min(x_min, p.x);
        x_max = std::max(x_max, p.x);
        y_min = std::min(y_min, p.y);
        y_max = std::max(y_max, p.y);
      }
    }
    if (x_max <= 0) return "";
    x_ = cover(x_min, x_max, 2);
    y_ = cover(y_min, y_max, 10);
    std::string svg = frame();
    for (size_t i = 0; i < series.size(); ++i) svg += line(series[i], look_of(i));
    return svg;
  }

 private:
  double px(double x) const { return left_ + x_.position(x, kPanelWidth); }
  double py(double y) const { return kTop + kPanelHeight - y_.position(y, kPanelHeight); }

  std::string frame() const {
    std::string svg = fmt::format("<text x='{}' y='{}' class='panel'>{}</text>\n", left_, kTop - 16,
                                  escaped(what_.title + " (" + what_.unit + ")"));
    for (double decade = y_.low; decade <= y_.high * 1.001; decade *= 10) {
      const double y = py(decade);
      svg += fmt::format("<path d='M{} {:.1f}h{}' class='grid'/>\n", left_, y, kPanelWidth);
      svg += fmt::format("<text x='{}' y='{:.1f}' class='tick' text-anchor='end'>{}</text>\n",
                         left_ - 8, y + 4, value_text(decade));
      for (int k = 2; k < 10 && decade * 10 <= y_.high * 1.001; ++k)
        svg += fmt::format("<path d='M{} {:.1f}h{}' class='minor'/>\n", left_, py(decade * k),
                           kPanelWidth);
    }
    // about eight labels along the sizes, whatever the range
    const int steps = std::max(1, static_cast<int>(std::lround(std::log2(x_.high / x_.low))));
    const int stride = std::max(1, (steps + 7) / 8);
    for (int k = 0; k <= steps; k += stride) {
      const double size = x_.low * std::exp2(k);
      const double x = px(size);
      svg += fmt::format("<path d='M{:.1f} {}v{}' class='grid'/>\n", x, kTop, kPanelHeight);
      svg += fmt::format("<text x='{:.1f}' y='{}' class='tick' text-anchor='middle'>{}</text>\n", x,
                         kTop + kPanelHeight + 20,
                         what_.bytes ? bytes_text(static_cast<uint64_t>(size)) : value_text(size));
    }
    svg += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' class='frame'/>\n", left_, kTop,
                       kPanelWidth, kPanelHeight);
    return svg;
  }

  std::string line(const Series& series, const Look& look) const {
    std::string path;
    std::string dots;
    for (const Point& p : series.points) {
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px(p.x), py(p.y));
      dots += dot(px(p.x), py(p.y), look) + "\n";
    }
    return stroke(path, look) + "\n" + dots;
  }

  double left_;
  const PlotPanel& what_;
  Scale x_{};
  Scale y_{};
};

std::vector<Series> series_of(const std::vector<Cell>& cells, bool latency) {
  std::map<std::string, size_t> index;
  std::vector<Series> all;
  const auto differs = [&](auto field) {
    return std::ranges::any_of(cells, [&](const Cell& c) { return field(c) != field(cells[0]); });
  };
  const bool ranks = differs([](const Cell& c) { return c.ranks; });
  const bool types = differs([](const Cell& c) { return c.type; });
  const bool ops = differs([](const Cell& c) { return c.op; });
  for (const Cell& c : cells) {
    std::string name =
        std::string(name_of(c.collective)) + (c.in_place ? ", in place" : ", out of place");
    if (ranks) name += ", " + std::to_string(c.ranks) + " ranks";
    if (types) name += ", " + std::string(name_of(c.type));
    if (ops) name += ", " + c.reduction();
    const auto [at, fresh] = index.try_emplace(name, all.size());
    if (fresh) all.push_back({name, {}});
    const double y = latency ? c.timing.median_us : c.busbw_gbps();
    if (y > 0 && c.bytes > 0) all[at->second].points.push_back({static_cast<double>(c.bytes), y});
  }
  return all;
}

std::string legend(const std::vector<Series>& series, double* bottom) {
  std::string svg;
  double x = 80;
  double y = kTop + kPanelHeight + 62;
  for (size_t i = 0; i < series.size(); ++i) {
    const double width = 52 + 7.2 * static_cast<double>(series[i].name.size());
    if (x + width > kWidth - 20 && i > 0) {
      x = 80;
      y += 22;
    }
    svg += stroke(fmt::format("M{} {}h26", x, y - 4), look_of(i)) + dot(x + 13, y - 4, look_of(i));
    svg += fmt::format("<text x='{}' y='{}' class='legend'>{}</text>\n", x + 34, y,
                       escaped(series[i].name));
    x += width;
  }
  *bottom = y + 24;
  return svg;
}

Status convert_to_png(const std::string& svg, const std::string& png) {
  const std::string scale = "--zoom=1.5";
  const char* arguments[] = {"rsvg-convert", scale.c_str(), "-o",
                             png.c_str(),    svg.c_str(),   nullptr};
  pid_t pid = -1;
  if (posix_spawnp(&pid, arguments[0], nullptr, nullptr, const_cast<char**>(arguments), environ) !=
      0)
    return Status::error(Code::kUnavailable,
                         "wrote " + svg + " but not the PNG: install librsvg2-bin");
  int how = 0;
  while (waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(how) && WEXITSTATUS(how) == 0) return Status::ok();
  return Status::error(Code::kSystem, "rsvg-convert could not write " + png);
}

}  // namespace

std::string plot_svg(const PlotPanel& left, const PlotPanel& right, const std::string& title) {
  double height = 0;
  const std::string names = legend(left.series, &height);
  return svg_head(kWidth, height, title) + Panel(80, left).draw() + Panel(630, right).draw() +
         names + "</svg>\n";
}

std::string plot_svg(const std::vector<Cell>& cells, const std::string& title) {
  return plot_svg({"bus bandwidth", "GB/s", true, series_of(cells, false)},
                  {"latency, median", "µs", true, series_of(cells, true)}, title);
}

Status write_plot(const std::string& path, const std::vector<Cell>& cells,
                  const std::string& title) {
  return write_plot(path, plot_svg(cells, title));
}

Status write_plot(const std::string& path, const std::string& svg_text) {
  std::filesystem::path stem = path;
  if (stem.extension() == ".svg" || stem.extension() == ".png") stem.replace_extension();
  const std::string svg = stem.string() + ".svg";
  std::ofstream file(svg, std::ios::trunc);
  file << svg_text;
  file.close();
  if (!file) return Status::error(Code::kSystem, "cannot write " + svg + ": " + strerror(errno));
  return convert_to_png(svg, stem.string() + ".png");
}

}  // namespace gossamer
