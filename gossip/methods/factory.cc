// Methods by name. A new one is a line in kMethods, and, where it has parameters, a function that
// reads them.

#include <fmt/format.h>

#include <utility>

#include "gossamer/gossip_bias_corrected.h"
#include "gossamer/gossip_factory.h"
#include "gossamer/gossip_methods.h"
#include "gossip/parameters.h"

namespace gossamer {
namespace {

using Made = Result<std::unique_ptr<GossipMethod>>;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// What is asked for.
struct Wanted {
  std::string text;   // all of it
  std::string whose;  // "method choco", for people
  MethodOptions options;
  Parameters parameters;

  Result<int64_t> whole(const std::string& name, int64_t fallback, int64_t least) const {
    return whole_parameter(parameters, whose, name, fallback, least, INT64_MAX);
  }
  Result<double> real(const std::string& name, double fallback) const {
    return real_parameter(parameters, whose, name, fallback);
  }
  bool has(const std::string& name) const { return parameters.count(name) > 0; }
};

// Any of the classes as a GossipMethod: by what it can do.
template <class Method>
class Adapted final : public GossipMethod {
 public:
  Adapted(const Wanted& wanted, std::unique_ptr<Method> method)
      : GossipMethod(wanted.text), whose_(wanted.whose), method_(std::move(method)) {}

  Status begin([[maybe_unused]] Communicator& comm, [[maybe_unused]] void* x) override {
    if constexpr (requires(Method & m) { m.begin(comm, x); }) {
      return method_->begin(comm, x);
    } else {
      return Status::ok();
    }
  }

  Status step(Communicator& comm, const Graph* graph, void* x, const void* gradient,
              double rate) override {
    if (graph == nullptr) {
      if constexpr (requires(Method & m) { m.step(comm, x, gradient, rate); }) {
        return method_->step(comm, x, gradient, rate);
      } else {
        return invalid(fmt::format("{} needs a graph; make_graph() makes one", whose_));
      }
    }
    if constexpr (requires(Method & m) { m.step(comm, *graph, x, gradient, rate); }) {
      return method_->step(comm, *graph, x, gradient, rate);
    } else {
      return invalid(fmt::format("{} averages over all ranks and takes no graph", whose_));
    }
  }

  Status finish([[maybe_unused]] Communicator& comm, const Graph* graph,
                [[maybe_unused]] void* x) override {
    if constexpr (requires(Method & m) { m.finish(comm, *graph, x); }) {
      if (graph == nullptr) {
        return invalid(fmt::format("{} needs the graph of its steps to finish", whose_));
      }
      return method_->finish(comm, *graph, x);
    } else {
      return Status::ok();
    }
  }

  Status shrink([[maybe_unused]] std::span<const Rank> lost) override {
    if constexpr (requires(Method & m) { m.shrink(lost); }) {
      return method_->shrink(lost);
    } else {
      return Status::error(Code::kUnavailable,
                           fmt::format("{} does not go on when ranks are lost; make one anew for "
                                       "those that are left",
                                       whose_));
    }
  }

  Result<std::vector<std::byte>> save() const override { return method_->save(); }
  Status load(std::span<const std::byte> saved) override { return method_->load(saved); }

 private:
  const std::string whose_;
  const std::unique_ptr<Method> method_;
};

template <class Method>
Made adapt(const Wanted& wanted, Result<std::unique_ptr<Method>> method) {
  if (!method) {
    return Status::error(method.status().code(),
                         fmt::format("{}: {}", wanted.whose, method.status().message()));
  }
  return std::unique_ptr<GossipMethod>(
      std::make_unique<Adapted<Method>>(wanted, std::move(method).value()));
}

// A method whose only options are the count and the type.
template <class Method>
Made plain(const Wanted& wanted) {
  return adapt(wanted,
               Method::create({.count = wanted.options.count, .type = wanted.options.type}));
}

Made decentralized_sgd(const Wanted& wanted) {
  DecentralizedSgd::Options options{.count = wanted.options.count, .type = wanted.options.type};
  if (wanted.has("order")) {
    const std::string& order = wanted.parameters.at("order");
    if (order != "atc" && order != "awc") {
      return invalid(fmt::format("{}: order={} is neither atc nor awc", wanted.whose, order));
    }
    options.order = order == "atc" ? DecentralizedSgd::Order::kAdaptThenCombine
                                   : DecentralizedSgd::Order::kAdaptWhileCombine;
  }
  return adapt(wanted, DecentralizedSgd::create(options));
}

Made running_push_sum(const Wanted& wanted) {
  const MethodOptions& o = wanted.options;
  return adapt(wanted, RunningPushSum::create(
                           {.rank = o.rank, .size = o.size, .count = o.count, .type = o.type}));
}

Made local_sgd(const Wanted& wanted) {
  const Result<int64_t> interval = wanted.whole("interval", 1, 1);
  if (!interval) return interval.status();
  return adapt(wanted, LocalSgd::create({.count = wanted.options.count,
                                         .type = wanted.options.type,
                                         .interval = static_cast<uint64_t>(*interval)}));
}

Made diloco(const Wanted& wanted) {
  DiLoCo::Options options{.count = wanted.options.count, .type = wanted.options.type};
  const auto usual = static_cast<int64_t>(options.interval);
  const Result<int64_t> interval = wanted.whole("interval", usual, 1);
  const Result<double> rate = wanted.real("outer_rate", options.outer_rate);
  const Result<double> momentum = wanted.real("outer_momentum", options.outer_momentum);
  for (const Status& sound : {interval.status(), rate.status(), momentum.status()}) {
    if (!sound) return sound;
  }
  options.interval = static_cast<uint64_t>(*interval);
  options.outer_rate = *rate;
  options.outer_momentum = *momentum;
  return adapt(wanted, DiLoCo::create(options));
}

Made choco(const Wanted& wanted) {
  if (wanted.has("top_k") == wanted.has("int8")) {
    return invalid(wanted.whose +
                   " takes one compressor: choco:top_k=0.01,rate=0.02 or choco:int8=256,rate=1");
  }
  const Result<double> rate = wanted.real("rate", 0);
  const Result<double> fraction = wanted.real("top_k", 0);
  const Result<int64_t> block =
      whole_parameter(wanted.parameters, wanted.whose, "int8", 0, 0, UINT32_MAX);
  for (const Status& sound : {rate.status(), fraction.status(), block.status()}) {
    if (!sound) return sound;
  }
  Result<std::unique_ptr<Compressor>> compressor =
      wanted.has("top_k") ? make_top_k(*fraction) : make_int8(static_cast<uint32_t>(*block));
  if (!compressor) {
    return invalid(fmt::format("{}: {}", wanted.whose, compressor.status().message()));
  }
  return adapt(wanted, ChocoSgd::create({.count = wanted.options.count,
                                         .type = wanted.options.type,
                                         .consensus_rate = *rate},
                                        std::move(compressor).value()));
}

Made pairwise_sgd(const Wanted& wanted) {
  const MethodOptions& o = wanted.options;
  const Result<int64_t> seed = wanted.whole("seed", 1, 0);
  if (!seed) return seed.status();
  return adapt(wanted, PairwiseSgd::create({.rank = o.rank,
                                            .size = o.size,
                                            .count = o.count,
                                            .type = o.type,
                                            .seed = static_cast<uint64_t>(*seed)}));
}

struct MethodEntry {
  std::string_view name;
  const char* parameters;  // "interval=1: steps between averages; ..."; empty: none
  Made (*make)(const Wanted& wanted);
};

constexpr MethodEntry kMethods[] = {
    {"decentralized_sgd", "order=atc: or awc", decentralized_sgd},
    {"push_sum", "", plain<PushSum>},
    {"running_push_sum", "", running_push_sum},
    {"local_sgd", "interval=1: steps from one average to the next", local_sgd},
    {"diloco", "interval=500: steps; outer_rate=0.7: of the outer step; outer_momentum=0.9: too",
     diloco},
    {"choco", "top_k=FRACTION: or; int8=BLOCK: the compressor; rate=RATE: of consensus", choco},
    {"pairwise_sgd", "seed=1: of who is asked", pairwise_sgd},
    {"gradient_tracking", "", plain<GradientTracking>},
    {"exact_diffusion", "", plain<ExactDiffusion>},
    {"extra", "", plain<Extra>},
};

}  // namespace

Result<std::unique_ptr<GossipMethod>> make_method(const std::string& text,
                                                  const MethodOptions& options) {
  const auto [name, parameters] = split_name(text);
  std::string known;
  for (const MethodEntry& entry : kMethods) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", entry.name);
    if (entry.name != name) continue;
    Wanted wanted{text, fmt::format("method {}", name), options, {}};
    const Status read =
        read_parameters(parameters, wanted.whose, entry.parameters, &wanted.parameters);
    if (!read) return read;
    return entry.make(wanted);
  }
  return invalid(fmt::format("no method is called '{}'; there are {}", name, known));
}

}  // namespace gossamer
