// CHOCO for the parameters of a rule: what travels is the code of what a rank's values differ by
// from the copy that its neighbors have of them.
//
//   Source     Koloskova, Stich and Jaggi, "Decentralized stochastic optimization and gossip
//              algorithms with compressed communication", ICML 2019.
//   Rule       q_i = C(x_i - h_i), sent to the neighbors; h_i <- h_i + q_i, where it is kept and
//              where its copies are; x_i <- x_i + c sum_j w_ij (h_j - h_i)
//   Keeps      The mean of x, as W is symmetric; h and its copies are the same bits, as all make
//              the same additions. So each neighbor has a copy of its own, and no sum of them.
//   Members    meet() sends h as it is, so that copies are right whatever happened before.
//   Threads    One at a time.
//   Memory     4 times 2 bytes per element and neighbor, and as many for h.

#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/feedback.h"
#include "gossamer/gossip.h"

namespace gossamer {

class Choco {
 public:
  static bool is_named(const std::string& text);
  // "choco:rate=0.2"; `places` has a bucket per parameter.
  //   kInvalidArgument  no such parameter; no rate, or one that is not in (0, 1]
  static Result<std::unique_ptr<Choco>> make(const std::string& text, StateStore& store,
                                             std::vector<StateBucket> places);

  //   kInvalidArgument  the graph's rounds differ, or it is not symmetric with sums of 1
  static Status check(const Graph& graph);
  // A collective: who the neighbors are, and what they have.
  Status meet(Communicator& comm, const Graph& graph);
  std::span<const Rank> sources() const { return sources_; }  // those it sends to, too
  uint64_t graph() const { return graph_; }                   // the identity of the last one

  // difference[i] = x[i] - h[i]
  void subtract(size_t place, std::span<float> difference) const;
  // `decoded` is what this rank has told, or its k-th source; it is changed. `codec` made it.
  void told(size_t place, const Codec& codec, std::span<float> decoded);
  void heard(size_t k, size_t place, const Codec& codec, std::span<float> decoded);
  // What x changes by, after all of that.
  void approach(size_t place, std::span<float> change);
  // Another iteration begins: what was told and heard of a place in it decides what approach()
  // sees.
  void begin(size_t place);

 private:
  Choco(StateStore& store, std::vector<StateBucket> places, float rate)
      : store_(store), places_(std::move(places)), rate_(rate), fresh_(places_.size()) {}
  void add(Role role, size_t place, const Codec& codec, std::span<float> decoded);
  std::span<const float> now(Role role, size_t place, bool fresh);

  StateStore& store_;
  std::vector<StateBucket> places_;
  float rate_;
  uint64_t graph_ = 0;
  std::vector<Rank> sources_;
  std::vector<float> weights_;
  std::vector<std::vector<bool>> fresh_;  // by place: this rank's is staged, and each source's
};

}  // namespace gossamer
