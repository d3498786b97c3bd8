// EXTRA, with all that a step needs of the one before in one vector.

#include "gossamer/gossip_bias_corrected.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

// x(k + 1) = x + W x - rate * gradient - last, and W x - rate * gradient in the first step; then
// last = (x + W x) / 2 - rate * gradient. `mixed` is W x.
template <class T>
void correct(void* x, const void* mixed, const void* gradient, void* last, uint64_t count,
             double rate, bool first) {
  T* const value = static_cast<T*>(x);
  const T* const w = static_cast<const T*>(mixed);
  const T* const g = static_cast<const T*>(gradient);
  T* const before = static_cast<T*>(last);
  const T scale = static_cast<T>(rate);
  for (uint64_t i = 0; i < count; ++i) {
    const T adapted = w[i] - scale * g[i];
    const T next = first ? adapted : adapted + (value[i] - before[i]);
    before[i] = adapted + (value[i] - w[i]) / 2;
    value[i] = next;
  }
}

}  // namespace

Result<std::unique_ptr<Extra>> Extra::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  return std::unique_ptr<Extra>(new Extra(options));
}

Extra::Extra(const Options& options)
    : options_(options),
      last_(options.count * size_of(options.type)),
      mixed_(options.count * size_of(options.type)) {}

void Extra::reset() {
  round_ = 0;
  graph_ = 0;
}

Status Extra::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                   double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  if (Status sound = check_gradient_step(x, gradient, rate, last_.size()); !sound) return sound;
  Status done = admit_static(&admitted_, comm, graph, graph_, -1,
                             "give each rank some weight on its own values");
  if (!done) return done;
  done = start_neighbor_average(comm, x, mixed_.data(), count, type, graph, round_).wait();
  if (!done) return done;
  const auto apply = type == DataType::kFloat64 ? correct<double> : correct<float>;
  apply(x, mixed_.data(), gradient, last_.data(), count, rate, round_ == 0);
  graph_ = graph.identity();
  ++round_;
  return Status::ok();
}

std::vector<std::byte> Extra::save() const {
  StateWriter out(MethodKind::kExtra, 32 + last_.size());
  out.elements(options_.count, options_.type);
  out.number(round_);
  out.number(graph_);
  out.bytes(last_);
  return out.finish();
}

Status Extra::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kExtra, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->take(&round_);
  in->take(&graph_);
  in->take(last_);
  return in->finish();
}

}  // namespace gossamer
