#include "gossip/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>

#include "gossip/graphs/list.h"
#include "src/check.h"
#include "src/env.h"
#include "src/graph_names.h"

namespace gossamer {
namespace {

constexpr Rank kRanksMax = 1 << 20;
constexpr uint64_t kRandomRoundsChecked = 64;

class Repeated final : public Graph {
 public:
  explicit Repeated(std::vector<Mixing> rounds) {
    GOSSAMER_CHECK(!rounds.empty());
    for (Mixing& mixing : rounds) {
      rounds_.push_back(std::make_shared<const Mixing>(std::move(mixing)));
    }
  }
  Rank size() const override { return rounds_.front()->size(); }
  uint64_t period() const override { return rounds_.size(); }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    return rounds_[round % rounds_.size()];
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<Repeated>(*this); }
  std::vector<std::shared_ptr<const Mixing>> rounds_;
};

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

const GraphFactory* find(std::string_view name) {
  for (const GraphFactory* factory : graphs()) {
    if (name == factory->name) return factory;
  }
  return nullptr;
}

std::string known_names() {
  std::string names;
  for (const GraphFactory* factory : graphs()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", factory->name);
  }
  return names;
}

Status check_size(Rank size) {
  if (size >= 1 && size <= kRanksMax) return Status::ok();
  return invalid(fmt::format("a graph has 1 to {} ranks, not {}", kRanksMax, size));
}

std::unique_ptr<Graph> introduced(std::unique_ptr<Graph> graph, const std::string& name,
                                  uint64_t seed) {
  GraphMaker::introduce(graph.get(), name, seed);
  return graph;
}

}  // namespace

std::span<const GraphFactory* const> graphs() {
#define GOSSAMER_ADDRESS(name) &name##_graph,
  static const GraphFactory* const kAll[] = {GOSSAMER_GRAPHS(GOSSAMER_ADDRESS)};
#undef GOSSAMER_ADDRESS
  return kAll;
}

Result<std::unique_ptr<Graph>> make_graph(const std::string& text, Rank size, uint64_t seed) {
  if (Status sound = check_size(size); !sound) return sound;
  const auto [name, parameters] = split_name(text);
  const GraphFactory* const factory = find(name);
  if (factory == nullptr) {
    return invalid(fmt::format("no graph is called '{}'; there are {}", name, known_names()));
  }
  GraphOptions options;
  options.size = size;
  options.seed = seed;
  const Status read = read_parameters(parameters, fmt::format("graph {}", name),
                                      factory->parameters, &options.parameters);
  if (!read) return read;
  if (size == 1) return introduced(repeat_rounds({Mixing::identity(1)}), text, seed);
  Result<std::unique_ptr<Graph>> made = factory->create(options);
  if (!made) return made.status();
  return introduced(std::move(made).value(), text, seed);
}

Result<std::unique_ptr<Graph>> make_graph(Rank size, std::span<const Edge> edges) {
  if (Status sound = check_size(size); !sound) return sound;
  for (const Edge& edge : edges) {
    if (Status sound = check_edge(edge, size); !sound) return sound;
  }
  const Mixing mixing = metropolis(size, edges);
  if (Status connected = check_connected(std::span(&mixing, 1)); !connected) return connected;
  return introduced(repeat_rounds({mixing}), "edges", 0);
}

Result<std::unique_ptr<Graph>> make_graph(Rank size, std::span<const double> weights,
                                          Stochastic sums) {
  if (Status sound = check_size(size); !sound) return sound;
  const auto n = static_cast<size_t>(size);
  if (weights.size() != n * n) {
    return invalid(
        fmt::format("{} weights for {} ranks; give {}: row i has what rank i gives to "
                    "each rank's value",
                    weights.size(), size, n * n));
  }
  Mixing mixing(size);
  for (size_t i = 0; i < n * n; ++i) {
    mixing.add(static_cast<Rank>(i / n), static_cast<Rank>(i % n), weights[i]);
  }
  if (Status sound = check_sums(mixing, sums); !sound) return sound;
  if (Status connected = check_connected(std::span(&mixing, 1)); !connected) return connected;
  return introduced(repeat_rounds({std::move(mixing)}), "weights", 0);
}

Status check_graph(const Graph& graph, Stochastic sums, bool symmetric) {
  const std::vector<Mixing> all = rounds_to_check(graph);
  for (size_t t = 0; t < all.size(); ++t) {
    Status sound = check_sums(all[t], sums);
    if (sound && symmetric) sound = check_symmetry(all[t]);
    if (!sound) {
      return invalid(fmt::format("graph {}, round {}: {}", graph.name(), t, sound.message()));
    }
  }
  const Status connected = check_connected(all);
  if (connected) return connected;
  return invalid(fmt::format("graph {}: {}", graph.name(), connected.message()));
}

// Rounds that repeat are told apart by what is in them, random ones by where they come from.
void GraphMaker::introduce(Graph* graph, const std::string& name, uint64_t seed) {
  uint64_t hash = draw(0, 0, static_cast<uint64_t>(graph->size()));
  const auto add = [&](uint64_t value) { hash = draw(hash, 1, value); };
  for (uint64_t t = 0; t < graph->period(); ++t) {
    const std::shared_ptr<const Mixing> mixing = graph->mixing(t);
    for (Rank i = 0; i < mixing->size(); ++i) {
      for (const Weight& w : mixing->row(i)) {
        add(static_cast<uint64_t>(i) << 32 | static_cast<uint64_t>(w.rank));
        add(std::bit_cast<uint64_t>(w.value));
      }
    }
  }
  if (graph->period() == 0) {
    add(seed);
    for (const char c : name) add(static_cast<unsigned char>(c));
  }
  graph->identity_ = hash | 1;
  graph->name_ = name;
  remember_graph(graph->identity_, name);
}

std::vector<Mixing> rounds_to_check(const Graph& graph) {
  const uint64_t rounds = graph.period() > 0 ? graph.period() : kRandomRoundsChecked;
  std::vector<Mixing> all;
  for (uint64_t t = 0; t < rounds; ++t) all.push_back(*graph.mixing(t));
  return all;
}

std::unique_ptr<Graph> repeat_rounds(std::vector<Mixing> rounds) {
  return std::make_unique<Repeated>(std::move(rounds));
}

Status check_edge(const Edge& edge, Rank size) {
  if (edge.a < 0 || edge.b < 0 || edge.a >= size || edge.b >= size) {
    return invalid(fmt::format("the edge {} {} leads to no rank; there are 0 to {}", edge.a, edge.b,
                               size - 1));
  }
  if (edge.a != edge.b) return Status::ok();
  return invalid(fmt::format("rank {} has an edge to itself; leave it out", edge.a));
}

Mixing metropolis(Rank size, std::span<const Edge> edges) {
  std::vector<std::set<Rank>> neighbors(static_cast<size_t>(size));
  for (const Edge& e : edges) {
    GOSSAMER_CHECK(e.a != e.b && e.a >= 0 && e.b >= 0 && e.a < size && e.b < size);
    neighbors[static_cast<size_t>(e.a)].insert(e.b);
    neighbors[static_cast<size_t>(e.b)].insert(e.a);
  }
  Mixing mixing(size);
  for (Rank a = 0; a < size; ++a) {
    const auto& mine = neighbors[static_cast<size_t>(a)];
    for (const Rank b : mine) {
      const size_t degree = std::max(mine.size(), neighbors[static_cast<size_t>(b)].size());
      mixing.add(a, b, 1.0 / (1.0 + static_cast<double>(degree)));
    }
  }
  mixing.keep_the_rest();
  return mixing;
}

Result<int64_t> parameter(const GraphOptions& options, const std::string& name, int64_t fallback,
                          int64_t least, int64_t most) {
  const auto found = options.parameters.find(name);
  if (found == options.parameters.end()) return fallback;
  return parse_int(found->second, least, most, "the graph's parameter " + name);
}

// Counter-based, so that round 10^6 costs no more than round 0 (Steele, Lea and Flood, "Fast
// splittable pseudorandom number generators", OOPSLA 2014: the finalizer).
uint64_t draw(uint64_t seed, uint64_t round, uint64_t index) {
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  };
  constexpr uint64_t kGamma = 0x9E3779B97F4A7C15U;
  return mix(mix(mix(seed + kGamma) + (round + 1) * kGamma) + (index + 1) * kGamma);
}

std::vector<Rank> shuffled(Rank size, uint64_t seed, uint64_t round) {
  std::vector<Rank> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[draw(seed, round, i) % i]);
  }
  return order;
}

}  // namespace gossamer
