// How graphs are made (gossamer/gossip.h says what they are).
//
// Threads    Pure.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gossamer/gossip.h"
#include "src/parameters.h"

namespace gossamer {

struct GraphOptions {
  Rank size = 1;
  uint64_t seed = 1;  // of random graphs; the same on all ranks
  GivenParameters parameters;
};

// One line in gossip/graphs/list.h.
struct GraphFactory {
  const char* name;
  const char* what;        // one line for people
  const char* parameters;  // "k=1: most peers of a rank in a round"; empty: none
  Result<std::unique_ptr<Graph>> (*create)(const GraphOptions& options);
};

std::span<const GraphFactory* const> graphs();

// Gives a new graph its name and identity.
struct GraphMaker {
  static void introduce(Graph* graph, const std::string& name, uint64_t seed);
  static std::unique_ptr<Graph> copy(const Graph& graph) { return graph.copy(); }
};

// A graph of listed rounds that repeat; one round: a static graph.
std::unique_ptr<Graph> repeat_rounds(std::vector<Mixing> rounds);

// Those of a period; the first of a random graph. What is checked before a graph is used.
std::vector<Mixing> rounds_to_check(const Graph& graph);

// A rank, and another that its value never reaches through these rounds, if there are any.
struct Unreached {
  Rank from = 0;
  Rank to = 0;
};
std::optional<Unreached> find_unreached(std::span<const Mixing> rounds);

// Metropolis weights on each edge. Edges are sound (check_edge).
Mixing metropolis(Rank size, std::span<const Edge> edges);
Status check_edge(const Edge& edge, Rank size);

// A whole number among a graph's parameters.
//   kInvalidArgument  it is not one in [least, most]
Result<int64_t> parameter(const GraphOptions& options, const std::string& name, int64_t fallback,
                          int64_t least, int64_t most);

// A generator of the same numbers on every rank and machine for (seed, round).
uint64_t draw(uint64_t seed, uint64_t round, uint64_t index);
// A random order of [0, size).
std::vector<Rank> shuffled(Rank size, uint64_t seed, uint64_t round);

}  // namespace gossamer
