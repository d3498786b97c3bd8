// Training steps of a known model's size through the gradient hook: a computation that is slept,
// then the gradients, each with what it is sent as. For what a codec saves on a given link.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

struct StepOptions {
  std::string model = "resnet18-cifar";
  double compute_ms = 100;
  int steps = 20;
  int warmup = 3;
  bool overlap = false;   // gradients come while the computation goes on, evenly
  bool in_place = false;  // gradients are computed in the hook's memory
  std::string codec;      // of all matrices; empty: dense
  std::string feedback;
  std::string rest_codec;  // of what `codec` leaves: vectors, small matrices
  uint64_t bucket_bytes_max = uint64_t{25} << 20;
};

struct StepTiming {
  uint64_t gradient_bytes = 0;  // of the model, in fp32
  double median_ms = 0;         // of a step, the slowest rank's
  double bytes_sent = 0;        // per step, by the rank that sends most, votes included
  double processor_ms = 0;      // of a step, the busiest rank's process
};

// The models by name; for help texts.
std::string step_models();
//   kInvalidArgument  no such model; the message lists them
Status check_step_model(const std::string& name);

// Every rank calls it; each gets the same.
//   kInvalidArgument  no such model; what the hook refuses
Result<StepTiming> measure_steps(Communicator& communicator, const StepOptions& options);

}  // namespace gossamer
