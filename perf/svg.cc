#include "perf/svg.h"

#include <fmt/format.h>

namespace gossamer {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else
      out += c;
  }
  return out;
}

std::string svg_head(double width, double height, const std::string& title) {
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='{1}' viewBox='0 0 {0} {1}' "
      "font-family='DejaVu Sans, Verdana, sans-serif'>\n"
      "<style>.title{{font-size:18px;font-weight:bold;fill:#222}}"
      ".panel{{font-size:14px;fill:#222}}.tick{{font-size:12px;fill:#444}}"
      ".legend{{font-size:13px;fill:#222}}.grid{{stroke:#d4d4d4;stroke-width:1;fill:none}}"
      ".minor{{stroke:#eeeeee;stroke-width:1;fill:none}}"
      ".frame{{stroke:#888;stroke-width:1;fill:none}}"
      ".line{{stroke-width:2;fill:none;stroke-linejoin:round}}</style>\n"
      "<rect width='{0}' height='{1}' fill='white'/>\n"
      "<text x='80' y='36' class='title'>{2}</text>\n",
      width, height, escaped(title));
}

}  // namespace gossamer
