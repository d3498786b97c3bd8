// What a run of gossip-demo came to, as four panels over time.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "perf/gossip_demo.h"
#include "perf/svg.h"

namespace gossamer {
namespace {

constexpr double kWidth = 1120;
constexpr double kHeight = 760;
constexpr double kPanelWidth = 440;
constexpr double kPanelHeight = 240;

using Value = std::function<double(const GossipDemoRow&)>;
struct Curve {
  std::string name;
  Value value;
};

// From `low` to `high`, linear or logarithmic.
struct Axis {
  double low = 0;
  double high = 1;
  bool logarithmic = false;
  double place(double value, double length) const {
    if (!logarithmic) return (value - low) / (high - low) * length;
    return std::log10(std::max(value, low) / low) / std::log10(high / low) * length;
  }
  std::vector<double> ticks() const {
    std::vector<double> at;
    if (logarithmic) {
      const int decades = static_cast<int>(std::lround(std::log10(high / low)));
      const int stride = std::max(1, (decades + 5) / 6);
      for (int k = 0; k <= decades; k += stride) at.push_back(low * std::pow(10, k));
      return at;
    }
    const double rough = (high - low) / 6;
    const double decade = std::pow(10, std::floor(std::log10(rough)));
    const double step = rough > 5 * decade   ? 10 * decade
                        : rough > 2 * decade ? 5 * decade
                        : rough > decade     ? 2 * decade
                                             : decade;
    for (double v = std::ceil(low / step) * step; v <= high * (1 + 1e-9); v += step) {
      at.push_back(std::abs(v) < step / 1'000 ? 0 : v);
    }
    return at;
  }
};

Axis cover(const std::vector<GossipDemoRow>& rows, const std::vector<Curve>& curves,
           bool logarithmic) {
  double low = INFINITY;
  double high = -low;
  for (const GossipDemoRow& row : rows) {
    for (const Curve& curve : curves) {
      const double value = curve.value(row);
      if (logarithmic && value <= 0) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (!(low <= high)) return {logarithmic ? 0.1 : 0, 1, logarithmic};
  if (logarithmic) {
    low = std::pow(10, std::floor(std::log10(low)));
    high = std::pow(10, std::ceil(std::log10(high)));
    return {low, high > low ? high : low * 10, true};
  }
  return {0, high > 0 ? high * 1.08 : 1, false};
}

class Panel {
 public:
  Panel(double left, double top, std::string title)
      : left_(left), top_(top), title_(std::move(title)) {}

  std::string draw(const std::vector<GossipDemoRow>& rows, const std::vector<Curve>& curves,
                   bool logarithmic) {
    time_ = {rows.front().time, std::max(rows.back().time, rows.front().time + 1), false};
    axis_ = cover(rows, curves, logarithmic);
    std::string svg = frame() + deaths(rows);
    double legend = left_ + kPanelWidth;
    for (size_t i = curves.size(); i-- > 0;) {
      svg += line(rows, curves[i], kColours[i]);
      if (curves.size() == 1) break;
      const double width = 34 + 7.2 * static_cast<double>(curves[i].name.size());
      legend -= width;
      svg += fmt::format("<path d='M{:.1f} {}h20' class='line' stroke='{}'/>", legend, top_ - 21,
                         kColours[i]);
      svg += fmt::format("<text x='{:.1f}' y='{}' class='legend'>{}</text>\n", legend + 24,
                         top_ - 16, escaped(curves[i].name));
    }
    return svg;
  }

 private:
  double px(double time) const { return left_ + time_.place(time, kPanelWidth); }
  double py(double value) const { return top_ + kPanelHeight - axis_.place(value, kPanelHeight); }

  std::string frame() const {
    std::string svg = fmt::format("<text x='{}' y='{}' class='panel'>{}</text>\n", left_, top_ - 16,
                                  escaped(title_));
    for (const double value : axis_.ticks()) {
      svg += fmt::format("<path d='M{} {:.1f}h{}' class='grid'/>\n", left_, py(value), kPanelWidth);
      svg += fmt::format("<text x='{}' y='{:.1f}' class='tick' text-anchor='end'>{}</text>\n",
                         left_ - 8, py(value) + 4,
                         axis_.logarithmic ? fmt::format("1e{:.0f}", std::log10(value))
                                           : fmt::format("{:g}", value));
    }
    for (const double time : time_.ticks()) {
      svg += fmt::format("<text x='{:.1f}' y='{}' class='tick' text-anchor='middle'>{:g}</text>\n",
                         px(time), top_ + kPanelHeight + 20, time);
    }
    svg += fmt::format("<rect x='{}' y='{}' width='{}' height='{}' class='frame'/>\n", left_, top_,
                       kPanelWidth, kPanelHeight);
    return svg;
  }

  // Seconds in which somebody was killed are shaded.
  std::string deaths(const std::vector<GossipDemoRow>& rows) const {
    std::string svg;
    for (size_t i = 1; i < rows.size(); ++i) {
      if (rows[i].died == rows[i - 1].died) continue;
      svg += fmt::format(
          "<rect x='{:.1f}' y='{}' width='{:.1f}' height='{}' fill='#D55E00' "
          "fill-opacity='0.12'/>\n",
          px(rows[i - 1].time), top_, px(rows[i].time) - px(rows[i - 1].time), kPanelHeight);
    }
    return svg;
  }

  std::string line(const std::vector<GossipDemoRow>& rows, const Curve& curve,
                   const char* colour) const {
    std::string path;
    for (const GossipDemoRow& row : rows) {
      if (axis_.logarithmic && curve.value(row) <= 0) continue;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", px(row.time),
                          py(curve.value(row)));
    }
    return fmt::format("<path d='{}' class='line' stroke='{}'/>\n", path, colour);
  }

  double left_;
  double top_;
  std::string title_;
  Axis time_;
  Axis axis_;
};

}  // namespace

std::string draw_gossip_demo(const GossipDemo& demo, const std::vector<GossipDemoRow>& rows) {
  std::string svg = svg_head(
      kWidth, kHeight,
      fmt::format("gossip-demo: {} processes, {} killed, {} joined (shaded: seconds with a kill)",
                  demo.ranks, rows.empty() ? 0 : rows.back().died,
                  rows.empty() ? 0 : rows.back().joined - demo.ranks));
  if (!rows.empty()) {
    const auto members = [](const GossipDemoRow& r) { return static_cast<double>(r.up); };
    svg += Panel(80, 100, "members")
               .draw(rows,
                     {{"live", members},
                      {"seen by one, at most",
                       [](const auto& r) { return static_cast<double>(r.seen_max); }},
                      {"at least", [](const auto& r) { return static_cast<double>(r.seen_min); }}},
                     false);
    svg += Panel(630, 100, "distance from the mean, RMS")
               .draw(rows,
                     {{"vectors", [](const auto& r) { return r.consensus; }},
                      {"models", [](const auto& r) { return r.model; }}},
                     true);
    svg += Panel(80, 440, "loss of the mean model, on new samples")
               .draw(rows, {{"loss", [](const auto& r) { return r.loss; }}}, false);
    svg += Panel(630, 440, "weight, held and under way")
               .draw(rows, {{"weight", [](const auto& r) { return r.weight; }}}, false);
    for (const double left : {80.0, 630.0}) {
      svg += fmt::format("<text x='{}' y='{}' class='tick' text-anchor='middle'>seconds</text>\n",
                         left + kPanelWidth / 2, 440 + kPanelHeight + 44);
    }
  }
  return svg + "</svg>\n";
}

}  // namespace gossamer
