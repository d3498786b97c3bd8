// Runs: from a call's key to a plan that is driven to its end. Who waits, drives.

#include "gossamer/communicator.h"

#include <fmt/format.h>

#include <cstring>

#include "src/check.h"
#include "src/communicator_impl.h"
#include "src/fingerprint.h"
#include "src/patience.h"
#include "src/reduce.h"

namespace gossamer {

// --- the public face -----------------------------------------------------------------------------

Communicator::Communicator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Communicator::~Communicator() {
  // A forked child must not take leave in its parent's name; it owns copies of descriptors only.
  if (impl_ && impl_->process != getpid()) (void)impl_.release();
}

Result<std::unique_ptr<Communicator>> Communicator::create(const Options& options) {
  Result<std::unique_ptr<Impl>> impl = Impl::join(options);
  if (!impl) return impl.status();
  return std::unique_ptr<Communicator>(new Communicator(std::move(impl).value()));
}

Result<std::unique_ptr<Communicator>> Communicator::from_environment() {
  return from_environment(Options());
}

Rank Communicator::rank() const {
  return impl_->rank;
}
Rank Communicator::size() const {
  return impl_->size;
}
const std::string& Communicator::name() const {
  return impl_->name;
}
void Communicator::abort() {
  impl_->abort();
}
Status Communicator::status() const {
  return impl_->status();
}
Communicator::Counters Communicator::counters() const {
  return impl_->counters();
}

// --- running -------------------------------------------------------------------------------------

Status Communicator::Impl::run(const PlanKey& key, const void* input, void* output,
                               const Reduction& reduction) {
  if (tail_.load(std::memory_order_acquire) == nullptr && driver_.try_lock()) {
    Status status = execute(key, static_cast<const std::byte*>(input),
                            static_cast<std::byte*>(output), reduction);
    driver_.unlock();
    if (abort_.load()) heed_abort();
    return status;
  }
  // Asynchronous operations are under way: take the place behind them.
  return Work(start(key, input, output, reduction)).wait();
}

Status Communicator::Impl::execute(const PlanKey& key, const std::byte* input, std::byte* output,
                                   const Reduction& reduction) {
  Plan* plan = last_plan_;
  if (plan == nullptr || !(plan->key == key)) {
    if (failed_.load(std::memory_order_relaxed)) return failure_;
    Result<std::shared_ptr<Plan>> found = plan_for(key);
    if (!found) return fail_stored(found.status());
    plan = last_plan_ = found->get();
  }
  return execute(plan, input, output, reduction);
}

Status Communicator::Impl::execute(Plan* plan, const std::byte* input, std::byte* output,
                                   const Reduction& reduction) {
  const PlanKey& key = plan->key;
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  if (abort_.load(std::memory_order_relaxed)) return give_up(Code::kAborted, key.call);
  ++sequence_;
  const Program& program = plan->program;
  if (plan->scaled_count > 0) {
    std::byte* const scaled = key.call.in_place ? output : scaled_.data();
    program.kernels.scale(scaled, input, plan->scaled_count, reduction.scalar);
    input = scaled;
  }
  if (program.ops.empty()) return Status::ok();
  Bindings bindings;
  bindings.input = input;
  // In place, Buffer::kOutput is the memory of both, which may begin before the output.
  bindings.output = output - plan->output_offset_bytes;
  bindings.scratch = scratch_.data();
  bindings.wide = wide_.data();
  bindings.fingerprint = with_sequence(plan->fingerprint, sequence_ & 0xfff);
  bindings.reduction = reduction;
  Status status = drive(plan, bindings);
  // Only the driver writes them, so a plain increment is enough.
  const auto add = [](std::atomic<uint64_t>& counter, uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  };
  add(operations_, 1);
  add(messages_, program.messages_sent);
  add(bytes_, program.bytes_sent);
  add(steps_, program.ops.size());
  return status;
}

// Runs a plan to its end on this thread.
Status Communicator::Impl::drive(Plan* plan, const Bindings& bindings) {
  Patience patience(waiting_, sleep_fd_, transports_, timeout_);
  Status status = drive(plan, bindings, &patience);
  if (patience.sleeps() > 0) wakeups_.fetch_add(patience.sleeps(), std::memory_order_relaxed);
  return status;
}

Status Communicator::Impl::drive(Plan* plan, const Bindings& bindings, Patience* waiting) {
  Patience& patience = *waiting;
  const Call& call = plan->key.call;
  while (!plan->open) {
    const Code code = engine_->open(plan->program);
    if (code == Code::kOk) {
      plan->open = true;
    } else if (code != Code::kAgain) {  // NOLINT(bugprone-branch-clone): the last one, but first
      return fail(engine_->fault(), describe(call, sequence_));
    } else if (abort_.load(std::memory_order_relaxed)) {
      return give_up(Code::kAborted, call);
    } else if (!patience.idle()) {
      return give_up(Code::kTimeout, call);
    } else if (patience.napped() && engine_->find_strays(bindings.fingerprint) != Code::kOk) {
      return fail(engine_->fault(), describe(call, sequence_));
    }
  }
  patience.progressed();
  engine_->start(plan->program, bindings);
  for (;;) {
    const Code code = engine_->progress();
    if (code == Code::kOk) return Status::ok();
    if (code != Code::kPending) return fail(engine_->fault(), describe(call, sequence_));
    if (abort_.load(std::memory_order_relaxed)) return give_up(Code::kAborted, call);
    if (engine_->progressed()) {
      patience.progressed();
    } else if (!patience.idle()) {
      return give_up(Code::kTimeout, call);
    } else if (patience.napped() && engine_->find_strays(bindings.fingerprint) != Code::kOk) {
      return fail(engine_->fault(), describe(call, sequence_));
    }
  }
}

// --- failing -------------------------------------------------------------------------------------

// Ends what is under way for a reason of this rank's own, and tells the others.
Status Communicator::Impl::give_up(Code code, const Call& call) {
  Fault fault;
  if (code == Code::kAborted) {
    fault.set(code, rank, "rank %d called abort()", rank);
  } else {
    const Rank awaited = engine_->awaited();
    const std::string where = engine_->position();
    fault.set(code, awaited,
              "rank %d heard nothing from rank %d for %lld ms (%s): it is stopped, busy or did not "
              "make this call; GOSSAMER_TIMEOUT_MS or Options::timeout sets the limit",
              rank, awaited, static_cast<long long>(timeout_.count()), where.c_str());
  }
  if (engine_) engine_->end_with(fault);
  return fail(fault, describe(call, sequence_));
}

Status Communicator::Impl::fail(const Fault& fault, const std::string& what) {
  return fail_stored(
      Status::error(fault.code, fmt::format("{}: {}", what, fault.text.data()), fault.rank));
}

Status Communicator::Impl::fail_stored(Status failure) {
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  failure_ = std::move(failure);
  failed_.store(true, std::memory_order_release);
  log_line(LogLevel::kWarn, identity_, failure_.to_string());
  return failure_;
}

Status Communicator::Impl::status() const {
  return failed_.load(std::memory_order_acquire) ? failure_ : Status::ok();
}

Communicator::Counters Communicator::Impl::counters() {
  Counters c;
  c.operations = operations_.load(std::memory_order_relaxed);
  c.messages_sent = messages_.load(std::memory_order_relaxed);
  c.bytes_sent = bytes_.load(std::memory_order_relaxed);
  c.plans_built = built_.load(std::memory_order_relaxed);
  c.steps_run = steps_.load(std::memory_order_relaxed);
  c.wakeups = wakeups_.load(std::memory_order_relaxed);
  // Transports count without locks, for the driving thread.
  const bool idle = driver_.try_lock();
  if (idle) {
    for (const std::unique_ptr<Transport>& transport : transports_) {
      c.traffic += transport->traffic();
    }
    driver_.unlock();
    if (abort_.load()) heed_abort();
  }
  const std::lock_guard lock(mutex_);
  if (idle) traffic_ = c.traffic;
  c.traffic = traffic_;
  return c;
}

}  // namespace gossamer
