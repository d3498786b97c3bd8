// Hierarchical all-reduce that sends codes between hosts alone: inside a host nothing is lost.
//   Source   the two levels of hierarchical.cc, with coded_two_shot over the hosts on every rail
//            (ranks of equal place) at once.
//   Steps    4 exchanges: sum inside the host, two between hosts, hand out inside the host.
//   Bytes    2(g - 1)/g of the buffer inside the host, and 2(h - 1)/(h g) of its code between
//            hosts, per rank, for h hosts of g.
//   Scratch  codes of three blocks; fp32 accumulators of two where the elements are others.
//   Needs    a codec that is not sparse; Shape::hosts with two hosts or more, of equal size, of two
//            ranks or more.
//   Bits     the same on all ranks; each block is summed in one place, and what its code decodes to
//            is handed out.
//   Error    two encodings' of sums over hosts: less than coded_two_shot's.
//   Residual its own, of a host's sum of this rank's block and of its part of the whole one.

#include "algorithms/coded_two_shot.h"
#include "algorithms/inside_host.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_dense_codec(shape) && has_equal_hosts(shape);
}

int rounds(const Shape&) {
  return 2 + kCodedTwoShotRounds;
}

// One rail: the same block of every host.
Shape between(const Shape& shape, const Hosts& hosts, uint64_t count) {
  Shape s = shape;
  s.rank = hosts.host;
  s.size = hosts.count();
  s.count = count;
  return s;
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  const Shape in = inside(shape, hosts);
  if (round == 0) {
    (void)sum_own_block(hosts, in, b);
  } else if (round <= kCodedTwoShotRounds) {
    const Slice own = in.block(in.rank);
    const Slice sum = b.accumulator(own);
    b.nest(hosts.rail(hosts.index), own, sum);
    emit_coded_two_shot(between(shape, hosts, own.count), round - 1, b);
    b.nest({});
  } else {
    gather_blocks(hosts, in, b);
  }
}

}  // namespace

const Algorithm coded_hierarchical = {
    "coded_hierarchical", Collective::kAllReduce, true, accepts, rounds, emit, true};

}  // namespace gossamer
