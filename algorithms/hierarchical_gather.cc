// Hierarchical gather: a host's shares are collected there, and cross to the root in one message.
//   Source   the two-level scheme of Kielmann, Hofman, Bal, Plaat and Bhoedjang, "MagPIe: MPI's
//            collective communication operations for clustered wide area systems", PPoPP 1999.
//   Steps    2 messages one after another: those inside each host, then h - 1 independent ones from
//            h hosts to the root. Where a call is cut into pieces, one message per share.
//   Bytes    each share once inside its host, and once between hosts, but for the root's host's.
//   Scratch  a host's shares on the rank that collects them, but on the root and where it is alone.
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

Slice own_input(const Shape& shape) {
  return {Buffer::kInput, 0, shape.count};
}

// Where this host's shares lie, in rank order, on the rank that speaks for it.
Slice host_shares(const Shape& shape, const Hosts& hosts, Builder& b) {
  if (hosts.size() == 1) return own_input(shape);
  return b.scratch(shape.count * static_cast<uint64_t>(hosts.size()));
}

void collect(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank target = hosts.speaker(hosts.host, shape.root);
  if (shape.rank != target) {
    b.send(target, own_input(shape));
    return;
  }
  const auto share_of = [&](Rank rank) {
    if (shape.is_root()) return shape.share(rank);
    const auto index = static_cast<uint64_t>(rank - hosts.leader());
    return host_shares(shape, hosts, b).part(index * shape.count, shape.count);
  };
  b.copy(own_input(shape), share_of(shape.rank));
  for (Rank i = 1; i < hosts.size(); ++i) {
    const Rank peer = hosts.leader() + (hosts.index + i) % hosts.size();
    b.recv(peer, share_of(peer));
  }
}

void cross(const Shape& shape, const Hosts& hosts, Builder& b) {
  if (shape.is_root()) {
    for (Rank i = 1; i < hosts.count(); ++i) {
      const Rank h = (hosts.host + i) % hosts.count();
      for_each_share_run(shape, hosts.first_of(h), hosts.ranks_of(h),
                         [&](Slice run) { b.recv(hosts.first_of(h), run); });
    }
    return;
  }
  if (hosts.index != 0 || hosts.host_of(shape.root) == hosts.host) return;
  const Slice all = host_shares(shape, hosts, b);
  uint64_t sent = 0;  // cut as it lies in the root's output
  for_each_share_run(shape, shape.rank, hosts.size(), [&](Slice run) {
    b.send(shape.root, all.part(sent, run.count));
    sent += run.count;
  });
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (round == 0) return collect(shape, hosts, b);
  cross(shape, hosts, b);
}

}  // namespace

const Algorithm hierarchical_gather = {
    "hierarchical_gather", Collective::kGather, false, has_two_levels, rounds, emit};

}  // namespace gossamer
