// Hierarchical broadcast: the buffer crosses to each host once, and is handed out there.
//   Source   the two-level scheme of Kielmann, Hofman, Bal, Plaat and Bhoedjang, "MagPIe: MPI's
//            collective communication operations for clustered wide area systems", PPoPP 1999.
//   Steps    ceil(log2 h) messages one after another between h hosts, then 1 round inside.
//   Bytes    h - 1 buffers between hosts, up to ceil(log2 h) of them out of one.
//   Scratch  none.
//   Needs    Shape::hosts with two hosts or more, one of them with two ranks or more; any root.
//   Bits     copies only.

#include "algorithms/hosts.h"
#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

int rounds(const Shape& shape) {
  return knomial_levels(Hosts(shape).count(), 2) + 1;
}

void hand_out(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Slice whole = shape.whole();
  const Rank source = hosts.speaker(hosts.host, shape.root);
  if (shape.rank != source) {
    b.recv(source, whole);
    return;
  }
  for (Rank i = 1; i < hosts.size(); ++i) {
    const Rank peer = hosts.leader() + (shape.rank - hosts.leader() + i) % hosts.size();
    b.send(peer, shape.is_root() ? input_of(whole) : whole);
  }
  if (shape.is_root()) b.copy(input_of(whole), whole);
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  const int crossings = knomial_levels(hosts.count(), 2);
  if (round == crossings) {
    hand_out(shape, hosts, b);
    return;
  }
  if (shape.rank != hosts.speaker(hosts.host, shape.root)) return;
  const Rank n = hosts.count();
  const Rank first = hosts.host_of(shape.root);
  const KnomialNode node((hosts.host - first + n) % n, n, crossings - 1 - round, 2);
  const auto speaker = [&](Rank place) { return hosts.speaker((first + place) % n, shape.root); };
  const Slice whole = shape.whole();
  if (node.parent >= 0) b.recv(speaker(node.parent), whole);
  node.for_each_child(
      [&](Rank child) { b.send(speaker(child), shape.is_root() ? input_of(whole) : whole); });
}

}  // namespace

const Algorithm hierarchical_broadcast = {
    "hierarchical_broadcast", Collective::kBroadcast, false, has_two_levels, rounds, emit};

}  // namespace gossamer
