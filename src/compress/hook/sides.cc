// Feedback on one side or two: whether codes of a group are gathered by all ranks, or summed by the
// owners of parts, which keep what they lose as well; and who owns what.

#include <algorithm>

#include "gossamer/communicator.h"
#include "src/compress/hook/policy.h"
#include "src/price_codec.h"

namespace gossamer {

bool Policy::can_be_owned(uint32_t group) const {
  if (group == 0 || rules_[group - 1].state == SIZE_MAX) return false;
  return states_[rules_[group - 1].state].owner != nullptr;
}

Feedback* Policy::owner_feedback(uint32_t group) const {
  return owned(group) ? states_[rules_[group - 1].state].owner.get() : nullptr;
}

// Lines shared out evenly. Whose part is longer by one, where they are not equal, goes round from
// parameter to parameter, so that many small ones are spread.
StatePiece Policy::owned_part(size_t parameter, Rank rank) const {
  const uint64_t line = rules_[groups_[parameter] - 1].line;
  const uint64_t count = counts_[parameter];
  const auto size = static_cast<uint64_t>(size_);
  const uint64_t lines = (count + line - 1) / line;
  const uint64_t index = (static_cast<uint64_t>(rank) + places_[parameter]) % size;
  const uint64_t first = std::min(lines * index / size * line, count);
  const uint64_t end = std::min(lines * (index + 1) / size * line, count);
  return {0, first, end - first};
}

// Of a bucket of so many elements: links as the planner prices them, codecs by their table.
Result<bool> Policy::owning_is_faster(Communicator& comm, uint32_t group, uint64_t count) const {
  const auto ranks = static_cast<uint64_t>(comm.size());
  const Codec& codec = *rules_[group - 1].stages.front().codec;
  const uint64_t bytes = codec.bytes_max(count);
  const uint64_t part_bytes = (bytes + ranks - 1) / ranks;
  const auto price = [&](Collective collective, uint64_t of, bool in_place) {
    return comm.explain(collective, of, DataType::kUint8, ReduceOp::kSum, in_place);
  };
  const auto gathered = price(Collective::kAllGather, bytes, true);
  if (!gathered) return gathered.status();
  const auto scattered = price(Collective::kAllToAll, part_bytes, false);
  if (!scattered) return scattered.status();
  const auto handed_out = price(Collective::kAllGather, part_bytes, true);
  if (!handed_out) return handed_out.status();
  // Encodings, each with a decoding for its residual, and decodings, of all elements.
  const CodingCost cost = coding_cost(codec);
  const auto n = static_cast<double>(ranks);
  const double kept_us = cost.encode_us + cost.decode_us;
  const double gathered_us =
      gathered->predicted_us + static_cast<double>(count) * (kept_us + n * cost.decode_us);
  const double owned_us = scattered->predicted_us + handed_out->predicted_us +
                          static_cast<double>(count) * ((1 + 1 / n) * kept_us + 2 * cost.decode_us);
  return owned_us < gathered_us;
}

// What was kept of parts whose owners are others now goes to these; where there are none any more,
// to what its last owner sends, which enters the same sum.
Status Policy::arrange_owners(Communicator& comm, uint32_t group, const ParameterList& parameters) {
  std::vector<StateBucket> parts;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (groups_[i] != group) continue;
    StateBucket& part = parts.emplace_back();
    if (!owned(group)) continue;
    part.push_back(owned_part(i, comm.rank()));
    part[0].key = parameter_key(parameters.key(i));
  }
  State& state = states_[rules_[group - 1].state];
  Status done = state.owner->arrange(parts);
  if (done) done = state.store->hand_out(comm);
  if (done) done = state.store->reassign_parked(Role::kOwner, Role::kSender);
  return done;
}

Status Policy::choose_sides(Communicator& comm, const ParameterList& parameters,
                            const Choice& choice) {
  size_ = comm.size();
  before_.clear();
  for (size_t i = 0; i < states_.size() && !choice.first; ++i) {
    before_.push_back(states_[i].owner != nullptr ? states_[i].store->save()
                                                  : std::vector<std::byte>());
  }
  for (uint32_t group = 1; group <= rules_.size(); ++group) {
    if (!can_be_owned(group)) continue;
    uint64_t count = 0;
    for (size_t i = 0; i < counts_.size(); ++i) count += groups_[i] == group ? counts_[i] : 0;
    Rule& rule = rules_[group - 1];
    rule.owned = choice.sums_everywhere && comm.size() > 1 && count > 0;
    if (rule.owned && feedback(group)->sides() == Feedback::Sides::kAuto) {
      const uint64_t in_bucket = std::min(count, choice.bucket_bytes_max / sizeof(float) + 1);
      const Result<bool> faster = owning_is_faster(comm, group, in_bucket);
      if (!faster) return faster.status();
      rule.owned = *faster;
    }
    if (Status done = arrange_owners(comm, group, parameters); !done) return done;
  }
  return Status::ok();
}

Status Policy::take_back() {
  Status done;
  for (size_t i = 0; i < before_.size() && done; ++i) {
    if (!before_[i].empty()) done = states_[i].store->load(before_[i]);
  }
  before_.clear();
  return done;
}

std::span<const float> Policy::owner_residual(const std::string& key, uint64_t first) const {
  for (const State& state : states_) {
    const std::span<const float> found = state.store->of(Role::kOwner, parameter_key(key), first);
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace gossamer
