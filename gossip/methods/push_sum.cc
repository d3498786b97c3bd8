// Push-sum: numerator and weight travel in one vector, so no rank can take one without the other.

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"
#include "src/reduce.h"

namespace gossamer {

Result<std::unique_ptr<PushSum>> PushSum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  return std::unique_ptr<PushSum>(new PushSum(options));
}

PushSum::PushSum(const Options& options)
    : options_(options), state_((options.count + 1) * size_of(options.type)) {}

double PushSum::weight() const {
  const std::byte* const last = state_.data() + options_.count * size_of(options_.type);
  double wide = 1;
  float narrow = 1;
  if (!started_) return 1;
  if (options_.type == DataType::kFloat64) {
    std::memcpy(&wide, last, sizeof wide);
    return wide;
  }
  std::memcpy(&narrow, last, sizeof narrow);
  return static_cast<double>(narrow);
}

void PushSum::set_out(const void* z) {
  const uint64_t element = size_of(options_.type);
  const uint64_t bytes = options_.count * element;
  std::memcpy(state_.data(), z, bytes);
  const double wide = 1;
  const float narrow = 1;
  const void* const one = options_.type == DataType::kFloat64 ? static_cast<const void*>(&wide)
                                                              : static_cast<const void*>(&narrow);
  std::memcpy(state_.data() + bytes, one, element);
  started_ = true;
}

Status PushSum::step(Communicator& comm, const Graph& graph, void* z, const void* gradient,
                     double rate) {
  const DataType type = options_.type;
  const uint64_t bytes = options_.count * size_of(type);
  if (Status sound = check_step(z, gradient, rate, bytes); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kColumn, false); !sound) {
    return sound;
  }
  if (!started_) set_out(z);
  std::byte* const x = state_.data();
  add_scaled(type, x, x, gradient, options_.count, -rate);
  Status done = start_neighbor_average(comm, x, x, options_.count + 1, type, graph, round_).wait();
  if (!done) return done;
  ++round_;
  // Less than that and the quotient is noise; a rank that has given everything away keeps its z.
  const double least = type == DataType::kFloat64
                           ? std::numeric_limits<double>::min()
                           : static_cast<double>(std::numeric_limits<float>::min());
  const double w = weight();
  if (w >= least) divide_kernel(type)(static_cast<std::byte*>(z), x, options_.count, w);
  return Status::ok();
}

std::vector<std::byte> PushSum::save() const {
  StateWriter out(MethodKind::kPushSum, 32 + state_.size());
  out.number(options_.count);
  out.number(static_cast<uint64_t>(options_.type));
  out.number(round_);
  out.number(started_ ? 1 : 0);
  if (started_) out.bytes(state_);
  return out.finish();
}

Status PushSum::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kPushSum, saved);
  if (!in) return in.status();
  in->expect(options_.count, "count");
  in->expect(static_cast<uint64_t>(options_.type), "element type");
  const uint64_t round = in->number();
  const bool started = in->number() == 1;
  const std::span<const std::byte> state = in->bytes(started ? state_.size() : 0);
  if (Status sound = in->finish(); !sound) return sound;
  round_ = round;
  started_ = started;
  if (started) std::memcpy(state_.data(), state.data(), state.size());
  return Status::ok();
}

}  // namespace gossamer
