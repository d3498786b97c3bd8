// Peer graphs as pictures: ranks on a circle, one panel per round.

#pragma once

#include <string>

#include "gossip/graph.h"

namespace gossamer {

inline constexpr uint64_t kPanelsMax = 12;

// An SVG document of the first rounds of a period, at most kPanelsMax. The heavier an edge, the
// darker; an arrow points to the rank that takes the value, and both ways are one plain line.
std::string draw_graph(const Graph& graph, const std::string& title);

}  // namespace gossamer
