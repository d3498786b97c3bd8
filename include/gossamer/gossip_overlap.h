// Overlap push-sum: push-sum whose messages travel while the next gradients are computed.
//
// Shapes, Threads, Ownership, Errors and Saving are those of gossamer/gossip_methods.h.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/gossip.h"

namespace gossamer {

// OSGP: PushSum whose step() returns before what was sent to it has come. It is taken when it
// comes, in this step or a later one, and waited for only when it is `staleness` steps late:
//
//   x_i <- x_i - g gradient_i;  (x_i, w_i) is sent to the targets of the round;
//   (x_i, w_i) <- w_ii (x_i, w_i);  then, for each message of j that has come, of any round t,
//   (x_i, w_i) <- (x_i, w_i) + w_ij(t) (x_j, w_j);  z_i = x_i / w_i
//
// A slow rank holds the others up only when they are `staleness` steps ahead of it. With a
// staleness of 0 it is PushSum: the same bits where weights are powers of two and ranks have one
// source each, as in one_peer_exponential, else the same to rounding.
//
// Sends      x and the weight w, count + 1 elements in one message, to each target of the round:
//            neither is ever taken without the other.
// Blocking   step() waits for the messages of this and earlier rounds that are `staleness` steps
//            old, to this rank and from it. The communicator may carry other calls in between, in
//            the same order on all ranks.
// Memory     x and w, and staleness + 1 times: a message, and one for each source of a round.
// Needs      Columns that sum to 1. The same staleness on all ranks is not needed.
// Keeps      The sums over ranks of x, but for the gradients, and of w, those under way counted,
//            each to the rounding of `type`: w over ranks + pushed() over ranks - taken() over
//            ranks is the number of ranks at any time, and after finish() w alone is.
// Source     Assran, Loizou, Ballas and Rabbat, "Stochastic gradient push for distributed deep
//            learning", ICML 2019.
class GOSSAMER_API OverlapPushSum {
 public:
  static constexpr uint64_t kStalenessMax = 1024;
  struct Options {
    uint64_t count = 0;
    DataType type = DataType::kFloat32;  // or kFloat64
    uint64_t staleness = 1;              // steps that a message may be late; at most kStalenessMax
  };
  static Result<std::unique_ptr<OverlapPushSum>> create(const Options& options);
  // Before the communicator is destroyed. Waits for what is under way, within its deadline.
  ~OverlapPushSum();

  // z as in PushSum::step().
  Status step(Communicator& comm, const Graph& graph, void* z, const void* gradient, double rate);
  // Takes all that is under way; all ranks call it after the same number of steps, and step() may
  // follow. z is changed as by step(). Before the communicator is destroyed.
  Status finish(void* z);

  double weight() const;                     // w; 1 before the first step
  double pushed() const { return pushed_; }  // weight ever sent
  double taken() const { return taken_; }    // weight ever received and added
  uint64_t round() const { return round_; }  // steps so far
  // Steps since the first round of which something is under way; 0: nothing is. At most the
  // staleness after a step.
  uint64_t lag() const { return round_ - oldest_; }
  //   kInvalidArgument  messages are under way: finish() first
  Result<std::vector<std::byte>> save() const;
  Status load(std::span<const std::byte> saved);

 private:
  struct Round;
  explicit OverlapPushSum(const Options& options);
  void send(Communicator& comm, const Mixing& mixing, Round* round);
  Status take(Round* round, bool waits);
  Status advance(uint64_t late);
  void value(void* z) const;
  Options options_;
  std::vector<std::byte> state_;  // x, then w
  std::vector<Round> rounds_;     // round t in place t % (staleness + 1)
  uint64_t round_ = 0;
  uint64_t oldest_ = 0;  // rounds before it are complete
  double pushed_ = 0;
  double taken_ = 0;
  uint64_t admitted_ = 0;
  bool started_ = false;
};

}  // namespace gossamer
