// D-PSGD: a gradient step, and an average with neighbors.

#include <fmt/format.h>

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

Result<std::unique_ptr<DecentralizedSgd>> DecentralizedSgd::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, false); !sound) return sound;
  if (options.order != Order::kAdaptThenCombine && options.order != Order::kAdaptWhileCombine) {
    return invalid("the order is neither kAdaptThenCombine nor kAdaptWhileCombine");
  }
  return std::unique_ptr<DecentralizedSgd>(new DecentralizedSgd(options));
}

DecentralizedSgd::~DecentralizedSgd() = default;

Status DecentralizedSgd::begin(Communicator& comm, const Graph& graph, const void* x) {
  if (options_.order != Order::kAdaptWhileCombine) {
    return invalid("only adapt-while-combine averages while the gradient is computed");
  }
  if (begun_) return invalid("begin() was called already; step() comes next");
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, false); !sound) {
    return sound;
  }
  mixed_.resize(options_.count * size_of(options_.type));
  work_ =
      start_neighbor_average(comm, x, mixed_.data(), options_.count, options_.type, graph, round_);
  begun_ = true;
  return Status::ok();
}

Status DecentralizedSgd::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                              double rate) {
  const uint64_t bytes = options_.count * size_of(options_.type);
  if (Status sound = check_step(x, gradient, rate, bytes); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, false); !sound) {
    return sound;
  }
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  const void* mixed = x;
  if (begun_) {
    begun_ = false;
    Status done = work_.wait();
    work_ = Work();  // it may not outlive the communicator
    if (!done) return done;
    mixed = mixed_.data();
  } else {
    if (options_.order == Order::kAdaptThenCombine) {
      add_scaled(type, x, x, gradient, count, -rate);
    }
    Status done = start_neighbor_average(comm, x, x, count, type, graph, round_).wait();
    if (!done) return done;
  }
  if (options_.order == Order::kAdaptWhileCombine) {
    add_scaled(type, x, mixed, gradient, count, -rate);
  }
  ++round_;
  return Status::ok();
}

std::vector<std::byte> DecentralizedSgd::save() const {
  StateWriter out(MethodKind::kDecentralizedSgd, 32);
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.order));
  out.number(round_);
  return out.finish();
}

Status DecentralizedSgd::load(std::span<const std::byte> saved) {
  if (begun_) return invalid("an average is under way; call step() before load()");
  Result<StateReader> in = StateReader::open(MethodKind::kDecentralizedSgd, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.order), "order");
  in->take(&round_);
  return in->finish();
}

}  // namespace gossamer
