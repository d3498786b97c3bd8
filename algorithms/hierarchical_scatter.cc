// Hierarchical scatter: a host's shares cross to it in one message, and are handed out there.
//   Source   the two-level scheme of Kielmann, Hofman, Bal, Plaat and Bhoedjang, "MagPIe: MPI's
//            collective communication operations for clustered wide area systems", PPoPP 1999.
//   Steps    2 messages one after another: h - 1 independent ones from the root to h hosts, then
//            those inside each host. Where a call is cut into pieces, one message per share.
//   Bytes    each share once between hosts, but for the root's host's, and once inside.
//   Scratch  a host's shares on the rank that takes them, but on the root and where it is alone.
//   Needs    Shape::hosts with two hosts or more, one of them with two ranks or more; any root.
//   Bits     copies only.

#include "algorithms/hosts.h"
#include "algorithms/list.h"
#include "algorithms/shares.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

// Where this host's shares lie, in rank order, on the rank that speaks for it.
Slice host_shares(const Shape& shape, const Hosts& hosts, Builder& b) {
  if (hosts.size() == 1) return shape.whole();
  return b.scratch(shape.count * static_cast<uint64_t>(hosts.size()));
}

void cross(const Shape& shape, const Hosts& hosts, Builder& b) {
  if (shape.is_root()) {
    for (Rank i = 1; i < hosts.count(); ++i) {
      const Rank h = (hosts.host + i) % hosts.count();
      for_each_share_run(shape, hosts.first_of(h), hosts.ranks_of(h), [&](Slice run) {
        b.send(hosts.first_of(h), {Buffer::kInput, run.first, run.count});
      });
    }
    return;
  }
  if (hosts.index != 0 || hosts.host_of(shape.root) == hosts.host) return;
  const Slice all = host_shares(shape, hosts, b);
  uint64_t taken = 0;  // cut as it lies in the root's input
  for_each_share_run(shape, shape.rank, hosts.size(), [&](Slice run) {
    b.recv(shape.root, all.part(taken, run.count));
    taken += run.count;
  });
}

void hand_out(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank source = hosts.speaker(hosts.host, shape.root);
  if (shape.rank != source) {
    b.recv(source, shape.whole());
    return;
  }
  const auto share_of = [&](Rank rank) {
    if (shape.is_root()) return shape.input_share(rank);
    const auto index = static_cast<uint64_t>(rank - hosts.leader());
    return host_shares(shape, hosts, b).part(index * shape.count, shape.count);
  };
  for (Rank i = 1; i < hosts.size(); ++i) {
    const Rank peer = hosts.leader() + (hosts.index + i) % hosts.size();
    b.send(peer, share_of(peer));
  }
  b.copy(share_of(shape.rank), shape.whole());
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (round == 0) return cross(shape, hosts, b);
  hand_out(shape, hosts, b);
}

}  // namespace

const Algorithm hierarchical_scatter = {
    "hierarchical_scatter", Collective::kScatter, false, has_two_levels, rounds, emit};

}  // namespace gossamer
