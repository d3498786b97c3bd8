// What a peer graph is worth: how fast its rounds bring values together, and whether they may be
// trusted to keep the mean.
//
// Threads    Pure.

#pragma once

#include <cstdint>

#include "gossip/graph.h"

namespace gossamer {

struct GraphFacts {
  Rank degree_max = 0;              // most peers of a rank in one round
  uint64_t messages_per_round = 0;  // of all ranks together, the most of any round
  bool symmetric = false;
  bool doubly_stochastic = false;
  // Rounds after which every rank holds the exact mean; 0: never exactly.
  uint64_t rounds_exact = 0;
  // Distance from the mean that a round leaves at worst, as a factor: ||W - J||_2, per round of a
  // period. Negative: not computed, the graph is random or has more than kSpectrumRanksMax ranks.
  double contraction = -1;
  // Rounds to 1e-6 of the first distance: at worst (from the contraction; 0: not computed), and
  // from Gaussian values in simulation (0: not within the steps that were tried).
  uint64_t rounds_at_worst = 0;
  uint64_t rounds_simulated = 0;
};
inline constexpr Rank kSpectrumRanksMax = 1024;

// Of a graph that repeats, one period is looked at; of another, the first rounds.
GraphFacts analyse(const Graph& graph);

// Of a symmetric matrix of at most kSpectrumRanksMax ranks.
double least_eigenvalue(const Mixing& mixing);

// Distances from the mean after 0, 1, 2, ... rounds, relative to the first, from Gaussian values;
// ends when `least` is reached, or after `rounds`.
std::vector<double> simulate_decay(const Graph& graph, double least, uint64_t rounds,
                                   uint64_t seed);

}  // namespace gossamer
