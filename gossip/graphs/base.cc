// Base-(k+1): a sequence of sparse symmetric rounds whose product is exactly the mean, for every
// number of ranks, with at most k peers in a round.
//   Source    Takezawa, Sato, Bao, Niwa and Yamada, "Beyond exponential graph: communication-
//             efficient topologies for decentralized learning via finite-time convergence", NeurIPS
//             2023.
//   Contracts exactly to the mean in at most 2 log_{k+1} n + 2 rounds.
//   Sends     to k peers at most; symmetric.

#include <numeric>

#include "gossip/graphs/list.h"
#include "src/check.h"

namespace gossamer {
namespace {

using Group = std::vector<Rank>;    // nodes, in order
using Groups = std::vector<Group>;  // that average, at the same time

// One round: links and groups that touch disjoint nodes.
struct Round {
  Groups cliques;
  struct Link {
    Rank a, b;
    double weight;
  };
  std::vector<Link> links;
};

// Factors of n that are at most `most`, smallest last taken first; empty if n is not their product.
std::vector<Rank> factors_of(Rank n, Rank most) {
  std::vector<Rank> factors;
  for (Rank f = most; f >= 2; --f) {
    for (; n % f == 0; n /= f) factors.push_back(f);
  }
  if (n != 1) return {};
  return {factors.rbegin(), factors.rend()};
}

// Round by round, the groups that a hyper-hypercube averages. A group of one needs no round.
std::vector<Groups> hyper_hypercube(const Group& nodes, Rank most) {
  std::vector<Groups> rounds;
  const auto n = static_cast<Rank>(nodes.size());
  Rank stride = 1;
  for (const Rank f : factors_of(n, most)) {
    Groups groups;
    for (Rank i = 0; i < n; ++i) {
      if (i / stride % f != 0) continue;
      Group group;
      for (Rank t = 0; t < f; ++t) group.push_back(nodes[static_cast<size_t>(i + t * stride)]);
      groups.push_back(std::move(group));
    }
    rounds.push_back(std::move(groups));
    stride *= f;
  }
  return rounds;
}

// V_l of the construction: a_l subparts of b^{p_l} nodes.
struct Part {
  Group nodes;
  Groups subparts;
};

// n in base b = most, most significant digit first.
std::vector<Part> split(const Group& nodes, Rank most) {
  std::vector<Part> parts;
  int64_t power = 1;
  while (power * most <= static_cast<int64_t>(nodes.size())) power *= most;
  size_t at = 0;
  for (; power >= 1; power /= most) {
    const size_t digit = (nodes.size() - at) / static_cast<size_t>(power);
    if (digit == 0) continue;
    Part part;
    for (size_t a = 0; a < digit; ++a) {
      const auto begin = nodes.begin() + static_cast<ptrdiff_t>(at);
      part.subparts.emplace_back(begin, begin + power);
      part.nodes.insert(part.nodes.end(), begin, begin + power);
      at += static_cast<size_t>(power);
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

void append(const std::vector<Groups>& rounds, size_t turn, Round* round) {
  if (rounds.empty()) return;
  const Groups& groups = rounds[turn % rounds.size()];
  round->cliques.insert(round->cliques.end(), groups.begin(), groups.end());
}

// Part `t`, which holds its mean on every node, gives all later parts their share of the mean of
// all of them. Nodes of the part that no later node picks keep the same value: averaging them among
// themselves would change nothing.
void link(const std::vector<Part>& parts, size_t t, Round* round) {
  size_t later = 0;
  for (size_t l = t + 1; l < parts.size(); ++l) later += parts[l].nodes.size();
  const Part& part = parts[t];
  const double share =
      static_cast<double>(part.nodes.size()) / static_cast<double>(part.nodes.size() + later);
  const double each = share / static_cast<double>(part.subparts.size());
  size_t used = 0;
  for (size_t l = t + 1; l < parts.size(); ++l) {
    for (const Rank node : parts[l].nodes) {
      for (const Group& subpart : part.subparts)
        round->links.push_back({node, subpart[used], each});
      ++used;
    }
  }
}

// The construction for nodes in a row. Rounds that level what a link left uneven inside the parts
// follow each link; a part's turn count is how many of them it has had.
std::vector<Round> simple(const Group& nodes, Rank most) {
  std::vector<Round> rounds;
  if (nodes.size() == 1) return rounds;
  if (!factors_of(static_cast<Rank>(nodes.size()), most).empty()) {
    for (const Groups& groups : hyper_hypercube(nodes, most)) rounds.push_back({groups, {}});
    return rounds;
  }
  const std::vector<Part> parts = split(nodes, most);
  const size_t first = hyper_hypercube(parts[0].nodes, most).size();
  for (size_t m = 0; m < first; ++m) {
    Round& round = rounds.emplace_back();
    for (const Part& part : parts) append(hyper_hypercube(part.nodes, most), m, &round);
  }
  const size_t levels = hyper_hypercube(parts[0].subparts[0], most).size();
  const size_t links = parts.size() - 1;
  const size_t after = std::max(links, 1 + levels);
  for (size_t t = 0; t < after; ++t) {
    Round& round = rounds.emplace_back();
    if (t < links) link(parts, t, &round);
    for (size_t l = 0; l < std::min(t, links); ++l) {
      for (const Group& subpart : parts[l].subparts) {
        append(hyper_hypercube(subpart, most), t - l - 1, &round);
      }
    }
  }
  return rounds;
}

Group row(Rank first, Rank count) {
  Group nodes(static_cast<size_t>(count));
  std::iota(nodes.begin(), nodes.end(), first);
  return nodes;
}

// The largest divisor of n whose prime factors are at most `most`.
Rank smooth_part(Rank n, Rank most) {
  Rank part = 1;
  for (Rank f = 2; f <= most; ++f) {
    for (; n % f == 0; n /= f) part *= f;
  }
  return part;
}

// Simple inside groups of v, then across them; or simple on all, if that is shorter.
std::vector<Round> base(Rank n, Rank most) {
  const Rank groups = smooth_part(n, most);
  const Rank v = n / groups;
  std::vector<Round> rounds(simple(row(0, v), most).size());
  for (Rank g = 0; g < groups; ++g) {
    const std::vector<Round> inner = simple(row(g * v, v), most);
    for (size_t i = 0; i < rounds.size(); ++i) {
      Round& into = rounds[i];
      into.cliques.insert(into.cliques.end(), inner[i].cliques.begin(), inner[i].cliques.end());
      into.links.insert(into.links.end(), inner[i].links.begin(), inner[i].links.end());
    }
  }
  const size_t inside = rounds.size();
  for (Rank place = 0; place < v; ++place) {
    Group across;
    for (Rank g = 0; g < groups; ++g) across.push_back(g * v + place);
    const std::vector<Groups> outer = hyper_hypercube(across, most);
    rounds.resize(inside + outer.size());
    for (size_t i = 0; i < outer.size(); ++i) append(outer, i, &rounds[inside + i]);
  }
  std::vector<Round> whole = simple(row(0, n), most);
  return whole.size() < rounds.size() ? whole : rounds;
}

Mixing mixing_of(const Round& round, Rank size) {
  Mixing mixing(size);
  for (const Group& clique : round.cliques) {
    const double share = 1.0 / static_cast<double>(clique.size());
    for (size_t i = 0; i < clique.size(); ++i) {
      for (size_t j = 0; j < i; ++j) mixing.link(clique[i], clique[j], share);
    }
  }
  for (const Round::Link& l : round.links) mixing.link(l.a, l.b, l.weight);
  mixing.keep_the_rest();
  return mixing;
}

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Result<int64_t> k = parameter(options, "k", 1, 1, 64);
  if (!k) return k.status();
  std::vector<Mixing> rounds;
  for (const Round& round : base(options.size, static_cast<Rank>(*k + 1))) {
    rounds.push_back(mixing_of(round, options.size));
  }
  return repeat_rounds(std::move(rounds));
}

}  // namespace

const GraphFactory base_graph = {"base", "exact in few rounds for every number of ranks",
                                 "k=1: most peers of a rank in a round", create};

}  // namespace gossamer
