#include "src/compress/hook/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "src/parameters.h"

namespace gossamer {
namespace {

constexpr uint64_t kBlockKept = 512;  // elements

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

// Each * takes as little as it can, and more when what follows does not fit.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  size_t star = std::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

Result<Policy> Policy::make(std::span<const GradientHook::Rule> rules, uint64_t seed,
                            const ParameterList& parameters) {
  Policy made;
  made.groups_.assign(parameters.size(), 0);
  made.places_.assign(parameters.size(), 0);
  for (size_t i = 0; i < parameters.size(); ++i) made.counts_.push_back(parameters.count(i));
  for (const GradientHook::Rule& rule : rules) {
    if (Status added = made.add(rule, seed, parameters); !added) {
      return invalid(fmt::format("the rule for '{}': {}", rule.keys, added.message()));
    }
  }
  made.stable_ = std::make_unique<bool[]>(rules.size() + 1);
  for (size_t i = 0; i < rules.size(); ++i) made.stable_[i + 1] = made.rules_[i].is_power;
  Digest digest;
  for (const GradientHook::Rule& rule : rules) {
    digest.add(rule.codec);
    digest.add(rule.feedback);
    digest.add(rule.from_iteration);
    digest.add(rule.own != nullptr ? 1 : 0);
    if (rule.own != nullptr) digest.add(rule.own->name());
    for (const GradientHook::Stage& stage : rule.warm_up) {
      digest.add(stage.from_iteration);
      digest.add(stage.codec);
    }
  }
  for (const uint32_t group : made.groups_) digest.add(group);
  made.digest_ = digest.value();
  return made;
}

Status Policy::add_stage(Rule* rule, uint64_t from, const std::string& text) {
  if (!rule->stages.empty() && from <= rule->stages.back().from_iteration) {
    return invalid(
        fmt::format("a stage from iteration {} follows one from {}; stages ascend, and "
                    "the rule's own from_iteration comes after them",
                    from, rule->stages.back().from_iteration));
  }
  Result<std::unique_ptr<Codec>> codec = make_codec(text);
  if (!codec) return codec.status();
  const CodecTraits traits = (*codec)->traits();
  // A rank that skips a parameter has no vote, and in a collective it would bring zeros.
  const bool in_collective =
      traits.fixed_size && !traits.sparse && !traits.needs_feedback && !traits.votes;
  rule->stages.push_back({from, codec->get(), in_collective});
  codecs_.push_back(std::move(codec).value());
  return Status::ok();
}

Status Policy::add_power(Rule* into, const GradientHook::Rule& rule, uint64_t seed) const {
  if (!rule.feedback.empty()) {
    return invalid("powersgd keeps a residual of its own and takes no feedback besides");
  }
  if (!rule.warm_up.empty()) return invalid("powersgd takes no warm-up; give from_iteration");
  Result<PowerSgd::Options> options = PowerSgd::options(rule.codec);
  if (!options) return options.status();
  into->is_power = true;
  into->power = *options;
  into->power.seed += seed;
  into->power_from = rule.from_iteration;
  return Status::ok();
}

Status Policy::add_feedback(Rule* into, const GradientHook::Rule& rule,
                            std::span<const StateBucket> buckets) {
  State state;
  state.kind = split_name(rule.feedback).name;
  state.store = std::make_unique<StateStore>();
  if (Choco::is_named(rule.feedback)) {
    Result<std::unique_ptr<Choco>> choco =
        Choco::make(rule.feedback, *state.store, {buckets.begin(), buckets.end()});
    if (!choco) return choco.status();
    state.choco = std::move(choco).value();
    into->state = states_.size();
    states_.push_back(std::move(state));
    return Status::ok();
  }
  Result<std::unique_ptr<Feedback>> feedback = make_feedback(rule.feedback, *state.store);
  if (!feedback) return feedback.status();
  state.feedback = std::move(feedback).value();
  state.divides_by_all = state.feedback->name().starts_with("ef21");
  if (Status arranged = state.feedback->arrange(buckets); !arranged) return arranged;
  bool dense = true;
  for (const Stage& stage : into->stages) {
    const CodecTraits traits = stage.codec->traits();
    dense &= traits.fixed_size && !traits.sparse && !traits.votes;  // which all ranks count
    // A part may end within a long block: it has a scale more then.
    const uint64_t block = stage.codec->block();
    if (block <= kBlockKept) into->line = std::lcm(into->line, block);
  }
  const Feedback::Sides sides = state.feedback->sides();
  if (sides == Feedback::Sides::kBoth && !dense) {
    return invalid(
        "feedback on two sides is for dense codes of one length, whose sums are as long; those of "
        "this codec are gathered: leave sides out");
  }
  if (sides != Feedback::Sides::kSenders && dense) {
    Result<std::unique_ptr<Feedback>> owner =
        make_feedback(rule.feedback, *state.store, Role::kOwner);
    if (!owner) return owner.status();
    state.owner = std::move(owner).value();
  }
  into->state = states_.size();
  states_.push_back(std::move(state));
  return Status::ok();
}

// Messages of codes that differ in length, and choco's, tell these in 4 bytes.
Status Policy::check_lengths(const Rule& made, const GradientHook::Rule& rule,
                             const ParameterList& parameters, size_t parameter) {
  const uint64_t count = parameters.count(parameter);
  for (const Stage& stage : made.stages) {
    const Codec& codec = *stage.codec;
    if (count > codec.count_max()) {
      return invalid(fmt::format("{} encodes up to {} elements, and {} has more; split it",
                                 codec.name(), codec.count_max(), parameters.describe(parameter)));
    }
    const bool told = !codec.traits().fixed_size || Choco::is_named(rule.feedback);
    if (!told || codec.bytes_max(count) < UINT32_MAX) continue;
    return invalid(
        fmt::format("codes of {} may have up to {} bytes with this codec, and 4 GiB are "
                    "the limit; split the parameter",
                    parameters.describe(parameter), codec.bytes_max(count)));
  }
  return Status::ok();
}

Status Policy::add(const GradientHook::Rule& rule, uint64_t seed, const ParameterList& parameters) {
  Rule made;
  const bool power = rule.codec == "powersgd" || rule.codec.starts_with("powersgd:");
  if (power) {
    if (Status added = add_power(&made, rule, seed); !added) return added;
  }
  for (const GradientHook::Stage& stage : rule.warm_up) {
    if (Status added = add_stage(&made, stage.from_iteration, stage.codec); !added) return added;
  }
  if (rule.own == nullptr && !power) {
    if (Status added = add_stage(&made, rule.from_iteration, rule.codec); !added) return added;
  } else if (rule.own != nullptr && !rule.codec.empty()) {
    return invalid("both a codec by name and one of the caller's; give one");
  } else if (rule.own != nullptr) {
    made.stages.push_back({rule.from_iteration, rule.own, false});
  }
  for (Stage& stage : made.stages) stage.in_collective &= rule.feedback.empty();
  std::reverse(made.stages.begin(), made.stages.end());
  std::vector<StateBucket> buckets;
  const auto group = static_cast<uint32_t>(rules_.size() + 1);
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (groups_[i] != 0 || parameters.count(i) < rule.count_min ||
        parameters.shape(i).size() < rule.dimensions_min ||
        !matches(rule.keys, parameters.key(i))) {
      continue;
    }
    if (Status fits = check_lengths(made, rule, parameters, i); !fits) return fits;
    groups_[i] = group;
    places_[i] = buckets.size();
    buckets.push_back({{parameter_key(parameters.key(i)), 0, parameters.count(i)}});
  }
  if (!rule.feedback.empty()) {
    if (Status added = add_feedback(&made, rule, buckets); !added) return added;
  }
  rules_.push_back(std::move(made));
  return Status::ok();
}

std::span<const Policy::Stage> Policy::stages(uint32_t group) const {
  if (group == 0) return {};
  return rules_[group - 1].stages;
}

const Policy::Stage* Policy::stage(uint32_t group, uint64_t iteration) const {
  for (const Stage& one : stages(group)) {
    if (one.from_iteration <= iteration) return &one;
  }
  return nullptr;
}

const Codec* Policy::codec(uint32_t group, uint64_t iteration) const {
  const Stage* const now = stage(group, iteration);
  return now != nullptr ? now->codec : nullptr;
}

uint64_t Policy::code_bytes_max(uint32_t group, uint64_t count) const {
  uint64_t most = 0;
  for (const Stage& one : stages(group)) most = std::max(most, one.codec->bytes_max(count));
  return most;
}

uint64_t Policy::workspace_bytes(uint32_t group, uint64_t count) const {
  uint64_t most = 0;
  for (const Stage& one : stages(group)) most = std::max(most, one.codec->workspace_bytes(count));
  return most;
}

Feedback* Policy::feedback(uint32_t group) const {
  if (group == 0 || rules_[group - 1].state == SIZE_MAX) return nullptr;
  return states_[rules_[group - 1].state].feedback.get();
}

bool Policy::divides_by_all(uint32_t group) const {
  if (group == 0 || rules_[group - 1].state == SIZE_MAX) return false;
  return states_[rules_[group - 1].state].divides_by_all;
}

bool Policy::in_collective(uint32_t group, uint64_t iteration) const {
  const Stage* const now = stage(group, iteration);
  return now != nullptr && now->in_collective;
}

bool Policy::always_in_collective(uint32_t group) const {
  if (group == 0) return true;
  const Rule& rule = rules_[group - 1];
  return !rule.is_power && std::all_of(rule.stages.begin(), rule.stages.end(),
                                       [](const Stage& stage) { return stage.in_collective; });
}

bool Policy::counts_votes(uint32_t group) const {
  if (group == 0) return false;
  const Rule& rule = rules_[group - 1];
  return std::any_of(rule.stages.begin(), rule.stages.end(),
                     [](const Stage& stage) { return stage.codec->traits().votes; });
}

bool Policy::low_rank(uint32_t group, uint64_t iteration) const {
  return group != 0 && rules_[group - 1].is_power && rules_[group - 1].power_from <= iteration;
}

Result<PowerSgd*> Policy::power(const Bucket& bucket, const ParameterList& parameters) {
  const uint32_t first = bucket.parts[0].parameter;
  for (const Power& one : powers_) {
    if (one.first_parameter == first) return one.power.get();
  }
  Digest digest;
  std::vector<MatrixShape> shapes;
  for (const Bucket::Part& part : bucket.parts) {
    const std::vector<uint64_t>& shape = parameters.shape(part.parameter);
    const uint64_t rows = shape.empty() ? 1 : shape[0];
    shapes.push_back({parameter_key(parameters.key(part.parameter)), rows, part.count / rows});
    digest.add(parameters.digest(part.parameter));
  }
  Result<std::unique_ptr<PowerSgd>> made = PowerSgd::create(rules_[bucket.group - 1].power, shapes);
  if (!made) return made.status();
  powers_.push_back({first, digest.value(), std::move(made).value()});
  return powers_.back().power.get();
}

bool Policy::has_state() const {
  return states() > 0;
}

StateStore& Policy::store(size_t state) const {
  if (state < states_.size()) return *states_[state].store;
  return powers_[state - states_.size()].power->store();
}

uint64_t Policy::state_digest(size_t state) const {
  if (state >= states_.size()) return powers_[state - states_.size()].digest;
  Digest digest;
  digest.add(states_[state].kind);
  if (const Choco* const choco = states_[state].choco.get()) digest.add(choco->graph());
  return digest.value();
}

std::string Policy::describe_state(size_t state) const {
  if (state >= states_.size()) return "powersgd, of the buckets that this hook makes";
  const bool has_graph = states_[state].choco != nullptr;
  return fmt::format("feedback '{}'{}", states_[state].kind, has_graph ? ", on its graph" : "");
}

// Owners' residuals in a hook that has no owners are what this rank sends.
Status Policy::load(size_t state, std::span<const std::byte> saved) {
  Status done = store(state).load(saved);
  for (const Rule& rule : rules_) {
    if (done && rule.state == state && !rule.owned) {
      done = store(state).reassign_parked(Role::kOwner, Role::kSender);
    }
  }
  return done;
}

Status Policy::hand_over(Communicator& comm, Rank from, Rank to) {
  Status done;
  for (size_t i = 0; i < states() && done; ++i) done = store(i).hand_over(comm, from, to);
  return done;
}

void Policy::commit() {
  for (size_t i = 0; i < states(); ++i) store(i).commit();
}

void Policy::rollback() {
  for (size_t i = 0; i < states(); ++i) store(i).rollback();
}

std::span<const float> Policy::residual(const std::string& key) const {
  for (size_t i = 0; i < states(); ++i) {
    const std::span<const float> found = store(i).of(Role::kSender, parameter_key(key));
    if (!found.empty()) return found;
  }
  return {};
}

Status Policy::regroup(Communicator& comm) {
  for (State& state : states_) {
    if (state.feedback == nullptr) continue;
    if (Status done = state.feedback->regroup(comm); !done) return done;
  }
  return Status::ok();
}

Choco* Policy::choco(uint32_t group) const {
  if (group == 0 || rules_[group - 1].state == SIZE_MAX) return nullptr;
  return states_[rules_[group - 1].state].choco.get();
}

bool Policy::has_choco() const {
  return std::any_of(states_.begin(), states_.end(),
                     [](const State& state) { return state.choco != nullptr; });
}

Status Policy::meet_neighbors(Communicator& comm, const Graph& graph) {
  for (State& state : states_) {
    if (state.choco == nullptr) continue;
    if (Status done = state.choco->meet(comm, graph); !done) return done;
  }
  return Status::ok();
}

}  // namespace gossamer
