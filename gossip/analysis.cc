#include "gossip/analysis.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <numbers>

namespace gossamer {
namespace {

constexpr double kTarget = 1e-6;
constexpr double kExact = 1e-12;
constexpr uint64_t kRandomRoundsLooked = 16;
constexpr size_t kColumns = 16;   // independent vectors that are averaged at once
constexpr double kWorkMax = 4e8;  // multiplications in one simulation
constexpr uint64_t kPeriodMax = 4096;

using Matrix = Eigen::MatrixXd;

Matrix dense(const Mixing& mixing) {
  Matrix w = Matrix::Zero(mixing.size(), mixing.size());
  for (Rank i = 0; i < mixing.size(); ++i) {
    for (const Weight& e : mixing.row(i)) w(i, e.rank) = e.value;
  }
  return w;
}

// ||w - J||_2.
double distance_from_mean(Matrix w) {
  w.array() -= 1.0 / static_cast<double>(w.rows());
  const Matrix gram = w.transpose() * w;
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(gram, Eigen::EigenvaluesOnly);
  return std::sqrt(std::max(0.0, solver.eigenvalues().maxCoeff()));
}

// The product of a period's rounds, and after which of them it is the mean.
double contract(const std::vector<Mixing>& rounds, uint64_t* exact) {
  Matrix product = Matrix::Identity(rounds.front().size(), rounds.front().size());
  for (size_t t = 0; t < rounds.size(); ++t) {
    product = dense(rounds[t]) * product;
    const double mean = 1.0 / static_cast<double>(product.rows());
    if (*exact == 0 && (product.array() - mean).abs().maxCoeff() < kExact) *exact = t + 1;
  }
  return distance_from_mean(std::move(product));
}

double gaussian(uint64_t seed, uint64_t index) {
  const auto uniform = [&](uint64_t i) {
    return (static_cast<double>(draw(seed, 0, i) >> 11) + 0.5) * 0x1p-53;
  };
  return std::sqrt(-2 * std::log(uniform(2 * index))) *
         std::cos(2 * std::numbers::pi * uniform(2 * index + 1));
}

// Over all ranks and columns, after taking each column's mean away.
double spread(const std::vector<double>& values, size_t ranks) {
  double sum = 0;
  for (size_t k = 0; k < kColumns; ++k) {
    double mean = 0;
    for (size_t i = 0; i < ranks; ++i) mean += values[i * kColumns + k];
    mean /= static_cast<double>(ranks);
    for (size_t i = 0; i < ranks; ++i) {
      const double off = values[i * kColumns + k] - mean;
      sum += off * off;
    }
  }
  return std::sqrt(sum);
}

}  // namespace

std::vector<double> simulate_decay(const Graph& graph, double least, uint64_t rounds,
                                   uint64_t seed) {
  const auto ranks = static_cast<size_t>(graph.size());
  std::vector<double> values(ranks * kColumns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = gaussian(seed, i);
  std::vector<double> next(values.size());
  const double first = spread(values, ranks);
  std::vector<double> decay = {1.0};
  for (uint64_t t = 0; t < rounds && decay.back() > least; ++t) {
    graph.mixing(t)->apply(values, next, kColumns);
    values.swap(next);
    decay.push_back(first > 0 ? spread(values, ranks) / first : 0);
  }
  return decay;
}

double least_eigenvalue(const Mixing& mixing) {
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(dense(mixing), Eigen::EigenvaluesOnly);
  return solver.eigenvalues().minCoeff();
}

GraphFacts analyse(const Graph& graph) {
  GraphFacts facts;
  facts.symmetric = facts.doubly_stochastic = true;
  std::vector<Mixing> rounds;
  const bool repeats = graph.period() > 0 && graph.period() <= kPeriodMax;
  const uint64_t looked = repeats ? graph.period() : kRandomRoundsLooked;
  double entries = 0;
  for (uint64_t t = 0; t < looked; ++t) {
    const Mixing& mixing = rounds.emplace_back(*graph.mixing(t));
    uint64_t messages = 0;
    for (Rank i = 0; i < mixing.size(); ++i) messages += mixing.sources(i).size();
    entries = std::max(entries, static_cast<double>(messages) + mixing.size());
    facts.messages_per_round = std::max(facts.messages_per_round, messages);
    facts.degree_max = std::max(facts.degree_max, mixing.degree_max());
    facts.symmetric = facts.symmetric && check_symmetry(mixing);
    facts.doubly_stochastic = facts.doubly_stochastic && check_sums(mixing, Stochastic::kDouble);
  }
  if (repeats && graph.size() <= kSpectrumRanksMax) {
    const double all = contract(rounds, &facts.rounds_exact);
    // Below rounding it is exact, and no rate.
    facts.contraction =
        facts.rounds_exact > 0 ? 0 : std::pow(all, 1.0 / static_cast<double>(looked));
    if (facts.contraction > 0 && facts.contraction < 1) {
      facts.rounds_at_worst =
          static_cast<uint64_t>(std::ceil(std::log(kTarget) / std::log(facts.contraction)));
    }
  }
  const auto budget = static_cast<uint64_t>(kWorkMax / (entries * kColumns)) + 1;
  const std::vector<double> decay = simulate_decay(graph, kTarget, budget, 1);
  if (decay.back() <= kTarget) facts.rounds_simulated = decay.size() - 1;
  return facts;
}

}  // namespace gossamer
