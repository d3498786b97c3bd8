// What a hook keeps from one iteration to the next: staged, committed when it is known that every
// rank has ended the iteration, saved by key.

#include <fmt/format.h>

#include <algorithm>

#include "gossip/methods/saved_state.h"
#include "src/compress/hook/hook_impl.h"

namespace gossamer {

// What the last iteration staged stays staged until a vote of the next one has come through: then
// no rank can fall back behind it.
void GradientHook::Impl::commit_pending() {
  if (std::exchange(pending_, false)) policy_.commit();
}

void GradientHook::Impl::drop_pending() {
  pending_ = false;
  policy_.rollback();
}

Status GradientHook::Impl::check_between() const {
  if (!broken_ || now_.unready == slots_.size()) return Status::ok();
  return Status::error(Code::kInvalidArgument,
                       "an iteration is under way; wait() ends it, then call this again");
}

Result<std::span<const float>> GradientHook::Impl::residual(size_t parameter) {
  const Lock lock(mutex_);
  if (Status sound = check_between(); !sound) return sound;
  if (pending_) revertible_ = false;
  commit_pending();
  return policy_.residual(parameters_.key(parameter));
}

Result<GradientHook::OwnerResidual> GradientHook::Impl::owner_residual(size_t parameter) {
  const Result<std::span<const float>> sent = residual(parameter);
  if (!sent) return sent.status();
  if (!policy_.owned(policy_.groups()[parameter])) return OwnerResidual{};
  const StatePiece part = policy_.owned_part(parameter, comm_->rank());
  if (part.count == 0) return OwnerResidual{};
  return OwnerResidual{part.first, policy_.owner_residual(parameters_.key(parameter), part.first)};
}

Status GradientHook::Impl::hand_over(Rank from, Rank to) {
  {
    const Lock lock(mutex_);
    if (!broken_) return broken_;
    if (Status sound = check_between(); !sound) return sound;
    if (comm_->rank() == from || comm_->rank() == to) {
      if (pending_) revertible_ = false;
      commit_pending();
    }
  }
  // A hook that keeps nothing refuses the same ranks.
  if (from < 0 || from >= comm_->size() || to < 0 || to >= comm_->size() || from == to) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("rank {} cannot hand over to rank {} in a group of {}", from,
                                     to, comm_->size()));
  }
  Status done = policy_.hand_over(*comm_, from, to);
  if (done || comm_->status()) return done;
  const Lock lock(mutex_);
  broken_ = done;
  return done;
}

// Body: iteration, whether the order was learned, parameters, and for each, in the order of
// buckets, the key's length, the key, and the digest of key, shape and type; then
// the number of states, and each with its digest and length.
Result<std::vector<std::byte>> GradientHook::Impl::save() {
  const Lock lock(mutex_);
  if (Status sound = check_between(); !sound) return sound;
  if (pending_) revertible_ = false;
  commit_pending();
  std::vector<std::vector<std::byte>> states;
  for (size_t i = 0; i < policy_.states(); ++i) states.push_back(policy_.save(i));
  size_t body_bytes = 64 * (parameters_.size() + 1);
  for (const auto& state : states) body_bytes += state.size();
  StateWriter out(MethodKind::kGradientHook, body_bytes);
  out.number(iteration_);
  out.number(learned_ ? 1 : 0);
  out.number(parameters_.size());
  for (const uint32_t i : order_) {
    const std::string& key = parameters_.key(i);
    out.number(key.size());
    out.bytes(std::as_bytes(std::span(key)));
    out.number(parameters_.digest(i));
  }
  out.number(states.size());
  for (size_t i = 0; i < states.size(); ++i) {
    out.number(policy_.state_digest(i));
    out.number(states[i].size());
    out.bytes(states[i]);
  }
  return out.finish();
}

Status GradientHook::Impl::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kGradientHook, saved);
  if (!in) return in.status();
  const uint64_t iteration = in->number();
  const uint64_t learned = in->number();
  in->expect(parameters_.size(), "this many parameters:");
  std::vector<uint32_t> order;
  std::vector<bool> seen(parameters_.size(), false);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::span<const std::byte> key = in->bytes(in->number());
    const std::string_view text(reinterpret_cast<const char*>(key.data()), key.size());
    const uint64_t digest = in->number();
    const size_t found = parameters_.find_or_end(text);
    if (found == parameters_.size() || seen[found]) {
      in->refuse(
          fmt::format("the state is of a parameter '{}', which this hook does not have", text));
      break;
    }
    if (digest != parameters_.digest(found)) {
      in->refuse(fmt::format("the state of '{}' is of another shape or type than {}", text,
                             parameters_.describe(found)));
    }
    seen[found] = true;
    order.push_back(static_cast<uint32_t>(found));
  }
  in->expect(policy_.states(), "this many states of feedback and buckets:");
  std::vector<std::span<const std::byte>> states(policy_.states());
  for (size_t i = 0; i < states.size(); ++i) {
    if (in->number() != policy_.state_digest(i)) {
      in->refuse(fmt::format("state {} of the saved ones is not of {}, as this hook's is", i,
                             policy_.describe_state(i)));
    }
    states[i] = in->bytes(in->number());
  }
  if (Status sound = in->finish(); !sound) return sound;
  const Lock lock(mutex_);
  if (Status sound = check_between(); !sound) return sound;
  drop_pending();
  for (size_t i = 0; i < states.size(); ++i) {
    if (Status loaded = policy_.load(i, states[i]); !loaded) return loaded;
  }
  iteration_ = iteration;
  learned_ = learned != 0;
  revertible_ = false;
  if (order == order_) return Status::ok();
  order_ = std::move(order);
  Status built = build();
  if (!built) broken_ = built;
  begin_iteration();
  return built;
}

}  // namespace gossamer
