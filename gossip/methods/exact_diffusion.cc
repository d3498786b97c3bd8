// Exact diffusion and D2: adapt, correct by the last adaptation, combine.

#include "gossamer/gossip_bias_corrected.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

// x = p + x - the last p, with p = x - rate * gradient, which becomes the last; x = p in the first.
template <class T>
void adapt_and_correct(void* x, const void* gradient, void* adapted, uint64_t count, double rate,
                       bool first) {
  T* const value = static_cast<T*>(x);
  const T* const g = static_cast<const T*>(gradient);
  T* const last = static_cast<T*>(adapted);
  const T scale = static_cast<T>(rate);
  for (uint64_t i = 0; i < count; ++i) {
    const T p = value[i] - scale * g[i];
    value[i] = first ? p : p + (value[i] - last[i]);
    last[i] = p;
  }
}

}  // namespace

Result<std::unique_ptr<ExactDiffusion>> ExactDiffusion::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.form != Form::kExactDiffusion && options.form != Form::kD2) {
    return Status::error(Code::kInvalidArgument, "the form is neither kExactDiffusion nor kD2");
  }
  return std::unique_ptr<ExactDiffusion>(new ExactDiffusion(options));
}

ExactDiffusion::ExactDiffusion(const Options& options)
    : options_(options), adapted_(options.count * size_of(options.type)) {
  if (options.form == Form::kExactDiffusion) mixed_.resize(adapted_.size());
}

void ExactDiffusion::reset() {
  round_ = 0;
  graph_ = 0;
}

Status ExactDiffusion::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                            double rate) {
  constexpr double kAny = -2;  // no eigenvalue is below -1
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  const bool raw = options_.form == Form::kD2;
  const double above = options_.any_spectrum ? kAny : raw ? -1.0 / 3 : -1;
  if (Status sound = check_gradient_step(x, gradient, rate, adapted_.size()); !sound) return sound;
  Status done = admit_static(&admitted_, comm, graph, graph_, above,
                             raw ? "exact diffusion, or more weight on the own values, helps"
                                 : "give each rank some weight on its own values");
  if (!done) return done;
  const auto adapt =
      type == DataType::kFloat64 ? adapt_and_correct<double> : adapt_and_correct<float>;
  adapt(x, gradient, adapted_.data(), count, rate, round_ == 0);
  std::byte* const mixed = raw ? static_cast<std::byte*>(x) : mixed_.data();
  done = start_neighbor_average(comm, x, mixed, count, type, graph, round_).wait();
  if (!done) return done;
  if (!raw) {
    auto* const value = static_cast<std::byte*>(x);
    mix_kernel(type)(value, value, mixed, count, 0.5, 0.5);
  }
  graph_ = graph.identity();
  ++round_;
  return Status::ok();
}

std::vector<std::byte> ExactDiffusion::save() const {
  StateWriter out(MethodKind::kExactDiffusion, 40 + adapted_.size());
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.form));
  out.number(round_);
  out.number(graph_);
  out.bytes(adapted_);
  return out.finish();
}

Status ExactDiffusion::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kExactDiffusion, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.form), "form");
  in->take(&round_);
  in->take(&graph_);
  in->take(adapted_);
  return in->finish();
}

}  // namespace gossamer
