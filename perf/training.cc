#include "perf/training.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "gossamer/feedback.h"

namespace gossamer {
namespace {

constexpr size_t kWarmUpEpochs = 4;

// Points in an order of the epoch's own, the same on all ranks.
std::vector<size_t> order_of(size_t points, uint64_t seed, size_t epoch) {
  std::vector<size_t> order(points);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937_64 generator(seed * 1000 + epoch + 1);
  for (size_t i = points; i-- > 1;) std::swap(order[i], order[generator() % (i + 1)]);
  return order;
}

GradientHook::Options hook_options(const Training& training, const TrainingMethod& method,
                                   uint64_t steps_per_epoch) {
  GradientHook::Options options;
  options.overlap = false;  // ranks outnumber cores
  options.seed = training.seed + 1;
  if (method.codec.empty() && method.own == nullptr) return options;
  GradientHook::Rule rule;
  rule.codec = method.codec;
  rule.own = method.own;
  rule.feedback = method.feedback;
  rule.count_min = 1;
  rule.dimensions_min = method.vectors_too ? 1 : 2;
  if (method.warm_up) {
    rule.from_iteration = kWarmUpEpochs * steps_per_epoch;
    for (size_t epoch = 0; epoch < kWarmUpEpochs; ++epoch) {
      const double ratio = warm_up_ratio(0.001, epoch);
      rule.warm_up.push_back(
          {epoch * steps_per_epoch, "topk:select=exact,ratio=" + std::to_string(ratio)});
    }
  }
  options.rules.push_back(std::move(rule));
  if (!method.rest_codec.empty()) {
    options.rules.push_back({.count_min = 1, .dimensions_min = 1, .codec = method.rest_codec});
  }
  return options;
}

class Trainer {
 public:
  Trainer(Communicator& comm, const Training& training, const TrainingMethod& method,
          const TrainingData& data)
      : comm_(comm),
        training_(training),
        method_(method),
        data_(data),
        network_(training.widths, training.seed + 77),
        steps_per_epoch_(data.train_labels.size() /
                         (training.batch * static_cast<size_t>(training.ranks))) {}

  Status run() {
    std::vector<GradientHook::Parameter> model;
    for (size_t l = 0; l < network_.layers().size(); ++l) {
      const Network::Layer& layer = network_.layers()[l];
      model.push_back({"layer" + std::to_string(l) + ".weight", {layer.inputs, layer.outputs}});
      model.push_back({"layer" + std::to_string(l) + ".bias", {layer.outputs}});
      momenta_.emplace_back(layer.weights.size(), 0.0F);
      momenta_.emplace_back(layer.outputs, 0.0F);
    }
    auto hook = GradientHook::create(comm_, std::move(model),
                                     hook_options(training_, method_, steps_per_epoch_));
    if (!hook) return hook.status();
    for (size_t epoch = 0; epoch < training_.epochs; ++epoch) {
      const uint64_t before = comm_.counters().bytes_sent;
      if (Status done = run_epoch(**hook, epoch); !done) return done;
      last_epoch_bytes_ = comm_.counters().bytes_sent - before;
      bytes_ += last_epoch_bytes_;
    }
    return Status::ok();
  }

  Network& network() { return network_; }
  Trained result() {
    Trained trained;
    trained.steps = steps_per_epoch_ * training_.epochs;
    trained.train = network_.score(data_.train, data_.train_labels);
    trained.test = network_.score(data_.test, data_.test_labels);
    trained.bytes_per_step = static_cast<double>(bytes_) / static_cast<double>(trained.steps);
    trained.last_bytes_per_step =
        static_cast<double>(last_epoch_bytes_) / static_cast<double>(steps_per_epoch_);
    return trained;
  }

 private:
  Status run_epoch(GradientHook& hook, size_t epoch) {
    const std::vector<size_t> order = order_of(data_.train_labels.size(), training_.seed, epoch);
    const size_t at_once = training_.batch * static_cast<size_t>(training_.ranks);
    for (size_t step = 0; step < steps_per_epoch_; ++step) {
      const size_t first = step * at_once + training_.batch * static_cast<size_t>(comm_.rank());
      points_.clear();
      labels_.clear();
      for (size_t i = first; i < first + training_.batch; ++i) {
        const auto from =
            data_.train.begin() + static_cast<ptrdiff_t>(order[i] * TrainingData::kDimensions);
        points_.insert(points_.end(), from, from + TrainingData::kDimensions);
        labels_.push_back(data_.train_labels[order[i]]);
      }
      network_.gradients(points_, labels_);
      for (size_t l = network_.layers().size(); l-- > 0;) {
        Network::Layer& layer = network_.layers()[l];
        Status done = hook.ready_at(2 * l + 1, layer.bias_gradient.data());
        if (done) done = hook.ready_at(2 * l, layer.weight_gradient.data());
        if (!done) return done;
      }
      const Result<GradientHook::Step> done = hook.wait();
      if (!done) return done.status();
      if (done->finite) descend(epoch * steps_per_epoch_ + step);
    }
    return Status::ok();
  }

  void descend(uint64_t step) {
    const double part =
        static_cast<double>(step) / static_cast<double>(steps_per_epoch_ * training_.epochs);
    const double rate = training_.rate * (part < 0.6 ? 1 : part < 0.85 ? 0.1 : 0.01);
    for (size_t l = 0; l < network_.layers().size(); ++l) {
      Network::Layer& layer = network_.layers()[l];
      descend(rate, method_.momentum_inside, layer.weight_gradient, &momenta_[2 * l],
              &layer.weights);
      descend(rate, false, layer.bias_gradient, &momenta_[2 * l + 1], &layer.biases);
    }
  }
  void descend(double rate, bool momentum_inside, const std::vector<float>& gradient,
               std::vector<float>* momentum, std::vector<float>* values) const {
    const auto keep = momentum_inside ? 0.0F : static_cast<float>(training_.momentum);
    for (size_t i = 0; i < gradient.size(); ++i) {
      (*momentum)[i] = keep * (*momentum)[i] + gradient[i];
      (*values)[i] -= static_cast<float>(rate) * (*momentum)[i];
    }
  }

  Communicator& comm_;
  const Training& training_;
  const TrainingMethod& method_;
  const TrainingData& data_;
  Network network_;
  const size_t steps_per_epoch_;
  std::vector<std::vector<float>> momenta_;
  std::vector<float> points_;
  std::vector<uint8_t> labels_;
  uint64_t bytes_ = 0;
  uint64_t last_epoch_bytes_ = 0;
};

}  // namespace

const std::vector<TrainingMethod>& training_methods() {
  static const std::vector<TrainingMethod> kMethods = {
      {.name = "dense", .codec = "", .feedback = ""},
      {.name = "bf16", .codec = "bf16", .feedback = ""},
      {.name = "int8", .codec = "int8:block=256", .feedback = ""},
      {.name = "qsgd 4 bits", .codec = "qsgd:levels=7,block=512", .feedback = ""},
      {.name = "1-bit + EF", .codec = "one_bit:column=256", .feedback = "ef14:sides=1"},
      {.name = "1-bit + EF, by owners", .codec = "one_bit:column=256", .feedback = "ef14:sides=2"},
      {.name = "sign + EF", .codec = "sign:block=0", .feedback = "ef14:sides=1"},
      {.name = "sign + EF, by owners", .codec = "sign:block=0", .feedback = "ef14:sides=2"},
      {.name = "sign, no EF", .codec = "sign:block=0", .feedback = ""},
      {.name = "sign, no EF, biases too",
       .codec = "sign:block=0",
       .feedback = "",
       .vectors_too = true},
      {.name = "DGC 0.1 %, warm-up",
       .codec = "topk:select=exact,ratio=0.001,index=rice",
       .feedback = "dgc:momentum=0.9",
       .warm_up = true,
       .momentum_inside = true,
       .rest_codec = "bf16"},
      {.name = "DGC 0.1 %, no warm-up",
       .codec = "topk:select=exact,ratio=0.001,index=rice",
       .feedback = "dgc:momentum=0.9",
       .momentum_inside = true,
       .rest_codec = "bf16"},
      {.name = "top-0.1 % + EF, warm-up",
       .codec = "topk:select=exact,ratio=0.001",
       .feedback = "ef14",
       .warm_up = true},
      {.name = "top-0.1 % + EF", .codec = "topk:select=exact,ratio=0.001", .feedback = "ef14"},
      {.name = "top-0.1 %, no EF", .codec = "topk:select=exact,ratio=0.001", .feedback = ""},
      {.name = "PowerSGD rank 1", .codec = "powersgd:rank=1", .feedback = ""},
      {.name = "PowerSGD rank 2", .codec = "powersgd:rank=2", .feedback = ""},
      {.name = "PowerSGD rank 4", .codec = "powersgd:rank=4", .feedback = ""},
      {.name = "EF21-SGDM top-0.1 %",
       .codec = "topk:select=exact,ratio=0.001",
       .feedback = "ef21_sgdm:eta=0.1",
       .momentum_inside = true},
  };
  return kMethods;
}

Result<Trained> train(const Training& training, const TrainingMethod& method) {
  const TrainingData data = TrainingData::make(training.seed + 1);
  if (training.batch * static_cast<size_t>(training.ranks) > data.train_labels.size() ||
      training.epochs == 0 || training.batch == 0) {
    return Status::error(Code::kInvalidArgument,
                         "no whole step in an epoch; lower the batch or the number of ranks");
  }
  auto comms = Communicator::create_all(training.ranks);
  if (!comms) return comms.status();
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::unique_ptr<Trainer>> trainers;
  for (const auto& comm : *comms) {
    trainers.push_back(std::make_unique<Trainer>(*comm, training, method, data));
  }
  std::vector<Status> results(comms->size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < comms->size(); ++r) {
    threads.emplace_back([&, r] { results[r] = trainers[r]->run(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& result : results) {
    if (!result) return result;
  }
  for (const auto& other : trainers) {
    for (size_t l = 0; l < trainers[0]->network().layers().size(); ++l) {
      if (other->network().layers()[l].weights == trainers[0]->network().layers()[l].weights) {
        continue;
      }
      return Status::error(Code::kMismatch, "ranks ended with different models: a bug");
    }
  }
  Trained trained = trainers[0]->result();
  trained.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return trained;
}

}  // namespace gossamer
