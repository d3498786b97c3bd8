// Gossip averaging: instead of the exact sum over all ranks, each call mixes a rank's values with
// those of a few neighbors. Repeated, all ranks approach the mean, or reach it after some rounds.
//
//   auto graph = gossamer::make_graph("one_peer_exponential", comm.size());
//   for (uint64_t round = 0; ; ++round) {
//     ...                                                   // change x: a gradient step
//     neighbor_average(comm, x, x, n, DataType::kFloat32, **graph, round);
//   }
//
// A graph says who averages with whom in each round, and with what weight. It is a pure function of
// the number of ranks, its parameters and a seed: every rank derives the same rounds from them and
// nothing is negotiated. Names follow Bluefog's: its neighbor_allreduce is neighbor_average(), its
// neighbor_allgather neighbor_all_gather(), its pair_gossip pair_gossip().
//
// Threads    Graphs are constant after they are made, and may be used by any thread. The calls are
//            collectives: what gossamer/communicator.h says of those holds.
// Ownership  A graph is the caller's and need not outlive a call, nor a Work or a plan that was
//            made with it.
//            Buffers are lent as in any collective.
// Units      Counts are elements, rounds count from 0.
// Source     Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems and Control
//            Letters 53, 2004. Graphs name theirs in gossip/graphs/.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "gossamer/communicator.h"
#include "gossamer/export.h"
#include "gossamer/mixing.h"

namespace gossamer {

// Made by the functions below.
class GOSSAMER_API Graph {
 public:
  virtual ~Graph() = default;
  Graph& operator=(const Graph&) = delete;

  virtual Rank size() const = 0;
  // Rounds repeat after so many; 0: each is drawn anew from the seed, and planned anew.
  virtual uint64_t period() const = 0;
  // Who averages with whom in this round. Allocates nothing where rounds repeat.
  virtual std::shared_ptr<const Mixing> mixing(uint64_t round) const = 0;

  // Its place in the period; the round itself where rounds do not repeat. Rounds with the same
  // position are the same.
  uint64_t position(uint64_t round) const { return period() == 0 ? round : round % period(); }
  // As it was asked for: "base:k=2".
  const std::string& name() const { return name_; }
  // The same on ranks whose graphs are the same, else different; never 0.
  uint64_t identity() const { return identity_; }

 protected:
  Graph() = default;
  Graph(const Graph&) = default;

 private:
  friend struct GraphMaker;
  virtual std::unique_ptr<Graph> copy() const = 0;
  std::string name_;
  uint64_t identity_ = 0;
};

// `text` is a name, with parameters where it has any: "ring", "base:k=2", "edges:file=PATH". `seed`
// is that of random graphs, the same on all ranks. `gossamer graph list` tells what there is.
//   kInvalidArgument  no graph has this name or parameter, or it does not fit `size`; the message
//                     lists what there is. A graph from a file is checked as the two below are
GOSSAMER_API Result<std::unique_ptr<Graph>> make_graph(const std::string& text, Rank size,
                                                       uint64_t seed = 1);

// Undirected: both directions are meant, repeated ones count once.
struct Edge {
  Rank a = 0;
  Rank b = 0;
};
// The user's own, with Metropolis-Hastings weights (Metropolis et al., "Equation of state
// calculations by fast computing machines", 1953): 1 / (1 + the larger degree) on each edge.
// Symmetric and doubly stochastic for every graph.
//   kInvalidArgument  an edge to itself, or to a rank outside [0, size); not connected: the message
//                     names a rank that cannot reach another
GOSSAMER_API Result<std::unique_ptr<Graph>> make_graph(Rank size, std::span<const Edge> edges);

// The user's own weights, row by row: weights[i * size + j] is what rank i gives to rank j's value;
// the same in every round.
//   kInvalidArgument  not size * size weights; one outside [0, 1]; sums that are not as `sums`
//                     asks, see Stochastic; not connected
GOSSAMER_API Result<std::unique_ptr<Graph>> make_graph(Rank size, std::span<const double> weights,
                                                       Stochastic sums = Stochastic::kDouble);

// The same graph when ranks are gone: that of the others, numbered in their order here, as
// Communicator::shrink() numbers them. No round waits for a lost rank, and every round keeps the
// sums it had:
//
//   symmetric            both ends of an edge to a lost rank add its weight to that of their own
//                        value. No edge is new. Symmetric and doubly stochastic as before
//   doubly stochastic    and directed: who sent to a lost rank sends on to those that it sent to,
//                        each with as much as would have come that way. Doubly stochastic as before
//   columns sum to 1     the sender keeps what it would have sent: the total of push-sum is kept,
//                        but for what the lost ranks had
//   rows sum to 1        the receiver gives its own value the weight that a lost one's had
//
// Heal what it returns when more ranks are lost. make_graph() draws one anew for the smaller size,
// which mixes faster where much is lost: a ring is a chain once one is gone.
//   kInvalidArgument  no rank is lost, one twice, all, or one that is not in the graph; those left
//                     are not connected: the message names two of them, as numbered in `graph`
GOSSAMER_API Result<std::unique_ptr<Graph>> heal_graph(const Graph& graph,
                                                       std::span<const Rank> lost);

// A round while some links are down, in both directions: each end adds what it would have sent to
// the weight of its own value. Columns keep their sums, and rows do where both directions had the
// same weight. Both ends have to know it in the same round: where only the receiver does, and fills
// its row up by itself, the mean drifts. Edges that the round does not have count for nothing.
//   kInvalidArgument  an edge to itself, or to a rank that is not in the matrix
GOSSAMER_API Result<Mixing> drop_edges(const Mixing& mixing, std::span<const Edge> down);

// For methods that work on some graphs only: whether every round (of a period; the first 64 of a
// random graph) has the sums, and is symmetric if that is asked for, and whether all of them
// together connect the ranks.
//   kInvalidArgument  no; the message names the graph, the round and the ranks
GOSSAMER_API Status check_graph(const Graph& graph, Stochastic sums, bool symmetric);

// output[i] = sum over j of graph.mixing(round)->weight(rank, j) times rank j's input[i], for i in
// [0, count). In place when input == output; no other overlap. Floats only: 64-bit ones computed as
// they are, all others in fp32 with fp32 weights, and rounded once. Ranks agree on the graph and on
// the position of the round: what a rank sends is never taken with another round's weights.
//   kInvalidArgument  null buffer with count > 0; partial overlap; integers; a graph of another
//                     size
//   kMismatch         a neighbor called with another count, type, graph or round, or something
//                     else; the message names both sides. Neighbors that agree may have finished
//   kPeerLost, kTimeout, kAborted   as for Communicator::all_reduce(); then, and after a mismatch,
//                     output is unspecified and input is intact unless it was output
GOSSAMER_API Status neighbor_average(Communicator& comm, const void* input, void* output,
                                     uint64_t count, DataType type, const Graph& graph,
                                     uint64_t round);
GOSSAMER_API Work start_neighbor_average(Communicator& comm, const void* input, void* output,
                                         uint64_t count, DataType type, const Graph& graph,
                                         uint64_t round);
GOSSAMER_API Result<PersistentCollective> plan_neighbor_average(Communicator& comm,
                                                                const void* input, void* output,
                                                                uint64_t count, DataType type,
                                                                const Graph& graph, uint64_t round);

// output[k * count + i] = input[i] of this rank's k-th source in this round, in ascending order and
// without itself, for i in [0, count): graph.mixing(round)->sources(rank). Weights do not matter.
// Any type; never in place. Codes as for neighbor_average().
GOSSAMER_API Status neighbor_all_gather(Communicator& comm, const void* input, void* output,
                                        uint64_t count, DataType type, const Graph& graph,
                                        uint64_t round);
GOSSAMER_API Work start_neighbor_all_gather(Communicator& comm, const void* input, void* output,
                                            uint64_t count, DataType type, const Graph& graph,
                                            uint64_t round);
GOSSAMER_API Result<PersistentCollective> plan_neighbor_all_gather(Communicator& comm,
                                                                   const void* input, void* output,
                                                                   uint64_t count, DataType type,
                                                                   const Graph& graph,
                                                                   uint64_t round);

// Two ranks alone exchange their values and average them: output[i] = (input[i] + the peer's
// input[i]) / 2, the same bits on both where halves are normal numbers. Two messages, ordered as
// Communicator::send()'s are: the other ranks do not take part. Carried out at once, within a group
// and on a stream too. In place when input == output: then memory of `count` elements is set aside
// for the call.
//   kInvalidArgument  null buffer with count > 0; overlap in part; integers; no such rank; itself
//   kMismatch and others   as for Communicator::send()
GOSSAMER_API Status pair_gossip(Communicator& comm, const void* input, void* output, uint64_t count,
                                DataType type, Rank peer);

}  // namespace gossamer
