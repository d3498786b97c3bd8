// DiLoCo: an outer step with Nesterov momentum every so many local ones.

#include <fmt/format.h>

#include <cstring>

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

template <class T>
void outer_step(void* point, void* momentum, const void* way, void* x, uint64_t count, double rate,
                double factor) {
  T* const p = static_cast<T*>(point);
  T* const u = static_cast<T*>(momentum);
  const T* const d = static_cast<const T*>(way);
  const T m = static_cast<T>(factor);
  const T v = static_cast<T>(rate);
  for (uint64_t i = 0; i < count; ++i) {
    u[i] = m * u[i] + d[i];
    p[i] -= v * (d[i] + m * u[i]);
  }
  std::memcpy(x, p, count * sizeof(T));
}

}  // namespace

Result<std::unique_ptr<DiLoCo>> DiLoCo::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.interval == 0) return invalid("an interval of 0 steps; 1 averages in every step");
  if (Status sound = check_rate(options.outer_rate, "outer rate"); !sound) return sound;
  if (options.outer_rate <= 0) {
    return invalid(fmt::format("the outer rate is {}; it must be positive", options.outer_rate));
  }
  if (!(options.outer_momentum >= 0 && options.outer_momentum < 1)) {
    return invalid(
        fmt::format("the outer momentum is {}; it must be in [0, 1)", options.outer_momentum));
  }
  return std::unique_ptr<DiLoCo>(new DiLoCo(options));
}

Status DiLoCo::begin(Communicator& comm, void* x) {
  if (!point_.empty()) return invalid("begin() comes once, before the first step");
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  const uint64_t bytes = options_.count * size_of(options_.type);
  Status done = comm.start_all_reduce(x, x, options_.count, options_.type, ReduceOp::kAvg).wait();
  if (!done) return done;
  momentum_.assign(bytes, std::byte{0});
  way_.resize(bytes);
  point_.resize(bytes);
  std::memcpy(point_.data(), x, bytes);
  return Status::ok();
}

Status DiLoCo::step(Communicator& comm, void* x, const void* gradient, double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  if (point_.empty()) return invalid("call begin() with the first values before step()");
  Status done = check_step(x, gradient, rate, count * size_of(type));
  if (!done) return done;
  add_scaled(type, x, x, gradient, count, -rate);
  if ((steps_ + 1) % options_.interval == 0) {
    add_scaled(type, way_.data(), point_.data(), x, count, -1);
    done = comm.start_all_reduce(way_.data(), way_.data(), count, type, ReduceOp::kAvg).wait();
    if (!done) return done;
    const auto outer = type == DataType::kFloat64 ? outer_step<double> : outer_step<float>;
    outer(point_.data(), momentum_.data(), way_.data(), x, count, options_.outer_rate,
          options_.outer_momentum);
  }
  ++steps_;
  return Status::ok();
}

std::vector<std::byte> DiLoCo::save() const {
  StateWriter out(MethodKind::kDiLoCo, 64 + 2 * point_.size());
  out.elements(options_.count, options_.type);
  out.number(options_.interval);
  out.number(steps_);
  out.number(point_.empty() ? 0 : 1);
  out.bytes(point_);
  out.bytes(momentum_);
  return out.finish();
}

Status DiLoCo::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kDiLoCo, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(options_.interval, "interval");
  in->take(&steps_);
  const uint64_t bytes = in->number() == 1 ? options_.count * size_of(options_.type) : 0;
  const std::span<const std::byte> point = in->bytes(bytes);
  const std::span<const std::byte> momentum = in->bytes(bytes);
  if (Status sound = in->finish(); !sound) return sound;
  point_.assign(point.begin(), point.end());
  momentum_.assign(momentum.begin(), momentum.end());
  way_.resize(bytes);
  return Status::ok();
}

}  // namespace gossamer
