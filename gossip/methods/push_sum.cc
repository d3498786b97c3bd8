// Push-sum: numerator and weight travel in one vector, so no rank can take one without the other.

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/mass.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {

Result<std::unique_ptr<PushSum>> PushSum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  return std::unique_ptr<PushSum>(new PushSum(options));
}

PushSum::PushSum(const Options& options)
    : options_(options), state_((options.count + 1) * size_of(options.type)) {}

double PushSum::weight() const {
  return started_ ? weight_of(options_.type, state_.data(), options_.count) : 1;
}

Status PushSum::step(Communicator& comm, const Graph& graph, void* z, const void* gradient,
                     double rate) {
  const DataType type = options_.type;
  const uint64_t bytes = options_.count * size_of(type);
  if (Status sound = check_step(z, gradient, rate, bytes); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kColumn, false); !sound) {
    return sound;
  }
  std::byte* const x = state_.data();
  if (!started_) start_mass(type, x, z, options_.count);
  started_ = true;
  add_scaled(type, x, x, gradient, options_.count, -rate);
  Status done = start_neighbor_average(comm, x, x, options_.count + 1, type, graph, round_).wait();
  if (!done) return done;
  ++round_;
  value_of(type, x, z, options_.count);
  return Status::ok();
}

std::vector<std::byte> PushSum::save() const {
  StateWriter out(MethodKind::kPushSum, 32 + state_.size());
  out.elements(options_.count, options_.type);
  out.number(round_);
  out.number(started_ ? 1 : 0);
  if (started_) out.bytes(state_);
  return out.finish();
}

Status PushSum::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kPushSum, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->take(&round_);
  const bool started = in->number() == 1;
  if (started) in->take(state_);
  Status done = in->finish();
  if (done) started_ = started;
  return done;
}

}  // namespace gossamer
