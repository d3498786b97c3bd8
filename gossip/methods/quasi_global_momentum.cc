// Quasi-global momentum: a momentum of where the values have gone, gossip included.

#include <fmt/format.h>

#include <cstring>

#include "gossamer/gossip_bias_corrected.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

Status check_factor(double factor, const char* what) {
  if (factor >= 0 && factor < 1) return Status::ok();
  return invalid(fmt::format("the {} is {}; it must be in [0, 1)", what, factor));
}

template <class T>
void adapt(void* x, const void* momentum, const void* gradient, uint64_t count, double factor,
           double rate) {
  T* const value = static_cast<T*>(x);
  const T* const m = static_cast<const T*>(momentum);
  const T* const g = static_cast<const T*>(gradient);
  const T b = static_cast<T>(factor);
  const T scale = static_cast<T>(rate);
  for (uint64_t i = 0; i < count; ++i) value[i] -= scale * (b * m[i] + g[i]);
}

template <class T>
void remember(void* momentum, const void* before, const void* x, uint64_t count, double decay,
              double rate) {
  T* const m = static_cast<T*>(momentum);
  const T* const old = static_cast<const T*>(before);
  const T* const value = static_cast<const T*>(x);
  const T u = static_cast<T>(decay);
  const T share = static_cast<T>((1 - decay) / rate);
  for (uint64_t i = 0; i < count; ++i) m[i] = u * m[i] + share * (old[i] - value[i]);
}

}  // namespace

Result<std::unique_ptr<QuasiGlobalMomentum>> QuasiGlobalMomentum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (Status sound = check_factor(options.momentum, "momentum"); !sound) return sound;
  if (Status sound = check_factor(options.decay, "decay of the momentum"); !sound) return sound;
  return std::unique_ptr<QuasiGlobalMomentum>(new QuasiGlobalMomentum(options));
}

QuasiGlobalMomentum::QuasiGlobalMomentum(const Options& options)
    : options_(options),
      momentum_(options.count * size_of(options.type)),
      before_(options.count * size_of(options.type)) {}

void QuasiGlobalMomentum::reset() {
  std::memset(momentum_.data(), 0, momentum_.size());
  round_ = 0;
}

Status QuasiGlobalMomentum::step(Communicator& comm, const Graph& graph, void* x,
                                 const void* gradient, double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  const uint64_t bytes = before_.size();
  if (Status sound = check_gradient_step(x, gradient, rate, bytes); !sound) return sound;
  if (rate <= 0) return invalid(fmt::format("the step size is {}; it must be positive", rate));
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, false); !sound) {
    return sound;
  }
  const bool wide = type == DataType::kFloat64;
  std::memcpy(before_.data(), x, bytes);
  (wide ? adapt<double> : adapt<float>)(x, momentum_.data(), gradient, count, options_.momentum,
                                        rate);
  Status done = start_neighbor_average(comm, x, x, count, type, graph, round_).wait();
  if (!done) return done;
  (wide ? remember<double> : remember<float>)(momentum_.data(), before_.data(), x, count,
                                              options_.decay, rate);
  ++round_;
  return Status::ok();
}

std::vector<std::byte> QuasiGlobalMomentum::save() const {
  StateWriter out(MethodKind::kQuasiGlobalMomentum, 40 + momentum_.size());
  out.elements(options_.count, options_.type);
  out.real(options_.momentum);
  out.real(options_.decay);
  out.number(round_);
  out.bytes(momentum_);
  return out.finish();
}

Status QuasiGlobalMomentum::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kQuasiGlobalMomentum, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  const double factors[] = {in->real(), in->real()};
  if (factors[0] != options_.momentum || factors[1] != options_.decay) {
    in->refuse(
        fmt::format("the state was saved with momentum {} and decay {}, this method has {} "
                    "and {}",
                    factors[0], factors[1], options_.momentum, options_.decay));
  }
  in->take(&round_);
  in->take(momentum_);
  return in->finish();
}

}  // namespace gossamer
