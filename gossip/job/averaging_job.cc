#include "gossamer/averaging_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gossip/job/impl.h"
#include "gossip/methods/checks.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kGoodbye{1'000};  // for the membership to tell, at least

Status aborted(const char* sentence) {
  return Status::error(Code::kAborted, std::string("averaging job: ") + sentence);
}

}  // namespace

std::string_view name_of(AveragingJob::EventKind kind) {
  switch (kind) {
    case AveragingJob::EventKind::kJoined:
      return "joined";
    case AveragingJob::EventKind::kDied:
      return "died";
    case AveragingJob::EventKind::kLeft:
      return "left";
    case AveragingJob::EventKind::kReturned:
      return "returned";
    case AveragingJob::EventKind::kStuck:
      return "stuck";
    case AveragingJob::EventKind::kMoving:
      return "moving";
  }
  return "?";
}

AveragingJob::AveragingJob(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AveragingJob::~AveragingJob() {
  // Threads and locks are the parent's: what they were at can only be left as it is.
  if (impl_->forked()) static_cast<void>(impl_.release());
}

Result<std::unique_ptr<AveragingJob>> AveragingJob::start(const Options& options, const void* x) {
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  auto impl = Impl::make(options);
  if (!impl) return impl.status();
  {
    const std::lock_guard lock((*impl)->core->m);
    (*impl)->core->ledger.begin(x);
  }
  return std::unique_ptr<AveragingJob>(new AveragingJob(std::move(*impl)));
}

Result<std::unique_ptr<AveragingJob>> AveragingJob::join(const std::string& address,
                                                         const Options& options, void* x) {
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  const Deadline deadline(options.timeout);
  auto impl = Impl::make(options);
  if (!impl) return impl.status();
  if (Status in = (*impl)->membership->join(address, deadline.remaining()); !in) return in;
  if (Status fetched = (*impl)->fetch(address, deadline); !fetched) {
    (*impl)->carrier->stop();
    static_cast<void>((*impl)->membership->leave(kGoodbye));
    return fetched;
  }
  {
    const std::lock_guard lock((*impl)->core->m);
    (*impl)->core->ledger.value(x);
  }
  return std::unique_ptr<AveragingJob>(new AveragingJob(std::move(*impl)));
}

Status AveragingJob::step(void* x, const void* gradient, double rate) {
  Impl& impl = *impl_;
  const uint64_t bytes = impl.options.count * size_of(impl.options.type);
  if (Status sound = check_step(x, gradient, rate, bytes); !sound) return sound;
  if (impl.forked()) return aborted("the job is the parent process's; a child joins it anew");
  job::Core& core = *impl.core;
  bool to_do = false;
  {
    const std::lock_guard lock(core.m);
    if (core.leaving) return aborted("leave() was called");
    const job::PeerId to = impl.options.peers == Peers::kRandom
                               ? core.choose_random()
                               : core.choose_exponential(core.steps);
    if (to != 0) {
      core.take_inbox();
    } else {
      core.take_exchanges();
    }
    if (gradient != nullptr) core.ledger.adapt(gradient, rate);
    ++core.steps;
    if (to != 0) {
      static_cast<void>(core.ledger.push(to, core.steps));
    } else {
      ++core.keeps;
    }
    core.ledger.value(x);
    to_do = to != 0 || !core.replies.empty();
  }
  impl.membership->advance_progress();
  if (to_do) impl.carrier->wake();
  return Status::ok();
}

Status AveragingJob::leave(milliseconds timeout) {
  Impl& impl = *impl_;
  if (impl.forked()) return aborted("the job is the parent process's");
  const Deadline deadline(timeout);
  job::Core& core = *impl.core;
  bool alone = false;
  double uncertain = 0;
  {
    std::unique_lock lock(core.m);
    if (core.stopping) return aborted("leave() was called before");
    core.leaving = true;
    for (;;) {
      if (!core.closed) core.take_inbox();
      alone = core.taking() == 0;
      if (alone || (core.ledger.weight() <= 0 && core.all_confirmed())) break;
      // Once all is handed over, nothing is taken; what comes back is handed to another.
      const job::PeerId to = core.choose_random();
      if (to != 0) core.closed = core.ledger.push_all(to, core.steps) != nullptr;
      impl.carrier->wake();
      if (deadline.expired()) {
        uncertain = core.ledger.weight() + core.ledger.totals().under_way;
        break;
      }
      core.changed.wait_for(lock, deadline.remaining());
    }
    core.closed = true;
  }
  const Status told = impl.membership->leave(std::max(deadline.remaining(), kGoodbye));
  impl.carrier->stop();
  if (uncertain > 0) {
    return Status::error(
        Code::kTimeout,
        fmt::format("averaging job: no peer confirmed within {} ms what this member handed over; "
                    "weight {:.3g} may be lost",
                    timeout.count(), uncertain));
  }
  return alone ? Status::ok() : told;
}

std::string AveragingJob::address() const {
  return impl_->membership->address();
}

std::vector<AveragingJob::Member> AveragingJob::members() const {
  std::vector<Member> members;
  if (impl_->forked()) return members;
  for (const auto& from : impl_->membership->members()) {
    const auto card = job::parse_card(from.metadata);
    if (!card || card->count != impl_->options.count || card->type != impl_->options.type) continue;
    members.push_back({from.id, from.address, card->label, from.progress, from.stuck,
                       from.id == impl_->membership->id()});
  }
  return members;
}

std::vector<AveragingJob::Event> AveragingJob::events(milliseconds wait) {
  if (impl_->forked()) return {};
  std::unique_lock lock(impl_->events_m);
  if (wait.count() > 0) {
    impl_->events_changed.wait_for(lock, wait, [&] { return !impl_->kept.empty(); });
  }
  std::vector<Event> events(std::make_move_iterator(impl_->kept.begin()),
                            std::make_move_iterator(impl_->kept.end()));
  impl_->kept.clear();
  return events;
}

AveragingJob::Account AveragingJob::account() const {
  if (impl_->forked()) return {};
  const std::lock_guard lock(impl_->core->m);
  const auto totals = impl_->core->ledger.totals();
  return {impl_->core->ledger.weight(),
          totals.under_way,
          totals.taken_back,
          totals.pushes,
          totals.takes,
          impl_->core->keeps};
}

uint64_t AveragingJob::steps() const {
  if (impl_->forked()) return 0;
  const std::lock_guard lock(impl_->core->m);
  return impl_->core->steps;
}

}  // namespace gossamer
