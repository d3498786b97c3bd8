// What all plots have in common: colours, styles, the beginning of the document.
//
// Threads    any.

#pragma once

#include <array>
#include <string>

namespace gossamer {

// Okabe and Ito's palette: distinct for colour-blind readers too.
inline constexpr std::array<const char*, 8> kColours = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                        "#E69F00", "#56B4E9", "#444444", "#8C6D1F"};

std::string escaped(const std::string& text);

// Up to and with the title; classes title, panel, tick, legend, grid, minor, frame, line.
std::string svg_head(double width, double height, const std::string& title);

}  // namespace gossamer
