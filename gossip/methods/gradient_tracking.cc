// Gradient tracking: values and the running estimate of the mean gradient are both averaged.

#include <cstring>

#include "gossamer/gossip_bias_corrected.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {

Result<std::unique_ptr<GradientTracking>> GradientTracking::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.order != Order::kAdaptThenCombine && options.order != Order::kAdaptWhileCombine) {
    return Status::error(Code::kInvalidArgument,
                         "the order is neither kAdaptThenCombine nor kAdaptWhileCombine");
  }
  return std::unique_ptr<GradientTracking>(new GradientTracking(options));
}

GradientTracking::GradientTracking(const Options& options) : options_(options) {
  const uint64_t bytes = options.count * size_of(options.type);
  tracked_.resize(bytes);
  gradient_.resize(bytes);
  if (options.order == Order::kAdaptWhileCombine) both_.resize(2 * bytes);
}

// Before the first step y and the last gradient are 0, so that y becomes the first one.
void GradientTracking::reset() {
  std::memset(tracked_.data(), 0, tracked_.size());
  std::memset(gradient_.data(), 0, gradient_.size());
  round_ = 0;
}

Status GradientTracking::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                              double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  const uint64_t bytes = tracked_.size();
  std::byte* const y = tracked_.data();
  if (Status sound = check_gradient_step(x, gradient, rate, bytes); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, false); !sound) {
    return sound;
  }
  add_scaled(type, y, y, gradient, count, 1);
  add_scaled(type, y, y, gradient_.data(), count, -1);
  std::memcpy(gradient_.data(), gradient, bytes);
  Status done;
  if (options_.order == Order::kAdaptThenCombine) {
    if (round_ > 0) done = start_neighbor_average(comm, y, y, count, type, graph, round_).wait();
    if (!done) return done;
    add_scaled(type, x, x, y, count, -rate);
    done = start_neighbor_average(comm, x, x, count, type, graph, round_).wait();
    if (!done) return done;
  } else {
    std::byte* const both = both_.data();
    std::memcpy(both, x, bytes);
    std::memcpy(both + bytes, y, bytes);
    done = start_neighbor_average(comm, both, both, 2 * count, type, graph, round_).wait();
    if (!done) return done;
    add_scaled(type, x, both, y, count, -rate);
    std::memcpy(y, both + bytes, bytes);
  }
  ++round_;
  return Status::ok();
}

std::vector<std::byte> GradientTracking::save() const {
  StateWriter out(MethodKind::kGradientTracking, 32 + 2 * tracked_.size());
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.order));
  out.number(round_);
  out.bytes(tracked_);
  out.bytes(gradient_);
  return out.finish();
}

Status GradientTracking::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kGradientTracking, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.order), "order");
  in->take(&round_);
  in->take(tracked_);
  in->take(gradient_);
  return in->finish();
}

}  // namespace gossamer
