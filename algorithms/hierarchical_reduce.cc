// Hierarchical reduce: each host sums its own, and one sum per host crosses.
//   Source   the two-level scheme of Kielmann, Hofman, Bal, Plaat and Bhoedjang, "MagPIe: MPI's
//            collective communication operations for clustered wide area systems", PPoPP 1999.
//   Steps    1 round inside, then ceil(log2 h) messages one after another between h hosts.
//   Bytes    h - 1 buffers between hosts, up to ceil(log2 h) of them into one.
//   Scratch  one buffer on the rank that sums for its host, but on the root.
//   Needs    Shape::hosts with two hosts or more, one of them with two ranks or more; any root; a
//            commutative operation.
//   Bits     the root alone has the result; the tree is fixed.

#include "algorithms/hosts.h"
#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return 1 + knomial_levels(Hosts(shape).count(), 2);
}

Slice sum_of(const Shape& shape, Builder& b) {
  return shape.is_root() ? shape.whole() : b.scratch(shape.count);
}

void sum_up(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Slice own = input_of(shape.whole());
  const Rank target = hosts.speaker(hosts.host, shape.root);
  if (shape.rank != target) {
    b.send(target, own);
    return;
  }
  for (Rank i = 1; i < hosts.size(); ++i) {
    const Slice sum = sum_of(shape, b);
    const Rank peer = hosts.leader() + (shape.rank - hosts.leader() + i) % hosts.size();
    b.recv_reduce(peer, sum, i == 1 ? own : sum);
  }
}

void cross(const Shape& shape, const Hosts& hosts, int crossing, Builder& b) {
  const Rank n = hosts.count();
  const Rank first = hosts.host_of(shape.root);
  const Rank place = (hosts.host - first + n) % n;
  const KnomialNode node(place, n, crossing, 2);
  const auto speaker = [&](Rank there) { return hosts.speaker((first + there) % n, shape.root); };
  const bool has_sum = hosts.size() > 1 || has_children_below(place, n, crossing, 2);
  const Slice own = input_of(shape.whole());
  if (node.parent >= 0) b.send(speaker(node.parent), has_sum ? sum_of(shape, b) : own);
  node.for_each_child([&](Rank child) {
    b.recv_reduce(speaker(child), sum_of(shape, b), has_sum ? sum_of(shape, b) : own);
  });
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (round == 0) {
    sum_up(shape, hosts, b);
  } else if (shape.rank == hosts.speaker(hosts.host, shape.root)) {
    cross(shape, hosts, round - 1, b);
  }
  if (shape.is_root() && round == rounds(shape) - 1) b.settle(shape.whole(), shape.whole());
}

}  // namespace

const Algorithm hierarchical_reduce = {
    "hierarchical_reduce", Collective::kReduce, false, has_two_levels, rounds, emit};

}  // namespace gossamer
