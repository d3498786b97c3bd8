// Methods of decentralized training by name, for those who choose one when the program runs: from a
// configuration, a command line, or C (gossamer/gossamer_gossip.h).
//
//   auto method = gossamer::make_method("choco:top_k=0.01,rate=0.02", {.rank = comm.rank(),
//                                       .size = comm.size(), .count = n});
//   method.value()->begin(comm, x);
//   for (;;) method.value()->step(comm, graph->get(), x, g, 0.1);
//
// What a method does, needs and keeps, and its errors: where its class is, see
// gossamer/gossip_methods.h. Names are those of the classes: DecentralizedSgd is
// "decentralized_sgd".
//
// Threads    One thread at a time per method, as for the classes.
// Ownership  A method owns its state, and holds neither communicator nor graph.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/gossip.h"

namespace gossamer {

class GOSSAMER_API GossipMethod {
 public:
  virtual ~GossipMethod() = default;
  GossipMethod(const GossipMethod&) = delete;
  GossipMethod& operator=(const GossipMethod&) = delete;

  // Before the first step, once, on all ranks. What methods do here that have nothing to begin is
  // nothing; others refuse to step without it.
  virtual Status begin(Communicator& comm, void* x) = 0;
  // One iteration. `graph` may be null where the method averages over all ranks.
  //   kInvalidArgument  the method needs a graph, or has none; and as the method's class says
  virtual Status step(Communicator& comm, const Graph* graph, void* x, const void* gradient,
                      double rate) = 0;
  // All ranks call it, after as many steps as each likes: what is under way between ranks ends.
  // Nothing, for methods that have nothing under way after a step.
  virtual Status finish(Communicator& comm, const Graph* graph, void* x) = 0;

  // Ranks are lost: goes on over what Communicator::shrink() made without the same ones. Only
  // PairwiseSgd does, see there.
  //   kUnavailable  this method does not: make one anew for the smaller group
  virtual Status shrink(std::span<const Rank> lost) = 0;

  virtual Result<std::vector<std::byte>> save() const = 0;
  virtual Status load(std::span<const std::byte> saved) = 0;

  // As it was asked for.
  const std::string& name() const { return name_; }

 protected:
  explicit GossipMethod(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

struct MethodOptions {
  Rank rank = 0;  // of the communicator that the steps will be given
  Rank size = 1;
  uint64_t count = 0;  // elements of x
  DataType type = DataType::kFloat32;
};

// `text` is a name, with parameters where it has any, written as those of graphs:
//
//   decentralized_sgd:order=atc     or awc: adapt then, or while combine
//   push_sum, running_push_sum
//   local_sgd:interval=8
//   diloco:interval=500,outer_rate=0.7,outer_momentum=0.9
//   choco:top_k=0.01,rate=0.02      or int8=256 instead of top_k: the codec
//   pairwise_sgd:seed=1
//
// of gossamer/gossip_overlap.h, gossip_bias_corrected.h and gossip_groups.h:
//
//   overlap_push_sum:staleness=1
//   gradient_tracking:order=atc     or awc
//   exact_diffusion, d2, extra
//   quasi_global_momentum:momentum=0.9,decay=0.9
//   relay_sum                       over a graph that is a tree
//   moshpit_average:group=8         grouping=random,seed=1 instead of a grid
//   epidemic_push:peers=1,form=local,seed=1     or oracle
//
//   kInvalidArgument  no method has this name or parameter; the message lists what there is. And
//                     what the class refuses
GOSSAMER_API Result<std::unique_ptr<GossipMethod>> make_method(const std::string& text,
                                                               const MethodOptions& options);

}  // namespace gossamer
