// Graphs that have lost ranks or links: what each round becomes, so that the sums it had hold.
//   Source    Symmetric: Xiao, Boyd and Lall, "A scheme for robust distributed sensor fusion based
//             on average consensus", IPSN 2005: weights on the edges that are there. Directed: the
//             stochastic complement, Meyer, SIAM Review 31(2), 1989, by elimination without
//             subtraction: Grassmann, Taksar and Heyman, Operations Research 33(5), 1985.

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "gossip/graph.h"

namespace gossamer {
namespace {

constexpr Rank kLost = -1;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Who is left: new numbers by old ones, or kLost.
struct Survivors {
  std::vector<Rank> number;
  std::vector<Rank> old;

  bool has(Rank r) const { return number[static_cast<size_t>(r)] != kLost; }
  Rank size() const { return static_cast<Rank>(old.size()); }
};

// What a rank would have taken from a lost one, or, if `senders`, sent to one, is its own value's.
Mixing keep_own(const Mixing& mixing, const Survivors& left, bool senders) {
  Mixing healed(left.size());
  for (Rank i = 0; i < mixing.size(); ++i) {
    const Rank into = left.number[static_cast<size_t>(i)];
    for (const Weight& w : mixing.row(i)) {
      const Rank from = left.number[static_cast<size_t>(w.rank)];
      if (into != kLost && from != kLost) {
        healed.add(into, from, w.value);
      } else if (into != kLost && !senders) {
        healed.add(into, into, w.value);
      } else if (from != kLost && senders) {
        healed.add(from, from, w.value);
      }
    }
  }
  return healed;
}

// What went through lost ranks goes directly: for each, row i gets what it took from the lost one
// in the proportions in which that one took from others.
Mixing bridge(const Mixing& mixing, const Survivors& left) {
  std::vector<std::map<Rank, double>> rows(static_cast<size_t>(mixing.size()));
  for (Rank i = 0; i < mixing.size(); ++i) {
    for (const Weight& w : mixing.row(i)) rows[static_cast<size_t>(i)][w.rank] = w.value;
  }
  for (Rank k = 0; k < mixing.size(); ++k) {
    if (left.has(k)) continue;
    std::map<Rank, double> through = std::move(rows[static_cast<size_t>(k)]);
    rows[static_cast<size_t>(k)].clear();
    through.erase(k);
    double all = 0;
    for (const auto& [j, value] : through) all += value;
    for (Rank i = 0; i < mixing.size(); ++i) {
      std::map<Rank, double>& row = rows[static_cast<size_t>(i)];
      const auto taken = row.find(k);
      if (taken == row.end()) continue;
      const double weight = taken->second;
      row.erase(taken);
      if (all <= 0) row[i] += weight;  // it took from nobody: of sums that are 1, rounding alone
      for (const auto& [j, value] : through) row[j] += weight * (value / all);
    }
  }
  Mixing healed(left.size());
  for (Rank i = 0; i < left.size(); ++i) {
    for (const auto& [j, value] : rows[static_cast<size_t>(left.old[static_cast<size_t>(i)])]) {
      healed.add(i, left.number[static_cast<size_t>(j)], value);
    }
  }
  return healed;
}

Mixing heal_round(const Mixing& mixing, const Survivors& left) {
  const bool columns = check_sums(mixing, Stochastic::kColumn).is_ok();
  const bool rows = check_sums(mixing, Stochastic::kRow).is_ok();
  if (columns && rows && !check_symmetry(mixing)) return bridge(mixing, left);
  return keep_own(mixing, left, /*senders=*/columns);
}

// Of rounds that do not repeat.
class Healed final : public Graph {
 public:
  Healed(std::shared_ptr<const Graph> whole, Survivors left)
      : whole_(std::move(whole)), left_(std::move(left)) {}
  Rank size() const override { return left_.size(); }
  uint64_t period() const override { return 0; }
  std::shared_ptr<const Mixing> mixing(uint64_t round) const override {
    return std::make_shared<const Mixing>(heal_round(*whole_->mixing(round), left_));
  }

 private:
  std::unique_ptr<Graph> copy() const override { return std::make_unique<Healed>(*this); }
  const std::shared_ptr<const Graph> whole_;
  const Survivors left_;
};

Result<Survivors> survivors(Rank size, std::span<const Rank> lost) {
  std::set<Rank> gone;
  for (const Rank r : lost) {
    if (r < 0 || r >= size) {
      return invalid(
          fmt::format("rank {} cannot be lost: the graph has ranks 0 to {}", r, size - 1));
    }
    if (!gone.insert(r).second) return invalid(fmt::format("rank {} is named twice as lost", r));
  }
  if (gone.empty()) return invalid("no rank is lost; name at least one");
  if (static_cast<Rank>(gone.size()) == size) return invalid("all ranks of the graph are lost");
  Survivors left;
  for (Rank r = 0; r < size; ++r) {
    const bool here = gone.count(r) == 0;
    left.number.push_back(here ? left.size() : kLost);
    if (here) left.old.push_back(r);
  }
  return left;
}

}  // namespace

Result<std::unique_ptr<Graph>> heal_graph(const Graph& graph, std::span<const Rank> lost) {
  Result<Survivors> left = survivors(graph.size(), lost);
  if (!left) return left.status();
  std::vector<Mixing> rounds;
  for (const Mixing& mixing : rounds_to_check(graph)) rounds.push_back(heal_round(mixing, *left));
  std::vector<Rank> names(lost.begin(), lost.end());
  std::sort(names.begin(), names.end());
  const std::string name = fmt::format("{} without {}", graph.name(), fmt::join(names, ", "));
  if (const std::optional<Unreached> cut = find_unreached(rounds)) {
    return invalid(fmt::format(
        "graph {} is not connected any more: what rank {} has never reaches rank {}; make_graph() "
        "one for {} ranks",
        name, left->old[static_cast<size_t>(cut->from)], left->old[static_cast<size_t>(cut->to)],
        left->size()));
  }
  std::unique_ptr<Graph> healed =
      graph.period() > 0
          ? repeat_rounds(std::move(rounds))
          : std::make_unique<Healed>(GraphMaker::copy(graph), std::move(left).value());
  GraphMaker::introduce(healed.get(), name, graph.identity());
  return healed;
}

Result<Mixing> drop_edges(const Mixing& mixing, std::span<const Edge> down) {
  std::set<std::pair<Rank, Rank>> gone;
  for (const Edge& edge : down) {
    if (Status sound = check_edge(edge, mixing.size()); !sound) return sound;
    gone.insert(std::minmax(edge.a, edge.b));
  }
  Mixing left(mixing.size());
  for (Rank i = 0; i < mixing.size(); ++i) {
    for (const Weight& w : mixing.row(i)) {
      const bool here = gone.count(std::minmax(i, w.rank)) == 0;
      left.add(here ? i : w.rank, w.rank, w.value);
    }
  }
  return left;
}

}  // namespace gossamer
