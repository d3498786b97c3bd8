// Hierarchical: exact inside a host, gossip between hosts on a ring. Hosts may be of unequal size:
// what crosses is weighted so that every rank counts the same.
//   Source    Metropolis weights on a weighted graph (Metropolis et al., 1953: detailed balance
//             with the sizes of hosts as the stationary weights).
//   Sends     to all ranks of its own host and of the neighboring ones.
//   Weights   host a gives host b's mean M_ab = min(1, s_b / s_a) / (1 + the larger degree), for
//             sizes s; rank i of a gives rank j of b M_ab / s_b. Symmetric and doubly stochastic.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "gossip/graphs/list.h"
#include "src/env.h"

namespace gossamer {
namespace {

// "4+4+2": ranks per host, in rank order.
Result<std::vector<Rank>> read_hosts(const GraphOptions& options) {
  const auto found = options.parameters.find("hosts");
  std::vector<Rank> sizes;
  if (found == options.parameters.end()) {
    const Rank first = (options.size + 1) / 2;
    sizes = {first, options.size - first};
    return sizes;
  }
  int64_t sum = 0;
  std::string rest = found->second;
  while (!rest.empty()) {
    const size_t plus = std::min(rest.find('+'), rest.size());
    const Result<int64_t> ranks =
        parse_int(rest.substr(0, plus), 1, options.size, "the number of ranks on a host");
    if (!ranks) return ranks.status();
    sum += *ranks;
    sizes.push_back(static_cast<Rank>(*ranks));
    rest.erase(0, plus + 1);
  }
  if (sum == options.size) return sizes;
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("hosts={} are {} ranks, but there are {}", found->second, sum, options.size));
}

Result<std::unique_ptr<Graph>> create(const GraphOptions& options) {
  const Result<std::vector<Rank>> sizes = read_hosts(options);
  if (!sizes) return sizes.status();
  const size_t hosts = sizes->size();
  std::vector<std::set<size_t>> peers(hosts);  // hosts on a ring
  for (size_t a = 0; a < hosts && hosts > 1; ++a) {
    peers[a].insert((a + 1) % hosts);
    peers[(a + 1) % hosts].insert(a);
  }
  std::vector<Rank> first(hosts + 1, 0);
  for (size_t a = 0; a < hosts; ++a) first[a + 1] = first[a] + (*sizes)[a];
  Mixing mixing(options.size);
  // Host a gives host b's mean `share`: each rank of a a part of it to each rank of b.
  const auto give = [&](size_t a, size_t b, double share) {
    for (Rank i = first[a]; i < first[a + 1]; ++i) {
      for (Rank j = first[b]; j < first[b + 1]; ++j) mixing.add(i, j, share / (*sizes)[b]);
    }
  };
  for (size_t a = 0; a < hosts; ++a) {
    double kept = 1;
    for (const size_t b : peers[a]) {
      const double ratio = static_cast<double>((*sizes)[b]) / (*sizes)[a];
      const auto degree = static_cast<double>(std::max(peers[a].size(), peers[b].size()));
      const double share = std::min(1.0, ratio) / (1 + degree);
      give(a, b, share);
      kept -= share;
    }
    give(a, a, kept);
  }
  return repeat_rounds({std::move(mixing)});
}

}  // namespace

const GraphFactory hierarchical_graph = {"hierarchical", "exact inside a host, a ring of hosts",
                                         "hosts=two halves: ranks per host in rank order, 4+4+2",
                                         create};

}  // namespace gossamer
