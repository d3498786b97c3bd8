// Which ranks share a host, from Shape::hosts: what hierarchical algorithms are made of.

#pragma once

#include <vector>

#include "gossamer/schedule.h"
#include "src/check.h"

namespace gossamer {

struct Hosts {
  // first_rank[h] is host h's lowest rank, and one past the end: the number of ranks.
  std::vector<Rank> first_rank;
  Rank host = 0;   // this rank's
  Rank index = 0;  // this rank's place on its host
  bool equal = true;

  explicit Hosts(const Shape& shape) {
    for (Rank r = 0; r < shape.size; ++r) {
      const bool begins =
          r == 0 || shape.hosts[static_cast<size_t>(r)] != shape.hosts[static_cast<size_t>(r - 1)];
      if (begins) first_rank.push_back(r);
      if (r == shape.rank) host = static_cast<Rank>(first_rank.size()) - 1;
    }
    first_rank.push_back(shape.size);
    for (Rank h = 1; h < count(); ++h) equal = equal && ranks_of(h) == ranks_of(0);
    index = shape.rank - leader();
  }

  Rank count() const { return static_cast<Rank>(first_rank.size()) - 1; }
  Rank first_of(Rank h) const {
    GOSSAMER_CHECK(h >= 0 && h <= count());
    return first_rank[static_cast<size_t>(h)];
  }
  Rank ranks_of(Rank h) const { return first_of(h + 1) - first_of(h); }
  Rank host_of(Rank rank) const {
    Rank h = 0;
    while (first_of(h + 1) <= rank) ++h;
    return h;
  }
  // Who speaks for host h in a rooted collective: the root where it is, else the lowest rank.
  Rank speaker(Rank h, Rank root) const { return host_of(root) == h ? root : first_of(h); }
  Rank leader() const { return first_of(host); }  // the lowest rank on this host
  Rank size() const { return ranks_of(host); }    // ranks on this host
  // The ranks with this place on their host, one per host.
  std::vector<Rank> rail(Rank place) const {
    std::vector<Rank> ranks;
    ranks.reserve(static_cast<size_t>(count()));
    for (Rank h = 0; h < count(); ++h) ranks.push_back(first_of(h) + place);
    return ranks;
  }
};

// Two levels need at least two hosts, one of them with company.
inline bool has_two_levels(const Shape& shape) {
  if (shape.hosts.empty()) return false;
  const Hosts hosts(shape);
  return hosts.count() >= 2 && hosts.count() < shape.size;
}

// The same, and as many ranks on every host.
inline bool has_equal_hosts(const Shape& shape) {
  return has_two_levels(shape) && Hosts(shape).equal;
}

}  // namespace gossamer
