// Hierarchical reduce-scatter: hosts sum inside first, so that one sum per share crosses.
//   Source   the two-level scheme of Jia et al., "Highly scalable deep learning training system
//            with mixed-precision: training ImageNet in four minutes", arXiv 1807.11205, 2018.
//   Steps    1 direct exchange inside the host, then bruck_reduce_scatter over the hosts on every
//            rail (ranks of equal place) at once.
//   Bytes    (g - 1) h shares inside the host and h - 1 between hosts, per rank, for h hosts of g.
//   Scratch  h shares, and what bruck_reduce_scatter needs.
//   Needs    Shape::hosts with two hosts or more of equal size, with two ranks or more each; a
//            commutative operation.
//   Bits     each share is summed in one place, in a fixed order.

#include "algorithms/hosts.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

constexpr int kHostSums = 16;  // scratch that the nested algorithm does not ask for

Shape rail_shape(const Shape& shape, const Hosts& hosts) {
  Shape s;
  s.rank = hosts.host;
  s.size = hosts.count();
  s.count = shape.count;
  return s;
}

int rounds(const Shape& shape) {
  const Hosts hosts(shape);
  return 1 + bruck_reduce_scatter.rounds(rail_shape(shape, hosts));
}

// What this host has for every rank of this rank's rail.
Slice host_sums(const Shape& shape, const Hosts& hosts, Builder& b) {
  return b.scratch(shape.count * static_cast<uint64_t>(hosts.count()), kHostSums);
}

void sum_inside(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank g = hosts.size();
  for (Rank i = 1; i < g; ++i) {
    const Rank place = (hosts.index - i + g) % g;
    for (Rank r : hosts.rail(place)) b.send(hosts.leader() + place, shape.input_share(r));
  }
  const Slice sums = host_sums(shape, hosts, b);
  for (Rank i = 1; i < g; ++i) {
    const Rank peer = hosts.leader() + (hosts.index + i) % g;
    for (Rank h = 0; h < hosts.count(); ++h) {
      const Slice sum = sums.part(static_cast<uint64_t>(h) * shape.count, shape.count);
      const Slice own = shape.input_share(hosts.first_of(h) + hosts.index);
      b.recv_reduce(peer, sum, i == 1 ? own : sum);
    }
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (round == 0) {
    sum_inside(shape, hosts, b);
    return;
  }
  const Slice sums = host_sums(shape, hosts, b);
  b.nest(hosts.rail(hosts.index), shape.whole(), sums);
  bruck_reduce_scatter.emit(rail_shape(shape, hosts), round - 1, b);
  b.nest({});
}

}  // namespace

const Algorithm hierarchical_reduce_scatter = {"hierarchical_reduce_scatter",
                                               Collective::kReduceScatter,
                                               false,
                                               has_equal_hosts,
                                               rounds,
                                               emit};

}  // namespace gossamer
