#include "perf/step_run.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "gossamer/gradient_hook.h"
#include "perf/measure.h"
#include "perf/model_shapes.h"

namespace gossamer {
namespace {

struct Model {
  const char* name;
  ModelShapes (*shapes)();
};

const Model kModels[] = {
    {"resnet18-cifar", [] { return resnet18(3, 10); }},
    {"resnet50", [] { return resnet50(); }},
    {"vgg19",
     [] {
       return vgg({2, 2, 4, 4, 4}, false, false);
     }},
};

// Outside the kernel: codecs, sums and copies, but not what sockets cost, which goes on while the
// link is busy.
double processor_ms() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec) * 1e3 +
         static_cast<double>(used.ru_utime.tv_usec) / 1e3;
}

class Steps {
 public:
  Steps(Communicator& communicator, const StepOptions& options)
      : comm_(communicator), options_(options) {}

  Status prepare(const ModelShapes& model) {
    std::vector<GradientHook::Parameter> parameters;
    for (size_t i = 0; i < model.all().size(); ++i) {
      const MatrixShape& shape = model.all()[i];
      GradientHook::Parameter& one = parameters.emplace_back();
      one.key = std::to_string(i);
      one.shape = {shape.rows};
      if (shape.columns > 1) one.shape.push_back(shape.columns);
      counts_.push_back(shape.rows * shape.columns);
    }
    gradients_.resize(counts_.size());
    if (!options_.in_place) own_.resize(counts_.size());
    elements_ = model.elements();
    GradientHook::Options hook;
    hook.bucket_bytes_max = options_.bucket_bytes_max;
    hook.overlap = options_.overlap;
    if (!options_.codec.empty()) {
      hook.rules.push_back({.codec = options_.codec, .feedback = options_.feedback});
    }
    if (!options_.rest_codec.empty()) {
      hook.rules.push_back({.count_min = 1, .dimensions_min = 1, .codec = options_.rest_codec});
    }
    auto made = GradientHook::create(comm_, parameters, hook);
    if (!made) return made.status();
    hook_ = std::move(made).value();
    return Status::ok();
  }

  Result<StepTiming> run() {
    std::vector<double> times;
    uint64_t sent = 0;
    double processor = 0;
    for (int step = -options_.warmup; step < options_.steps; ++step) {
      if (Status s = place(); !s) return s;
      fill(step);
      if (Status s = comm_.barrier(); !s) return s;
      const uint64_t sent_before = comm_.counters().bytes_sent;
      const double processor_before = processor_ms();
      const double begun = now_us();
      if (Status s = one_step(); !s) return s;
      const double own_ms = (now_us() - begun) / 1e3;
      const double own_processor = processor_ms() - processor_before;
      const uint64_t own_sent = comm_.counters().bytes_sent - sent_before;
      double most[3] = {own_ms, static_cast<double>(own_sent), own_processor};
      if (Status s = comm_.all_reduce(std::span<double>(most), ReduceOp::kMax); !s) return s;
      if (step < 0) continue;
      times.push_back(most[0]);
      sent += static_cast<uint64_t>(most[1]);
      processor += most[2];
    }
    StepTiming timing;
    timing.gradient_bytes = elements_ * sizeof(float);
    timing.median_ms = summarize(times).median_us;
    timing.bytes_sent = static_cast<double>(sent) / options_.steps;
    timing.processor_ms = processor / options_.steps;
    return timing;
  }

 private:
  // Where gradients are computed, which moves when the hook has learned their order.
  Status place() {
    for (size_t i = 0; i < counts_.size(); ++i) {
      float* to = nullptr;
      if (options_.in_place) {
        const Result<void*> memory = hook_->memory(std::to_string(i));
        if (!memory) return memory.status();
        to = static_cast<float*>(*memory);
      } else {
        own_[i].resize(counts_[i]);
        to = own_[i].data();
      }
      gradients_[i] = {to, counts_[i]};
    }
    return Status::ok();
  }

  // Gradients as they are late in training: many small ones, few large.
  void fill(int step) {
    uint64_t state = static_cast<uint64_t>(step + 100) * 1'000'003 +
                     static_cast<uint64_t>(comm_.rank() + 1) * 7'919;
    for (const std::span<float> gradient : gradients_) {
      for (float& value : gradient) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const float u = static_cast<float>(state >> 40) * 0x1p-23F - 1;
        value = u * u * u * u * u;
      }
    }
  }

  void compute(double ms) const {
    if (ms > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(ms));
  }

  Status one_step() {
    const double each_ms = options_.compute_ms / static_cast<double>(gradients_.size());
    if (!options_.overlap) compute(options_.compute_ms);
    for (size_t i = gradients_.size(); i-- > 0;) {
      if (options_.overlap) compute(each_ms);
      if (Status s = hook_->ready_at(i, gradients_[i].data()); !s) return s;
    }
    const auto step = hook_->wait();
    if (!step) return step.status();
    return step->finite ? Status::ok()
                        : Status::error(Code::kMismatch, "an average of finite gradients is not");
  }

  Communicator& comm_;
  const StepOptions& options_;
  std::unique_ptr<GradientHook> hook_;
  std::vector<uint64_t> counts_;
  std::vector<std::span<float>> gradients_;
  std::vector<std::vector<float>> own_;  // unless they are in the hook's memory
  uint64_t elements_ = 0;
};

}  // namespace

std::string step_models() {
  std::string names;
  for (const Model& model : kModels) names += std::string(names.empty() ? "" : ", ") + model.name;
  return names;
}

Status check_step_model(const std::string& name) {
  for (const Model& model : kModels) {
    if (name == model.name) return Status::ok();
  }
  return Status::error(Code::kInvalidArgument,
                       "no model is called '" + name + "'; there are " + step_models());
}

Result<StepTiming> measure_steps(Communicator& communicator, const StepOptions& options) {
  for (const Model& model : kModels) {
    if (options.model != model.name) continue;
    Steps steps(communicator, options);
    if (Status s = steps.prepare(model.shapes()); !s) return s;
    return steps.run();
  }
  return check_step_model(options.model);
}

}  // namespace gossamer
