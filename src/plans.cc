// Plans: chosen by price, lowered once, cached by shape.

#include <fmt/format.h>

#include <algorithm>

#include "gossamer/mixing.h"
#include "src/call_buffers.h"
#include "src/codec_names.h"
#include "src/communicator_impl.h"
#include "src/fingerprint.h"
#include "src/plan.h"
#include "src/verify.h"

namespace gossamer {
namespace {

constexpr size_t kPlansMax = 256;  // more shapes than a training step has buckets

}  // namespace

Result<std::shared_ptr<Plan>> Communicator::Impl::plan_for(const PlanKey& key) {
  if (const auto it = plan_index_.find(key); it != plan_index_.end()) {
    plans_.splice(plans_.begin(), plans_, it->second);
    return plans_.front();
  }
  Result<std::shared_ptr<Plan>> built = build(key);
  if (!built) return built.status();
  if (plans_.size() >= kPlansMax) {
    plan_index_.erase(plans_.back()->key);
    last_plan_ = nullptr;
    plans_.pop_back();
  }
  plans_.push_front(std::move(built).value());
  plan_index_[key] = plans_.begin();
  const std::shared_ptr<Plan>& plan = plans_.front();
  built_.fetch_add(1, std::memory_order_relaxed);
  return plan;
}

Result<std::shared_ptr<Plan>> Communicator::Impl::build(const PlanKey& key) const {
  Call call = key.call;
  call.eager_bytes = eager_bytes_;
  // What is proved is what runs: weights as they are computed with.
  const Mixing rounded = call.mixing != nullptr ? call.mixing->in_float() : Mixing(0);
  if (call.mixing != nullptr && call.type != DataType::kFloat64) call.mixing = &rounded;
  // A graph and shares are in rank order, so the positions of a collective of shares are the ranks
  // themselves; where ranks of a host do not adjoin, only algorithms that do not ask for hosts fit.
  const bool in_shares = is_in_shares(call.collective) || has_graph(call.collective);
  const bool reordered = renumbered_ && !in_shares;
  const std::span<const Rank> hosts =
      renumbered_ && in_shares ? std::span<const Rank>() : std::span<const Rank>(machine_.host_of);
  if (reordered && has_root(call.collective)) {
    const auto at = std::find(order_.begin(), order_.end(), key.call.root);
    call.root = static_cast<Rank>(at - order_.begin());
  }
  Shape flat;
  flat.size = size;
  flat.root = call.root;
  flat.count = call.count;
  flat.mixing = call.mixing;
  flat.codec = call.codec;
  if (call.codec != nullptr) remember_codec(call.codec_identity, call.codec->name());
  const std::vector<Candidate> all = candidates(call, machine_, algorithm_);
  const auto chosen = std::find_if(all.begin(), all.end(), [&](const Candidate& c) {
    return c.why_not.empty() && (!hosts.empty() || c.algorithm->accepts(flat));
  });
  if (chosen == all.end()) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("no algorithm can run {} on {} ranks{}", describe(call, sequence_), size,
                    all.empty() ? "" : ": " + all.front().why_not));
  }
  const Candidate& best = *chosen;
  if (verify_) {
    const Status proved = verify_live(call, *best.algorithm, best.pieces, hosts);
    if (!proved) return proved;
  }
  const Rank position = reordered ? position_ : rank;
  const Schedule schedule =
      build_schedule(*best.algorithm, call, position, size, hosts, best.pieces, lanes_);
  auto plan = std::make_shared<Plan>();
  plan->key = key;
  plan->key.call.codec = nullptr;  // it may go before the plan does
  plan->key.compression = {};
  plan->program = lower(schedule, call, size,
                        reordered ? std::span<const Rank>(order_) : std::span<const Rank>());
  plan->choice = {best.algorithm->name, transport_name_, best.pieces, best.predicted_us};
  plan->fingerprint =
      make_fingerprint(call, hash_plan(best.algorithm->name, best.pieces, key.call), 0);
  const CallBuffers buffers = buffers_of(key.call, rank, size);
  plan->output_offset_bytes = buffers.output_first * size_of(call.type);
  if (call.codec != nullptr && has_graph(call.collective) && plan->program.residual_count == 0) {
    plan->carried_count = call.count;
  }
  if (call.op == ReduceOp::kPreMulSum) plan->scaled_count = buffers.input_count;
  log_line(LogLevel::kInfo, identity_,
           fmt::format("{}: {} x{} over {}, predicted {:.1f} us", describe(call, sequence_ + 1),
                       best.algorithm->name, best.pieces, transport_name_, best.predicted_us));
  return plan;
}

Status Communicator::Impl::verify_live(const Call& call, const Algorithm& algorithm,
                                       uint32_t pieces, std::span<const Rank> hosts) const {
  const Verdict verdict = verify(algorithm, call, size, hosts, pieces, lanes_);
  if (verdict.proved()) return Status::ok();
  return Status::error(
      Code::kSystem,
      fmt::format("GOSSAMER_VERIFY: {} with {} pieces does not prove for {}: {}", algorithm.name,
                  pieces, describe(call, sequence_ + 1), verdict.reason));
}

Result<Communicator::Choice> Communicator::Impl::explain(const PlanKey& key) {
  take_driver();
  Result<std::shared_ptr<Plan>> plan = plan_for(key);
  Result<Choice> choice = plan ? Result<Choice>((*plan)->choice) : Result<Choice>(plan.status());
  last_plan_ = nullptr;
  release_driver();
  return choice;
}

}  // namespace gossamer
