// Training by several ranks whose gradients go through the gradient hook, to see what a codec does
// to what is learned and to what is sent.
//
// Threads    train() runs its ranks as threads of this process and joins them.
// Blocking   Until the training has ended, or failed.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/gradient_hook.h"
#include "perf/training_task.h"

namespace gossamer {

struct TrainingMethod {
  std::string name;  // "sign + EF"
  std::string codec;
  std::string feedback;
  bool warm_up = false;          // top-k: the milder ratios of the first epochs
  bool momentum_inside = false;  // by the feedback, not the optimizer
  bool vectors_too = false;      // biases are compressed as well
  std::string rest_codec = {};   // of biases, where `codec` leaves them
  const Codec* own = nullptr;    // instead of `codec`; outlives the training
};
// Those of the table, the first of which is dense.
const std::vector<TrainingMethod>& training_methods();

struct Training {
  std::vector<size_t> widths = {32, 256, 256, 10};  // of the network's layers
  Rank ranks = 4;
  size_t batch = 32;  // points per rank and step
  size_t epochs = 16;
  double rate = 0.1;  // a tenth after 60 % of the steps, a hundredth after 85 %
  double momentum = 0.9;
  uint64_t seed = 0;
};

struct Trained {
  Network::Score train;
  Network::Score test;
  uint64_t steps = 0;
  double bytes_per_step = 0;       // sent by rank 0, votes included
  double last_bytes_per_step = 0;  // the same in the last epoch: after every warm-up
  double seconds = 0;
};
//   kInvalidArgument  what the hook refuses; no whole step in an epoch
//   kMismatch         ranks ended with different models: a bug
Result<Trained> train(const Training& training, const TrainingMethod& method);

}  // namespace gossamer
