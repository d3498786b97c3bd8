// Hierarchical all-reduce: inside each host, between hosts, inside each host again.
//   Source   the two-level scheme of Jia et al., "Highly scalable deep learning training system
//            with mixed-precision: training ImageNet in four minutes", arXiv 1807.11205, 2018.
//   Steps    hosts of equal size: 2 direct exchanges, and between them reversed_bruck over the
//            hosts on every rail (ranks of equal place) at once. Unequal hosts: the lowest rank of
//            a host collects its sum and hands out the result: 2 exchanges more.
//   Bytes    equal: 2(g - 1)/g of the buffer inside the host, 2(h - 1)/(h g) between hosts, per
//            rank, for h hosts of g. Unequal: leaders send and receive up to 2 buffers more inside
//            the host and 2(h - 1)/h between hosts.
//   Scratch  none.
//   Needs    Shape::hosts with two hosts or more, one of them with two ranks or more.
//   Bits     the same on all ranks; each block is summed in one place.

#include "algorithms/inside_host.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

// One rail: the same block of every host, already in the output unless this rank is alone on its
// host.
Shape between(const Shape& shape, const Hosts& hosts, uint64_t count) {
  Shape s;
  s.rank = hosts.host;
  s.size = hosts.count();
  s.count = count;
  s.granule = shape.granule;
  s.in_place = shape.in_place || hosts.size() > 1;
  s.eager_count = shape.eager_count;
  return s;
}

int inner_rounds(const Shape& shape, const Hosts& hosts) {
  return reversed_bruck.rounds(between(shape, hosts, shape.count));
}

int rounds(const Shape& shape) {
  const Hosts hosts(shape);
  return inner_rounds(shape, hosts) + (hosts.equal ? 2 : 4);
}

void gather_to_leader(const Hosts& hosts, const Shape& in, Builder& b) {
  if (in.rank != 0) b.send(hosts.leader(), in.block(in.rank));
  for (Rank i = 1; i < in.size && in.rank == 0; ++i) b.recv(hosts.leader() + i, in.block(i));
}

void scatter_from_leader(const Hosts& hosts, const Shape& in, Builder& b) {
  if (in.rank != 0) b.recv(hosts.leader(), in.block(in.rank));
  for (Rank i = 1; i < in.size && in.rank == 0; ++i) b.send(hosts.leader() + i, in.block(i));
}

void between_hosts(const Shape& shape, const Hosts& hosts, Slice part, int round, Builder& b) {
  b.nest(hosts.rail(hosts.index), part, hosts.size() > 1 ? part : input_of(part));
  reversed_bruck.emit(between(shape, hosts, part.count), round, b);
  b.nest({});
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  const Shape in = inside(shape, hosts);
  const int inner = inner_rounds(shape, hosts);
  const int before = hosts.equal ? 1 : 2;
  if (round == 0) {
    (void)sum_own_block(hosts, in, b);
  } else if (round < before) {
    gather_to_leader(hosts, in, b);
  } else if (round < before + inner) {
    if (hosts.equal) {
      between_hosts(shape, hosts, in.block(in.rank), round - before, b);
    } else if (hosts.index == 0) {
      between_hosts(shape, hosts, shape.whole(), round - before, b);
    }
  } else if (!hosts.equal && round == before + inner) {
    scatter_from_leader(hosts, in, b);
  } else {
    gather_blocks(hosts, in, b);
  }
}

}  // namespace

const Algorithm hierarchical = {
    "hierarchical", Collective::kAllReduce, false, has_two_levels, rounds, emit};

}  // namespace gossamer
