// Averages by relays, in groups, and with peers drawn at random.
//
// Shapes, Threads, Ownership, Memory, Errors and Saving are those of gossamer/gossip_methods.h, and
// so are the names in the rules.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/gossip.h"

namespace gossamer {

// A tree among the edges of any rounds of a graph, taken both ways, with Metropolis weights. Its
// root is the middle of a longest way through the graph, as far as two searches find one, so that
// the tree is not much deeper than need be. A tree stays what it is.
//   kInvalidArgument  rounds do not repeat; the edges do not connect the ranks
GOSSAMER_API Result<std::unique_ptr<Graph>> spanning_tree(const Graph& graph);

// RelaySum and RelaySGD: on a tree every value gets to every rank along the one way there is, so
// each rank averages the values of all, those of a rank d edges away as they were d - 1 steps ago.
//
//   x_i <- x_i - g gradient_i;  m(i -> j) = x_i + the sum of m(k -> i) of the last step, over all
//   neighbors k but j, sent to each neighbor j;  x_i <- (x_i + the sum of m(j -> i)) / n_i
//
// with n_i the number of values in that sum, counted like the values: they are all ranks' once as
// many steps were made as the tree has edges from end to end. Where values stay the same the mean
// is exact then, and with gradients at a constant rate the optimum is reached whatever data the
// ranks have.
//
// Sends      count + 1 elements to each neighbor.
// Memory     Two messages per neighbor, and one.
// Needs      A tree, always the same one: spanning_tree() makes one. Its weights do not matter.
// Keeps      Nothing: means are of values at different times.
// Source     Vogels, He, Koloskova, Lin, Karimireddy, Stich and Jaggi, "RelaySum for decentralized
//            deep learning on heterogeneous data", NeurIPS 2021; it divides by the number of ranks
//            and takes the first values for those that are missing.
class GOSSAMER_API RelaySum {
 public:
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
  };
  static Result<std::unique_ptr<RelaySum>> create(const Options& options);

  //   kInvalidArgument  the graph is no tree; it, or the rank, is not that of the last step
  Status step(Communicator& comm, const Graph& tree, void* x, const void* gradient, double rate);
  // Forgets all messages, as after create(): where a rank is gone, on all the others, with a tree
  // of those that are left.
  void reset();

  double heard() const { return heard_; }  // n_i of the last step
  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit RelaySum(const Options& options) : options_(options) {}
  Options options_;
  using Message = std::vector<std::byte>;  // the sum, then the number of values in it
  std::vector<Message> in_;                // by neighbor, in ascending order
  std::vector<Message> out_;
  Message sum_;
  std::vector<Work> works_;  // during step() only
  uint64_t round_ = 0;
  uint64_t admitted_ = 0;
  uint64_t graph_ = 0;  // identity of the tree that in_ belongs to; 0 before the first step
  Rank rank_ = -1;      // whose they are
  double heard_ = 1;
};

// Moshpit averaging: in each step groups of a few ranks average exactly, and the groups change.
//
//   kGrid     Ranks are places on a grid of `group` ranks in each direction; those of a step's
//             group differ in one direction, which changes from step to step. Exact after as many
//             steps as there are directions where the grid is full, that is, where the number of
//             ranks is a power of `group`; else the mean is approached, step by step.
//   kRandom   Groups are drawn anew in each step. Of n ranks in groups of m, (n / m - 1) / (n - 1)
//             of the variance is left by a step.
//
// A rank that is absent keeps its values, and the others of its group average without it.
//
// Sends      To each other rank of the group 1 / m of x twice: its share of the sum, and the mean
//            of that share: 2 (m - 1) / m of x in all.
// Memory     As much as x; a list of the group in each step.
// Needs      No graph. The same absent ranks on all ranks of a group.
// Keeps      The mean of x, but for the gradients. All ranks of a group get the same bits.
// Source     Ryabinin, Gorbunov, Plokhotnyuk and Pekhimenko, "Moshpit SGD: communication-efficient
//            decentralized training on heterogeneous unreliable devices", NeurIPS 2021.
class GOSSAMER_API MoshpitAverage {
 public:
  enum class Grouping : uint8_t { kGrid = 0, kRandom = 1 };
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    Rank group = 8;                      // most ranks of a group, at least 2
    Grouping grouping = Grouping::kGrid;
    uint64_t seed = 1;  // of kRandom; the same on all ranks
  };
  static Result<std::unique_ptr<MoshpitAverage>> create(const Options& options);

  // `absent` ranks take no part in this step's averages. They may call it too, and then only adapt
  // and count the step; where they do not, load() what another rank saved, to be in step again.
  //   kInvalidArgument  an absent rank that is none of the communicator
  Status step(Communicator& comm, void* x, const void* gradient, double rate,
              std::span<const Rank> absent = {});

  // Who averages with `rank` in a round, itself included, ascending.
  std::vector<Rank> group(Rank rank, Rank size, uint64_t round) const;
  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit MoshpitAverage(const Options& options) : options_(options) {}
  Status average(Communicator& comm, std::byte* x);
  Options options_;
  std::vector<Rank> members_;  // of this step
  std::vector<std::byte> arrived_;
  std::vector<Work> works_;  // during step() only
  uint64_t round_ = 0;
};

// Epidemic learning: each rank pushes its values to a few others drawn at random, and averages what
// came with its own. The draw is a common one: every rank knows who sends to it, and nothing is
// negotiated.
//
//   x_i <- x_i - g gradient_i;  x_i <- the mean of x_i and of what was pushed to i
//
//   kLocal    Each rank draws its targets by itself: some ranks get more than others, whose values
//             weigh less. The mean drifts: with 64 ranks and 1 / 2 / 4 peers by about 0.06 / 0.05 /
//             0.03 standard deviations of the values before they agree.
//   kOracle   Each rank is sent to as often as it sends, and the mean is kept.
//
// The graphs are those of make_graph("epidemic:peers=2", ...) and "epidemic:peers=2,oracle=1".
//
// Sends      x, count elements, to `peers` ranks.
// Needs      No graph; more ranks than peers. The same options on all ranks.
// Keeps      Of kOracle the mean of x, but for the gradients; of kLocal nothing.
// Source     de Vos, Farhadkhani, Guerraoui, Kermarrec, Pires and Sharma, "Epidemic learning:
//            boosting decentralized learning with randomized communication", NeurIPS 2023.
class GOSSAMER_API EpidemicPush {
 public:
  enum class Form : uint8_t { kLocal = 0, kOracle = 1 };
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // any float
    Rank peers = 1;                      // whom each rank pushes to in a step, 1 to 64
    Form form = Form::kLocal;
    uint64_t seed = 1;  // the same on all ranks
  };
  static Result<std::unique_ptr<EpidemicPush>> create(const Options& options);

  //   kInvalidArgument  no more ranks than peers
  Status step(Communicator& comm, void* x, const void* gradient, double rate);

  uint64_t round() const { return round_; }
  std::vector<std::byte> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  explicit EpidemicPush(const Options& options) : options_(options) {}
  Options options_;
  std::unique_ptr<Graph> graph_;  // of the communicator's size
  uint64_t round_ = 0;
};

}  // namespace gossamer
