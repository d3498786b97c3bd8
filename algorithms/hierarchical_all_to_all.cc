// Hierarchical all-to-all: inside each host shares are brought to the rank that talks to their
// target, so that one message per host crosses.
//   Source   the node-aware scheme of Kumar, Sabharwal, Garg and Heidelberger, "Optimization of
//            all-to-all communication on the Blue Gene/L supercomputer", ICPP 2008; its two phases
//            as by Traeff and Rougier, "MPI collectives and datatypes for hierarchical all-to-all
//            communication", EuroMPI 2014.
//   Steps    1 exchange inside the host of (g - 1) h messages, 1 between hosts of h - 1, for h
//            hosts of g; more between hosts when the call is cut into pieces.
//   Bytes    (g - 1) h shares inside the host and (h - 1) g between hosts, per rank.
//   Scratch  (h - 1) g shares.
//   Needs    Shape::hosts with two hosts or more of equal size, with two ranks or more each.
//   Bits     copies only.

#include "algorithms/hosts.h"
#include "algorithms/list.h"
#include "algorithms/shares.h"

namespace gossamer {
namespace {

int rounds(const Shape&) {
  return 2;
}

// What the ranks of this host have for this rank's place on host `h`, by place.
Slice bundle(const Shape& shape, const Hosts& hosts, Rank h, Builder& b) {
  return b.scratch(shape.count * static_cast<uint64_t>(hosts.size()), h);
}

Slice bundled(const Shape& shape, const Hosts& hosts, Rank h, Rank place, Builder& b) {
  if (h == hosts.host) return shape.share(hosts.leader() + place);
  return bundle(shape, hosts, h, b).part(static_cast<uint64_t>(place) * shape.count, shape.count);
}

void bring_together(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank g = hosts.size();
  for (Rank i = 1; i < g; ++i) {
    const Rank place = (hosts.index - i + g) % g;
    for (Rank r : hosts.rail(place)) b.send(hosts.leader() + place, shape.input_share(r));
  }
  for (Rank h = 0; h < hosts.count(); ++h) {
    b.copy(shape.input_share(hosts.first_of(h) + hosts.index),
           bundled(shape, hosts, h, hosts.index, b));
  }
  for (Rank i = 1; i < g; ++i) {
    const Rank place = (hosts.index + i) % g;
    for (Rank h = 0; h < hosts.count(); ++h) {
      b.recv(hosts.leader() + place, bundled(shape, hosts, h, place, b));
    }
  }
}

// Both ends cut a bundle as it lies in the output.
void cross(const Shape& shape, const Hosts& hosts, Builder& b) {
  const Rank n = hosts.count();
  for (Rank i = 1; i < n; ++i) {
    const Rank h = (hosts.host - i + n) % n;
    const Slice all = bundle(shape, hosts, h, b);
    uint64_t sent = 0;
    for_each_share_run(shape, hosts.leader(), hosts.size(), [&](Slice run) {
      b.send(hosts.first_of(h) + hosts.index, all.part(sent, run.count));
      sent += run.count;
    });
  }
  for (Rank i = 1; i < n; ++i) {
    const Rank h = (hosts.host + i) % n;
    for_each_share_run(shape, hosts.first_of(h), hosts.size(),
                       [&](Slice run) { b.recv(hosts.first_of(h) + hosts.index, run); });
  }
}

void emit(const Shape& shape, int round, Builder& b) {
  const Hosts hosts(shape);
  if (round == 0) return bring_together(shape, hosts, b);
  cross(shape, hosts, b);
}

}  // namespace

const Algorithm hierarchical_all_to_all = {
    "hierarchical_all_to_all", Collective::kAllToAll, false, has_equal_hosts, rounds, emit};

}  // namespace gossamer
