// Methods by name. A new one is a line in kMethods, and, where it has parameters, a function that
// reads them.

#include <fmt/format.h>

#include <utility>

#include "gossamer/gossip_bias_corrected.h"
#include "gossamer/gossip_factory.h"
#include "gossamer/gossip_groups.h"
#include "gossamer/gossip_methods.h"
#include "gossamer/gossip_overlap.h"
#include "src/parameters.h"

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
  GivenParameters parameters;

  Result<int64_t> whole(const std::string& name, int64_t fallback, int64_t least) const {
    return whole_parameter(parameters, whose, name, fallback, least, INT64_MAX);
  }
  Result<double> real(const std::string& name, double fallback) const {
    return real_parameter(parameters, whose, name, fallback);
  }
  bool has(const std::string& name) const { return parameters.count(name) > 0; }
  // Whether the parameter is `second`; without it, it is `first`.
  Result<bool> second(const std::string& name, std::string_view first,
                      std::string_view second) const {
    const auto at = parameters.find(name);
    if (at == parameters.end() || at->second == first) return false;
    if (at->second == second) return true;
    return invalid(
        fmt::format("{}: {}={} is neither {} nor {}", whose, name, at->second, first, second));
  }
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
    } else if constexpr (requires(Method & m) { m.finish(x); }) {
      return method_->finish(x);
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

// A method that adapts before or while it combines.
template <class Method>
Made in_order(const Wanted& wanted) {
  const Result<bool> awc = wanted.second("order", "atc", "awc");
  if (!awc) return awc.status();
  return adapt(wanted, Method::create({.count = wanted.options.count,
                                       .type = wanted.options.type,
                                       .order = *awc ? Method::Order::kAdaptWhileCombine
                                                     : Method::Order::kAdaptThenCombine}));
}

Made decentralized_sgd(const Wanted& wanted) {
  return in_order<DecentralizedSgd>(wanted);
}

Made gradient_tracking(const Wanted& wanted) {
  return in_order<GradientTracking>(wanted);
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
                   " takes one codec: choco:top_k=0.01,rate=0.02 or choco:int8=256,rate=1");
  }
  const Result<double> rate = wanted.real("rate", 0);
  const Result<double> fraction = wanted.real("top_k", 0);
  const Result<int64_t> block =
      whole_parameter(wanted.parameters, wanted.whose, "int8", 0, 0, UINT32_MAX);
  for (const Status& sound : {rate.status(), fraction.status(), block.status()}) {
    if (!sound) return sound;
  }
  Result<std::unique_ptr<Codec>> codec =
      make_codec(wanted.has("top_k") ? fmt::format("topk:ratio={}", *fraction)
                                     : fmt::format("int8:block={}", *block));
  if (!codec) return invalid(fmt::format("{}: {}", wanted.whose, codec.status().message()));
  return adapt(wanted, ChocoSgd::create({.count = wanted.options.count,
                                         .type = wanted.options.type,
                                         .consensus_rate = *rate},
                                        std::move(codec).value()));
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

Made overlap_push_sum(const Wanted& wanted) {
  const Result<int64_t> staleness = wanted.whole("staleness", 1, 0);
  if (!staleness) return staleness.status();
  return adapt(wanted, OverlapPushSum::create({.count = wanted.options.count,
                                               .type = wanted.options.type,
                                               .staleness = static_cast<uint64_t>(*staleness)}));
}

Made d2(const Wanted& wanted) {
  return adapt(wanted, ExactDiffusion::create({.count = wanted.options.count,
                                               .type = wanted.options.type,
                                               .form = ExactDiffusion::Form::kD2}));
}

Made quasi_global_momentum(const Wanted& wanted) {
  QuasiGlobalMomentum::Options options{.count = wanted.options.count, .type = wanted.options.type};
  const Result<double> momentum = wanted.real("momentum", options.momentum);
  const Result<double> decay = wanted.real("decay", options.decay);
  if (!momentum) return momentum.status();
  if (!decay) return decay.status();
  options.momentum = *momentum;
  options.decay = *decay;
  return adapt(wanted, QuasiGlobalMomentum::create(options));
}

Made moshpit_average(const Wanted& wanted) {
  MoshpitAverage::Options options{.count = wanted.options.count, .type = wanted.options.type};
  const Result<int64_t> group =
      whole_parameter(wanted.parameters, wanted.whose, "group", options.group, 2, INT32_MAX);
  const Result<bool> random = wanted.second("grouping", "grid", "random");
  const Result<int64_t> seed = wanted.whole("seed", 1, 0);
  for (const Status& sound : {group.status(), random.status(), seed.status()}) {
    if (!sound) return sound;
  }
  options.group = static_cast<Rank>(*group);
  options.grouping = *random ? MoshpitAverage::Grouping::kRandom : MoshpitAverage::Grouping::kGrid;
  options.seed = static_cast<uint64_t>(*seed);
  return adapt(wanted, MoshpitAverage::create(options));
}

Made epidemic_push(const Wanted& wanted) {
  EpidemicPush::Options options{.count = wanted.options.count, .type = wanted.options.type};
  const Result<int64_t> peers =
      whole_parameter(wanted.parameters, wanted.whose, "peers", options.peers, 1, INT32_MAX);
  const Result<bool> oracle = wanted.second("form", "local", "oracle");
  const Result<int64_t> seed = wanted.whole("seed", 1, 0);
  for (const Status& sound : {peers.status(), oracle.status(), seed.status()}) {
    if (!sound) return sound;
  }
  options.peers = static_cast<Rank>(*peers);
  options.form = *oracle ? EpidemicPush::Form::kOracle : EpidemicPush::Form::kLocal;
  options.seed = static_cast<uint64_t>(*seed);
  return adapt(wanted, EpidemicPush::create(options));
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
    {"choco", "top_k=FRACTION: or; int8=BLOCK: the codec; rate=RATE: of consensus", choco},
    {"pairwise_sgd", "seed=1: of who is asked", pairwise_sgd},
    {"overlap_push_sum", "staleness=1: steps that a message may be late", overlap_push_sum},
    {"gradient_tracking", "order=atc: or awc", gradient_tracking},
    {"exact_diffusion", "", plain<ExactDiffusion>},
    {"d2", "", d2},
    {"extra", "", plain<Extra>},
    {"quasi_global_momentum", "momentum=0.9: of steps; decay=0.9: of the common way",
     quasi_global_momentum},
    {"relay_sum", "", plain<RelaySum>},
    {"moshpit_average", "group=8: ranks; grouping=grid: or random; seed=1: of random groups",
     moshpit_average},
    {"epidemic_push", "peers=1: pushed to in a step; form=local: or oracle; seed=1: the draws'",
     epidemic_push},
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
