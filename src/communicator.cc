// Runs: from a call's key to a plan that is driven to its end. Who waits, drives.

#include "gossamer/communicator.h"

#include <fmt/format.h>

#include <cstring>

#include "src/check.h"
#include "src/communicator_impl.h"
#include "src/fingerprint.h"
#include "src/group.h"
#include "src/patience.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

bool same(const CollectiveCall& a, const CollectiveCall& b) {
  // A graph may have gone and another lie in its place, and rounds differ: those calls are checked.
  // So may a codec have gone.
  return a.collective == b.collective && !has_graph(a.collective) && a.compression == nullptr &&
         b.compression == nullptr && a.input == b.input && a.output == b.output &&
         a.count == b.count && a.type == b.type && a.root == b.root &&
         a.reduction.op == b.reduction.op && a.reduction.scalar == b.reduction.scalar &&
         a.reduction.function == b.reduction.function && a.reduction.context == b.reduction.context;
}

}  // namespace

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

Status Communicator::Impl::run(const CollectiveCall& call) {
  if (!deferral.any() && tail_.load(std::memory_order_acquire) == nullptr && driver_.try_lock()) {
    Status status = run_alone(call);
    release_driver();
    return status;
  }
  PlanKey key;
  const Status sound = check(call, &key);
  if (!sound) return CallGroup::refuse(sound);
  if (!deferral.any()) return run_now(key, call.input, call.output, call.reduction);
  CallGroup::Noted noted;
  noted.impl = this;
  noted.key = key;
  noted.input = call.input;
  noted.output = call.output;
  noted.reduction = call.reduction;
  return CallGroup::note(noted, {});
}

// The driver lock is held. A call that repeats the last one needs no check and no search.
Status Communicator::Impl::run_alone(const CollectiveCall& call) {
  const auto* const input = static_cast<const std::byte*>(call.input);
  auto* const output = static_cast<std::byte*>(call.output);
  if (repeats_checked_ && last_plan_ != nullptr && same(call, last_call_) && !revoked()) {
    return execute(last_plan_, input, output, call.reduction, {});
  }
  PlanKey key;
  Status status = check(call, &key);
  if (!status) return status;
  status = execute(key, input, output, call.reduction);
  if (status) {
    last_call_ = call;
    repeats_checked_ = true;
  }
  return status;
}

Status Communicator::Impl::run_now(const PlanKey& key, const void* input, void* output,
                                   const Reduction& reduction) {
  if (tail_.load(std::memory_order_acquire) == nullptr && driver_.try_lock()) {
    Status status = execute(key, static_cast<const std::byte*>(input),
                            static_cast<std::byte*>(output), reduction);
    release_driver();
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
    repeats_checked_ = false;
  }
  return execute(plan, input, output, reduction, key.compression);
}

Status Communicator::Impl::execute(Plan* plan, const std::byte* input, std::byte* output,
                                   const Reduction& reduction, const Compression& compression) {
  // Messages between two ranks keep their order, so those posted before go first.
  if (engine_->letters().waiting()) issue_letters();
  Running run;
  Status status = begin(plan, input, output, reduction, compression, &run);
  if (!status || run.plan == nullptr) return status;
  status = drive(&run);
  count_run(plan->program);
  return status;
}

// Binds a plan to a call's buffers. A call that needs no steps is over at once: run->plan is null.
Status Communicator::Impl::begin(Plan* plan, const std::byte* input, std::byte* output,
                                 const Reduction& reduction, const Compression& compression,
                                 Running* run) {
  const PlanKey& key = plan->key;
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  if (abort_.load(std::memory_order_relaxed)) return give_up(Code::kAborted, key.call);
  ++sequence_;
  const Program& program = plan->program;
  if (plan->scaled_count > 0) {
    const size_t scaled_bytes = plan->scaled_count * size_of(key.call.type);
    if (!key.call.in_place && scaled_.size() < scaled_bytes) scaled_.resize(scaled_bytes);
    std::byte* const scaled = key.call.in_place ? output : scaled_.data();
    program.kernels.scale(scaled, input, plan->scaled_count, reduction.scalar);
    input = scaled;
  }
  carry_residual(*plan, compression);
  if (program.ops.empty()) return Status::ok();
  if (scratch_.size() < program.scratch_bytes) scratch_.resize(program.scratch_bytes);
  if (wide_.size() < program.wide_bytes) wide_.resize(program.wide_bytes);
  Bindings& bindings = run->bindings;
  bindings.input = input;
  // In place, Buffer::kOutput is the memory of both, which may begin before the output.
  bindings.output = output - plan->output_offset_bytes;
  bindings.scratch = scratch_.data();
  bindings.wide = wide_.data();
  if (!program.codings.empty()) {
    bindings.coding = bind_coding(*plan, compression);
    bindings.code = code_.data();
  }
  bindings.fingerprint = with_sequence(plan->fingerprint, sequence_ & 0xfff);
  bindings.reduction = reduction;
  run->plan = plan;
  return Status::ok();
}

void Communicator::Impl::count(uint64_t messages, uint64_t bytes, uint64_t steps) {
  // Only the driver writes them, so a plain increment is enough.
  const auto add = [](std::atomic<uint64_t>& counter, uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  };
  add(operations_, 1);
  add(messages_, messages);
  add(bytes_, bytes);
  add(steps_, steps);
}

// Takes one look. kOk: it has run to its end; kPending: not yet; otherwise the communicator failed.
Code Communicator::Impl::advance(Running* run) {
  Plan* const plan = run->plan;
  Code code = Code::kOk;
  if (!run->started) {
    run->moved = false;
    if (!plan->open) code = engine_->open(plan->program);
    if (code == Code::kAgain) return Code::kPending;
    if (code == Code::kOk) {
      plan->open = true;
      engine_->start(plan->program, run->bindings);
      run->started = true;
    }
  }
  if (code == Code::kOk) {
    code = engine_->progress();
    run->moved = engine_->progressed();
    if (code == Code::kOk || code == Code::kPending) return code;
  }
  (void)fail(engine_->fault(), describe(plan->key.call, sequence_));
  return code;
}

// Runs to the end on this thread.
Status Communicator::Impl::drive(Running* run) {
  Patience patience(waiting_, sleep_fd_, transports_, timeout_);
  Status status = drive(run, &patience);
  if (patience.sleeps() > 0) wakeups_.fetch_add(patience.sleeps(), std::memory_order_relaxed);
  return status;
}

Status Communicator::Impl::drive(Running* run, Patience* waiting) {
  Patience& patience = *waiting;
  const Call& call = run->plan->key.call;
  for (;;) {
    Code code = Code::kOk;
    if (run->started) {  // what advance() does, without a call
      code = engine_->progress();
      run->moved = engine_->progressed();
      if (code != Code::kOk && code != Code::kPending) {
        return fail(engine_->fault(), describe(call, sequence_));
      }
    } else {
      code = advance(run);
    }
    if (code == Code::kOk) return Status::ok();
    if (code != Code::kPending) return failure_;
    if (abort_.load(std::memory_order_relaxed)) return give_up(Code::kAborted, call);
    if (run->moved) {
      patience.progressed();
    } else if (!patience.idle()) {
      return give_up(Code::kTimeout, call);
    } else if (patience.napped() && engine_->find_strays(run->bindings.fingerprint) != Code::kOk) {
      return fail(engine_->fault(), describe(call, sequence_));
    }
  }
}

// --- failing -------------------------------------------------------------------------------------

// Ends what is under way for a reason of this rank's own, and tells the others.
Status Communicator::Impl::give_up(Code code, const Call& call) {
  return give_up(code, describe(call, sequence_));
}

Status Communicator::Impl::give_up(Code code, const std::string& what) {
  Fault fault;
  if (code == Code::kAborted) {
    if (!lost_by_watch(&fault)) {
      fault.set(code, rank, "rank %d called %s", rank, revoked() ? "revoke()" : "abort()");
    }
  } else {
    const Rank awaited = engine_->awaited();
    const std::string where = engine_->position();
    const std::string from = awaited < 0 ? "any rank" : fmt::format("rank {}", awaited);
    fault.set(code, awaited,
              "rank %d heard nothing from %s for %lld ms (%s): it is stopped, busy or did not "
              "make this call; GOSSAMER_TIMEOUT_MS or Options::timeout sets the limit",
              rank, from.c_str(), static_cast<long long>(timeout_.count()), where.c_str());
  }
  if (engine_) engine_->end_with(fault);
  return fail(fault, what);
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
  if (engine_) engine_->drop_letters();
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
    release_driver();
  }
  const std::lock_guard lock(mutex_);
  if (idle) traffic_ = c.traffic;
  c.traffic = traffic_;
  return c;
}

}  // namespace gossamer
