#include "gossamer/mixing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gossip/graph.h"
#include "src/check.h"

namespace gossamer {
namespace {

constexpr double kSumTolerance = 1e-9;
constexpr double kPairTolerance = 1e-12;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Ranks that values of `from` reach, or, backwards, that reach `from`.
std::vector<bool> reach(const std::vector<std::vector<Rank>>& next, Rank from) {
  std::vector<bool> seen(next.size(), false);
  std::vector<Rank> todo = {from};
  seen[static_cast<size_t>(from)] = true;
  while (!todo.empty()) {
    const Rank at = todo.back();
    todo.pop_back();
    for (const Rank r : next[static_cast<size_t>(at)]) {
      if (seen[static_cast<size_t>(r)]) continue;
      seen[static_cast<size_t>(r)] = true;
      todo.push_back(r);
    }
  }
  return seen;
}

}  // namespace

Mixing Mixing::identity(Rank size) {
  Mixing mixing(size);
  mixing.keep_the_rest();
  return mixing;
}

double Mixing::weight(Rank i, Rank j) const {
  for (const Weight& w : row(i)) {
    if (w.rank == j) return w.value;
  }
  return 0;
}

void Mixing::add(Rank into, Rank from, double value) {
  GOSSAMER_CHECK(into >= 0 && into < size() && from >= 0 && from < size());
  if (value == 0) return;
  if (into != from) {
    std::vector<Rank>& targets = targets_[static_cast<size_t>(from)];
    const auto at = std::lower_bound(targets.begin(), targets.end(), into);
    if (at == targets.end() || *at != into) targets.insert(at, into);
  }
  std::vector<Weight>& row = rows_[static_cast<size_t>(into)];
  const auto at = std::lower_bound(row.begin(), row.end(), from,
                                   [](const Weight& w, Rank rank) { return w.rank < rank; });
  if (at != row.end() && at->rank == from) {
    at->value += value;
  } else {
    row.insert(at, {from, value});
  }
}

void Mixing::link(Rank a, Rank b, double value) {
  add(a, b, value);
  add(b, a, value);
}

void Mixing::keep_the_rest() {
  for (Rank i = 0; i < size(); ++i) {
    double sum = 0;
    for (const Weight& w : row(i)) sum += w.value;
    if (sum != 1) add(i, i, 1 - sum);
  }
}

std::vector<Rank> Mixing::sources(Rank i) const {
  std::vector<Rank> ranks;
  for (const Weight& w : row(i)) {
    if (w.rank != i) ranks.push_back(w.rank);
  }
  return ranks;
}

Rank Mixing::sources_max() const {
  size_t most = 0;
  for (Rank i = 0; i < size(); ++i) most = std::max(most, sources(i).size());
  return static_cast<Rank>(most);
}

Rank Mixing::degree_max() const {
  size_t most = 0;
  for (Rank i = 0; i < size(); ++i) {
    most = std::max({most, sources(i).size(), targets(i).size()});
  }
  return static_cast<Rank>(most);
}

Mixing Mixing::in_float() const {
  Mixing rounded(size());
  for (Rank i = 0; i < size(); ++i) {
    double own = 0;
    for (const Weight& w : row(i)) {
      const double others = w.rank == i ? 0 : static_cast<double>(static_cast<float>(w.value));
      rounded.add(i, w.rank, others);
      own += w.value - others;
    }
    rounded.add(i, i, static_cast<double>(static_cast<float>(own)));
  }
  return rounded;
}

void Mixing::apply(std::span<const double> in, std::span<double> out, size_t width) const {
  GOSSAMER_CHECK(in.size() == rows_.size() * width && out.size() == in.size());
  for (size_t i = 0; i < rows_.size(); ++i) {
    double* const target = out.data() + i * width;
    std::fill(target, target + width, 0.0);
    for (const Weight& w : rows_[i]) {
      const double* const source = in.data() + static_cast<size_t>(w.rank) * width;
      for (size_t k = 0; k < width; ++k) target[k] += w.value * source[k];
    }
  }
}

Status check_sums(const Mixing& mixing, Stochastic what) {
  std::vector<double> columns(static_cast<size_t>(mixing.size()), 0);
  for (Rank i = 0; i < mixing.size(); ++i) {
    double sum = 0;
    for (const Weight& w : mixing.row(i)) {
      if (!(w.value >= -kSumTolerance && w.value <= 1 + kSumTolerance)) {
        return invalid(
            fmt::format("the weight of rank {}'s value on rank {} is {}; weights are in "
                        "[0, 1]",
                        w.rank, i, w.value));
      }
      sum += w.value;
      columns[static_cast<size_t>(w.rank)] += w.value;
    }
    if (what != Stochastic::kColumn && std::abs(sum - 1) > kSumTolerance) {
      return invalid(fmt::format(
          "the weights that rank {} gives (row {}) sum to {:.12g}, not 1: raise its own weight by "
          "the difference",
          i, i, sum));
    }
  }
  for (Rank j = 0; j < mixing.size() && what != Stochastic::kRow; ++j) {
    const double sum = columns[static_cast<size_t>(j)];
    if (std::abs(sum - 1) <= kSumTolerance) continue;
    return invalid(fmt::format(
        "the weights that rank {}'s value is given (column {}) sum to {:.12g}, not 1: the mean "
        "would drift; use Metropolis weights, or push-sum on a directed graph",
        j, j, sum));
  }
  return Status::ok();
}

Status check_symmetry(const Mixing& mixing) {
  for (Rank i = 0; i < mixing.size(); ++i) {
    for (const Weight& w : mixing.row(i)) {
      const double back = mixing.weight(w.rank, i);
      if (std::abs(w.value - back) <= kPairTolerance) continue;
      return invalid(fmt::format(
          "rank {} gives rank {}'s value {:.12g} and gets {:.12g} from it; this method needs "
          "symmetric weights",
          i, w.rank, w.value, back));
    }
  }
  return Status::ok();
}

std::optional<Unreached> find_unreached(std::span<const Mixing> rounds) {
  GOSSAMER_CHECK(!rounds.empty());
  const Rank size = rounds.front().size();
  std::vector<std::vector<Rank>> forward(static_cast<size_t>(size));
  std::vector<std::vector<Rank>> backward(static_cast<size_t>(size));
  for (const Mixing& mixing : rounds) {
    GOSSAMER_CHECK(mixing.size() == size);
    for (Rank i = 0; i < size; ++i) {
      for (const Rank j : mixing.sources(i)) {
        forward[static_cast<size_t>(j)].push_back(i);
        backward[static_cast<size_t>(i)].push_back(j);
      }
    }
  }
  // Strongly connected: rank 0 reaches all, and all reach it.
  const std::vector<bool> from_zero = reach(forward, 0);
  const std::vector<bool> to_zero = reach(backward, 0);
  for (Rank r = 0; r < size; ++r) {
    const bool there = from_zero[static_cast<size_t>(r)];
    if (there && to_zero[static_cast<size_t>(r)]) continue;
    return there ? Unreached{r, 0} : Unreached{0, r};
  }
  return std::nullopt;
}

Status check_connected(std::span<const Mixing> rounds) {
  const std::optional<Unreached> unreached = find_unreached(rounds);
  if (!unreached) return Status::ok();
  return invalid(
      fmt::format("the graph is not connected: what rank {} has never reaches rank {}; add an edge",
                  unreached->from, unreached->to));
}

}  // namespace gossamer
