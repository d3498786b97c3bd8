// An iteration from the first gradient to the last: who carries it on, and in which steps.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {

// --- who conducts --------------------------------------------------------------------------------

// Whether there is something to do that needs no other gradient of this rank. mutex_ is held.
bool GradientHook::Impl::can_step() const {
  if (now_.over) return false;
  if (!now_.own_failure && options_.exchange != Exchange::kGossip) return true;
  return now_.next == carriers_.size() || carriers_[now_.next].missing == 0;
}

void GradientHook::Impl::conduct(Lock* lock) {
  conducting_ = true;
  while (can_step() && !leaving_) {
    lock->unlock();
    step();
    lock->lock();
  }
  conducting_ = false;
  changed_.notify_all();
}

void GradientHook::Impl::serve() {
  Lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return leaving_ || (!conducting_ && can_step()); });
    if (leaving_) return;
    conduct(&lock);
  }
}

// Conducts, or waits for who does, until `done`; gives up when parameters stay away for too long.
template <class Done>
void GradientHook::Impl::await(Lock* lock, const Done& done) {
  const auto give_up_at = std::chrono::steady_clock::now() + options_.ready_timeout;
  while (!done()) {
    if (!conducting_ && can_step()) {
      conduct(lock);
    } else if (now_.unready == 0 || !now_.own_failure) {
      changed_.wait(*lock);
    } else if (changed_.wait_until(*lock, give_up_at) == std::cv_status::timeout && !done() &&
               now_.unready > 0 && !now_.over) {
      give_up();
    }
  }
}

// With neighbors alone there is nobody to tell: the rest is taken as skipped.
void GradientHook::Impl::give_up() {
  const auto missing = [this](size_t i) { return slots_[i].stage == Stage::kMissing; };
  if (options_.exchange != Exchange::kGossip) {
    now_.own_failure = Status::error(
        Code::kTimeout,
        fmt::format("iteration {} of the gradient hook: {} not made ready within {} ms, nor "
                    "skipped; every iteration has ready() or skip() of every parameter",
                    iteration_, list_of(parameters_, missing), options_.ready_timeout.count()),
        comm_->rank());
    return;
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (!missing(i)) continue;
    std::memset(slots_[i].memory, 0, parameters_.bytes(i));
    slots_[i].stage = Stage::kReady;
    slots_[i].contributes = false;
    slots_[i].target = nullptr;
    --carriers_[slots_[i].carrier].missing;
    --now_.unready;
    ++now_.step.late;
  }
}

// --- what is done --------------------------------------------------------------------------------

// Ranks that need more than equal sums to go on alike end an iteration with a vote.
bool GradientHook::Impl::needs_last_vote() const {
  return options_.exchange == Exchange::kReduceScatter || calls_back_ || policy_.compresses();
}

void GradientHook::Impl::step() {
  Status status = options_.exchange == Exchange::kGossip ? step_with_neighbors() : step_by_vote();
  if (!status) finish(std::move(status));
}

Status GradientHook::Impl::vote(bool last) {
  {
    const Lock lock(mutex_);
    votes_.clear(iteration_, layout_);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].stage == Stage::kReady) votes_.set_ready(i, slots_[i].contributes);
    }
    if (now_.not_finite != SIZE_MAX) {
      votes_.set_not_finite(now_.not_finite);
    } else if (last && now_.spoiled != SIZE_MAX) {
      votes_.set_not_finite(now_.spoiled);
    }
    if (!now_.own_failure) votes_.set_failure(now_.own_failure.code());
  }
  Status done = vote_.start();
  if (done) done = vote_.wait();
  if (done) done = votes_.check();
  return done;
}

// Everybody tells what it has, then travels what all have.
Status GradientHook::Impl::step_by_vote() {
  const bool last = now_.next == carriers_.size();
  if (Status done = vote(last); !done) return done;
  commit_pending();
  policy_.confirm();
  if (votes_.first_failed() >= 0) {
    const Lock lock(mutex_);
    return now_.own_failure ? votes_.describe_failure(parameters_) : now_.own_failure;
  }
  size_t parameter = 0;
  const Rank not_finite = votes_.first_not_finite(&parameter);
  if (not_finite >= 0) note_not_finite(last ? -1 : not_finite, parameter);
  if (!last) {
    launches_.clear();
    choose_launches(votes_, buckets_, launched_, &launches_);
    if (Status done = exchange_launches(); !done) return done;
  }
  if (now_.next == carriers_.size() && (last || !needs_last_vote())) finish(Status::ok());
  return Status::ok();
}

Status GradientHook::Impl::step_with_neighbors() {
  const uint32_t bucket = now_.next;
  if (bucket < carriers_.size()) {
    if (Status done = exchange_with_neighbors(bucket); !done) return done;
    note_launched(bucket);
  }
  if (now_.next < carriers_.size()) return Status::ok();
  size_t not_finite = SIZE_MAX;
  Status own;
  {
    const Lock lock(mutex_);
    not_finite = std::min(now_.not_finite, now_.spoiled);
    own = now_.own_failure;  // a callback's
  }
  if (not_finite != SIZE_MAX) note_not_finite(comm_->rank(), not_finite);
  finish(std::move(own));
  return Status::ok();
}

// The first one counts: what is found in an average comes of it, or is found later.
void GradientHook::Impl::note_not_finite(Rank rank, size_t parameter) {
  const Lock lock(mutex_);
  if (!now_.step.finite) return;
  now_.step.finite = false;
  now_.step.rank = rank;
  now_.step.key = parameters_.key(parameter);
}

void GradientHook::Impl::note_launched(uint32_t bucket) {
  launched_[bucket] = true;
  const Lock lock(mutex_);
  carriers_[bucket].done = true;
  while (now_.next < launched_.size() && launched_[now_.next]) ++now_.next;
  changed_.notify_all();
}

void GradientHook::Impl::finish(Status result) {
  if (result && !learned_ && options_.exchange != Exchange::kReduceScatter) result = learn_order();
  if (result) revertible_ = true;
  // With neighbors alone what they have heard of this rank is as it is.
  const bool alone = options_.exchange == Exchange::kGossip;
  const bool travelled = alone && now_.next == carriers_.size();
  if (travelled || (!alone && result && now_.step.finite)) {
    pending_ = policy_.has_state();
  } else if (!pending_) {
    policy_.rollback();
  }
  if (travelled) commit_pending();
  const Lock lock(mutex_);
  now_.over = true;
  if (!result) {
    const bool parted = alone && !travelled && policy_.has_choco();  // from the neighbors' copies
    if (!comm_->status() || parted) broken_ = result;
    now_.failure = std::move(result);
  }
  changed_.notify_all();
}

// --- waiting -------------------------------------------------------------------------------------

uint64_t GradientHook::Impl::iteration() const {
  const Lock lock(mutex_);
  return iteration_;
}

Result<GradientHook::Step> GradientHook::Impl::wait() {
  Lock lock(mutex_);
  if (!broken_ && !now_.over) return broken_;
  await(&lock, [this] { return now_.over && now_.filling == 0 && !conducting_; });
  Step step = now_.step;
  step.iteration = iteration_;
  const Status failure = now_.failure;
  // Neighbors that heard nothing of a failure here are in the next round.
  if (failure || (options_.exchange == Exchange::kGossip && broken_)) ++iteration_;
  if (std::exchange(reordered_, false) && broken_) broken_ = build();
  begin_iteration();
  if (!failure) return failure;
  return step;
}

Status GradientHook::Impl::wait(size_t parameter) {
  Lock lock(mutex_);
  if (!broken_ && !now_.over) return broken_;
  const Slot& slot = slots_[parameter];
  if (slot.stage == Stage::kMissing && now_.failure) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("parameter '{}' was not made ready in iteration {}, nor "
                                     "skipped; wait for it afterwards",
                                     parameters_.key(parameter), iteration_));
  }
  await(&lock, [&] { return now_.over || carriers_[slot.carrier].done; });
  return carriers_[slot.carrier].done ? Status::ok() : now_.failure;
}

}  // namespace gossamer
