// Hierarchical all-gather: every share crosses between two hosts once.
//   Source   Traeff, "Efficient allgather for regular SMP-clusters", EuroPVM/MPI 2006.
//   Steps    hosts of equal size: bruck_all_gather over the hosts on every rail (ranks of equal
//            place) at once, then one direct exchange inside the host. Unequal hosts: the lowest
//            rank of a host collects its shares, a ring of these ranks passes them round, each
//            hands everything out: hosts + 1 steps one after another.
//   Bytes    equal: h - 1 shares between hosts and (g - 1) h inside, per rank, for h hosts of g.
//            Unequal: leaders send up to N shares between hosts and (g - 1) N inside.
//   Scratch  none.
//   Needs    Shape::hosts with two hosts or more, one of them with two ranks or more.
//   Bits     copies only.

#include "algorithms/hosts.h"
#include "algorithms/list.h"
#include "algorithms/shares.h"

namespace gossamer {
namespace {

Slice own_input(const Shape& shape) {
  return {Buffer::kInput, 0, shape.count};
}

Shape rail_shape(const Shape& shape, const Hosts& hosts) {
  const uint64_t stride = shape.stride == 0 ? shape.count : shape.stride;
  Shape s;
  s.rank = hosts.host;
  s.size = hosts.count();
  s.count = shape.count;
  s.in_place = shape.in_place;
  s.stride = stride * static_cast<uint64_t>(hosts.size());
  return s;
}

int rounds(const Shape& shape) {
  const Hosts hosts(shape);
  if (hosts.equal) return bruck_all_gather.rounds(rail_shape(shape, hosts)) + 1;
  return hosts.count() + 1;
}

void emit_equal(const Shape& shape, const Hosts& hosts, int round, Builder& b) {
  const Shape rail = rail_shape(shape, hosts);
  if (round < bruck_all_gather.rounds(rail)) {
    b.nest(hosts.rail(hosts.index), shape.share(hosts.index), own_input(shape));
    bruck_all_gather.emit(rail, round, b);
    b.nest({});
    return;
  }
  const Rank g = hosts.size();
  for (Rank i = 1; i < g; ++i) {
    const Rank peer = hosts.leader() + (hosts.index - i + g) % g;
    for (Rank r : hosts.rail(hosts.index)) b.send(peer, shape.share(r));
  }
  for (Rank i = 1; i < g; ++i) {
    const Rank place = (hosts.index + i) % g;
    for (Rank r : hosts.rail(place)) b.recv(hosts.leader() + place, shape.share(r));
  }
}

void collect(const Shape& shape, const Hosts& hosts, Builder& b) {
  b.copy(own_input(shape), shape.share(shape.rank));
  if (hosts.index != 0) b.send(hosts.leader(), own_input(shape));
  for (Rank i = 1; i < hosts.size() && hosts.index == 0; ++i) {
    b.recv(shape.rank + i, shape.share(shape.rank + i));
  }
}

void pass_round(const Shape& shape, const Hosts& hosts, int step, Builder& b) {
  const Rank n = hosts.count();
  const Rank outgoing = (hosts.host - step + n) % n;
  const Rank incoming = (hosts.host - step - 1 + n) % n;
  for_each_share_run(shape, hosts.first_of(outgoing), hosts.ranks_of(outgoing),
                     [&](Slice run) { b.send(hosts.first_of((hosts.host + 1) % n), run); });
  for_each_share_run(shape, hosts.first_of(incoming), hosts.ranks_of(incoming),
                     [&](Slice run) { b.recv(hosts.first_of((hosts.host - 1 + n) % n), run); });
}

// Everything but a rank's own share, which it has.
void hand_out(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank others = shape.size - 1;
  for (Rank i = 1; i < hosts.size() && hosts.index == 0; ++i) {
    const Rank peer = shape.rank + i;
    for_each_share_run(shape, peer + 1, others, [&](Slice run) { b.send(peer, run); });
  }
  if (hosts.index == 0) return;
  for_each_share_run(shape, shape.rank + 1, others,
                     [&](Slice run) { b.recv(hosts.leader(), run); });
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (hosts.equal) {
    emit_equal(shape, hosts, round, b);
  } else if (round == 0) {
    collect(shape, hosts, b);
  } else if (round < hosts.count()) {
    if (hosts.index == 0) pass_round(shape, hosts, round - 1, b);
  } else {
    hand_out(shape, hosts, b);
  }
}

}  // namespace

const Algorithm hierarchical_all_gather = {
    "hierarchical_all_gather", Collective::kAllGather, false, has_two_levels, rounds, emit};

}  // namespace gossamer
