// Hierarchical broadcast of codes: the root's code crosses to each host once, and is handed out
// there.
//   Source   the two-level scheme of Kielmann, Hofman, Bal, Plaat and Bhoedjang, "MagPIe: MPI's
//            collective communication operations for clustered wide area systems", PPoPP 1999.
//   Steps    ceil(log2 h) messages one after another between h hosts, then 1 round inside.
//   Bytes    h - 1 codes of the buffer between hosts, up to ceil(log2 h) of them out of one.
//   Scratch  a code of the buffer.
//   Needs    a codec; Shape::hosts with two hosts or more, one of them with two ranks or more; any
//            root.
//   Bits     the same on all ranks, the root too: all decode one code.
//   Error    one encoding's.
//   Residual of each element of the root's input.

#include "algorithms/coded.h"
#include "algorithms/hosts.h"
#include "algorithms/knomial.h"
#include "algorithms/list.h"

namespace gossamer {
namespace {

bool accepts(const Shape& shape) {
  return has_codec(shape) && has_two_levels(shape);
}

int rounds(const Shape& shape) {
  return knomial_levels(Hosts(shape).count(), 2) + 1;
}

void hand_out(const Shape& shape, const Hosts& hosts, Slice code, Builder& b) {
  const Rank source = hosts.speaker(hosts.host, shape.root);
  if (shape.rank != source) {
    b.recv(source, code);
  } else {
    for (Rank i = 1; i < hosts.size(); ++i) {
      b.send(hosts.leader() + (shape.rank - hosts.leader() + i) % hosts.size(), code);
    }
  }
  b.decode(code, shape.whole());
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  const int crossings = knomial_levels(hosts.count(), 2);
  const Slice code = code_of_root(shape, round, b);
  if (round == crossings) return hand_out(shape, hosts, code, b);
  if (shape.rank != hosts.speaker(hosts.host, shape.root)) return;
  const Rank n = hosts.count();
  const Rank first = hosts.host_of(shape.root);
  const KnomialNode node((hosts.host - first + n) % n, n, crossings - 1 - round, 2);
  const auto speaker = [&](Rank place) { return hosts.speaker((first + place) % n, shape.root); };
  if (node.parent >= 0) b.recv(speaker(node.parent), code);
  node.for_each_child([&](Rank child) { b.send(speaker(child), code); });
}

}  // namespace

const Algorithm coded_hierarchical_broadcast = {
    "coded_hierarchical_broadcast", Collective::kBroadcast, true, accepts, rounds, emit, true};

}  // namespace gossamer
