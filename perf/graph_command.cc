// gossamer graph: what a peer graph does, as numbers and as a picture.

#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <string>

#include "gossip/analysis.h"
#include "perf/commands.h"
#include "perf/graph_drawing.h"

namespace gossamer {
namespace {

struct Flags {
  std::string name;
  int ranks = 8;
  uint64_t seed = 1;
  std::string svg;
};

// Rows of the rounds themselves are shown where they fit a screen.
constexpr Rank kRowsMax = 16;
constexpr uint64_t kRoundsShown = 8;

void print_list() {
  fmt::print("{:<22}{}\n", "graph", "what it is; its parameters, after a colon");
  for (const GraphFactory* factory : graphs()) {
    fmt::print("{:<22}{}{}{}\n", factory->name, factory->what, *factory->parameters ? "; " : "",
               factory->parameters);
  }
}

std::string rounds_text(uint64_t rounds) {
  return rounds > 0 ? std::to_string(rounds) : "-";
}

void print_facts(const Graph& graph, const Flags& f) {
  const GraphFacts facts = analyse(graph);
  const uint64_t period = graph.period();
  fmt::print("{} of {} ranks, {}\n", f.name, f.ranks,
             period == 0   ? "drawn anew every round"
             : period == 1 ? "the same in every round"
                           : fmt::format("repeats after {} rounds", period));
  fmt::print("  {:<42}{}\n", "peers of a rank in a round, at most", facts.degree_max);
  fmt::print("  {:<42}{}\n", "messages in a round, all ranks together", facts.messages_per_round);
  fmt::print("  {:<42}{}\n", "weights",
             fmt::format("{}, {}", facts.symmetric ? "symmetric" : "directed",
                         facts.doubly_stochastic ? "doubly stochastic: the mean is kept"
                         : check_sums(*graph.mixing(0), Stochastic::kColumn)
                             ? "not doubly stochastic: use push-sum"
                             : "only rows sum to 1: the mean drifts"));
  if (facts.rounds_exact > 0) {
    fmt::print("  {:<42}{}\n", "exact mean after so many rounds", facts.rounds_exact);
  } else if (facts.contraction >= 0) {
    fmt::print("  {:<42}{:.6f}\n", "spectral gap, per round", 1 - facts.contraction);
  } else {
    fmt::print("  {:<42}{}\n", "spectral gap",
               period == 0 ? "none: the rounds are random"
                           : fmt::format("not computed above {} ranks", kSpectrumRanksMax));
  }
  fmt::print("  {:<42}{} at worst, {} simulated from Gaussian values\n", "rounds to 1e-6",
             rounds_text(facts.rounds_exact > 0 ? facts.rounds_exact : facts.rounds_at_worst),
             rounds_text(facts.rounds_simulated));
}

void print_rounds(const Graph& graph) {
  if (graph.size() > kRowsMax) return;
  const uint64_t rounds =
      graph.period() == 0 ? 3 : std::min<uint64_t>(graph.period(), kRoundsShown);
  for (uint64_t t = 0; t < rounds; ++t) {
    fmt::print("round {}\n", t);
    const std::shared_ptr<const Mixing> round = graph.mixing(t);
    const Mixing& mixing = *round;
    for (Rank i = 0; i < mixing.size(); ++i) {
      std::string row;
      for (const Weight& w : mixing.row(i)) {
        row += fmt::format("  {:.4g} x{}", w.value, w.rank);
      }
      fmt::print("  rank {:>2} <-{}\n", i, row);
    }
  }
}

int show(const Flags& f) {
  if (f.name.empty() || f.name == "list") {
    print_list();
    return 0;
  }
  Result<std::unique_ptr<Graph>> graph = make_graph(f.name, f.ranks, f.seed);
  if (!graph) return complain(graph.status(), kExitUsage);
  print_facts(**graph, f);
  print_rounds(**graph);
  if (f.svg.empty()) return 0;
  std::ofstream file(f.svg);
  file << draw_graph(**graph, fmt::format("{}, {} ranks", f.name, f.ranks));
  file.close();
  if (file) return 0;
  return complain(Status::error(Code::kSystem, "cannot write '" + f.svg + "'"));
}

}  // namespace

void add_graph_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("graph", "Peer graphs for gossip: rounds, gap, picture");
  Flags& f = *flags;
  command->add_option("name", f.name,
                      "a graph, with parameters: ring, base:k=2; list: all of them");
  command->add_option("--ranks,-n", f.ranks, "number of ranks")->capture_default_str();
  command->add_option("--seed", f.seed, "of random graphs")->capture_default_str();
  command->add_option("--svg", f.svg, "draw it into this file");
  command->callback([flags, exit_code] { *exit_code = show(*flags); });
}

}  // namespace gossamer
