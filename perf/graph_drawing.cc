#include "perf/graph_drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

namespace gossamer {
namespace {

constexpr double kPanel = 260;
constexpr double kTop = 44;
constexpr uint64_t kColumns = 4;
constexpr const char* kArrow = " marker-end=\"url(#head)\"";
constexpr Rank kNamedMax = 40;  // above, names of ranks would cover each other

struct Point {
  double x;
  double y;
};

Point place(Rank rank, Rank size, Point centre, double radius) {
  const double angle = 2 * std::numbers::pi * rank / size - std::numbers::pi / 2;
  return {centre.x + radius * std::cos(angle), centre.y + radius * std::sin(angle)};
}

void draw_edge(Point from, Point to, double weight, bool arrow, std::string* svg) {
  // Ends at the rim of the dots, so that arrow heads show.
  const double length = std::hypot(to.x - from.x, to.y - from.y);
  const double cut = std::min(0.4, 7 / std::max(length, 1e-9));
  const Point a{from.x + cut * (to.x - from.x), from.y + cut * (to.y - from.y)};
  const Point b{to.x - cut * (to.x - from.x), to.y - cut * (to.y - from.y)};
  fmt::format_to(std::back_inserter(*svg),
                 R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#0072B2" )"
                 R"(stroke-opacity="{:.2f}" stroke-width="1.4"{}/>)"
                 "\n",
                 a.x, a.y, b.x, b.y, 0.25 + 0.75 * std::min(1.0, 2 * weight), arrow ? kArrow : "");
}

void draw_round(const Mixing& mixing, Point centre, double radius, std::string* svg) {
  const Rank size = mixing.size();
  const auto at = [&](Rank r) { return place(r, size, centre, radius); };
  for (Rank i = 0; i < size; ++i) {
    for (const Weight& w : mixing.row(i)) {
      if (w.rank == i || w.value <= 0) continue;
      const bool both = mixing.weight(w.rank, i) > 0;
      if (!both || i < w.rank) draw_edge(at(w.rank), at(i), w.value, !both, svg);
    }
  }
  for (Rank r = 0; r < size; ++r) {
    const Point p = at(r);
    const double dot = size <= kNamedMax ? 5 : 2;
    fmt::format_to(std::back_inserter(*svg),
                   R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill="#D55E00"/>)"
                   "\n",
                   p.x, p.y, dot);
    if (size > kNamedMax) continue;
    const Point name = place(r, size, centre, radius + 13);
    fmt::format_to(std::back_inserter(*svg),
                   R"(<text x="{:.1f}" y="{:.1f}" font-size="10" text-anchor="middle">{}</text>)"
                   "\n",
                   name.x, name.y + 3.5, r);
  }
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

}  // namespace

std::string draw_graph(const Graph& graph, const std::string& title) {
  const uint64_t rounds = graph.period() == 0 ? kColumns : std::min(graph.period(), kPanelsMax);
  const uint64_t columns = std::min(rounds, kColumns);
  const double width = std::max(kPanel * static_cast<double>(columns), 2 * kPanel);
  const double height = kTop + kPanel * static_cast<double>((rounds + columns - 1) / columns);
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" )"
      R"(viewBox="0 0 {0:.0f} {1:.0f}" font-family="DejaVu Sans, sans-serif">)"
      "\n"
      R"(<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" )"
      R"(markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#0072B2"/></marker></defs>)"
      "\n"
      R"(<rect width="100%" height="100%" fill="white"/>)"
      "\n"
      R"(<text x="16" y="26" font-size="15">{2}</text>)"
      "\n",
      width, height, escaped(title));
  for (uint64_t t = 0; t < rounds; ++t) {
    const Point corner{kPanel * static_cast<double>(t % columns),
                       kTop + kPanel * static_cast<double>(t / columns)};
    if (rounds > 1) {
      fmt::format_to(std::back_inserter(svg),
                     R"(<text x="{:.0f}" y="{:.0f}" font-size="11" fill="#444444">round {}</text>)"
                     "\n",
                     corner.x + 16, corner.y + 14, t);
    }
    draw_round(*graph.mixing(t), {corner.x + kPanel / 2, corner.y + kPanel / 2 + 6},
               kPanel / 2 - 34, &svg);
  }
  return svg + "</svg>\n";
}

}  // namespace gossamer
