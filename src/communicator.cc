// Calls: from validated arguments to a plan that runs. Who waits, drives.

#include "gossamer/communicator.h"

#include <fmt/format.h>

#include <cstring>

#include "src/check.h"
#include "src/communicator_impl.h"
#include "src/fingerprint.h"
#include "src/patience.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

Call make_call(Collective collective, uint64_t count, DataType type, ReduceOp op) {
  Call call;
  call.collective = collective;
  call.count = count;
  call.type = type;
  call.op = op;
  return call;
}

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

bool overlap(const std::byte* a, uint64_t a_bytes, const std::byte* b, uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
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

Status Communicator::all_reduce(const void* input, void* output, uint64_t count, DataType type,
                                Reduction reduction) {
  PlanKey key;
  Status status = impl_->check(make_call(Collective::kAllReduce, count, type, reduction.op), input,
                               output, reduction, &key);
  if (!status) return status;
  return impl_->run(key, input, output, reduction);
}

Work Communicator::start_all_reduce(const void* input, void* output, uint64_t count, DataType type,
                                    Reduction reduction) {
  PlanKey key;
  const Status status = impl_->check(make_call(Collective::kAllReduce, count, type, reduction.op),
                                     input, output, reduction, &key);
  if (!status) return Work(Operation::failed(status));
  return Work(impl_->start(key, input, output, reduction));
}

Status Communicator::all_gather(const void* input, void* output, uint64_t count, DataType type) {
  PlanKey key;
  Status status = impl_->check(make_call(Collective::kAllGather, count, type, ReduceOp::kSum),
                               input, output, {}, &key);
  if (!status) return status;
  return impl_->run(key, input, output, {});
}

Work Communicator::start_all_gather(const void* input, void* output, uint64_t count,
                                    DataType type) {
  PlanKey key;
  const Status status = impl_->check(make_call(Collective::kAllGather, count, type, ReduceOp::kSum),
                                     input, output, {}, &key);
  if (!status) return Work(Operation::failed(status));
  return Work(impl_->start(key, input, output, {}));
}

Result<PersistentCollective> Communicator::plan_all_reduce(const void* input, void* output,
                                                           uint64_t count, DataType type,
                                                           Reduction reduction) {
  PlanKey key;
  const Status status = impl_->check(make_call(Collective::kAllReduce, count, type, reduction.op),
                                     input, output, reduction, &key);
  if (!status) return status;
  Result<Operation*> made = impl_->make_persistent(key, input, output, reduction);
  if (!made) return made.status();
  return PersistentCollective(*made);
}

Result<PersistentCollective> Communicator::plan_all_gather(const void* input, void* output,
                                                           uint64_t count, DataType type) {
  PlanKey key;
  const Status status = impl_->check(make_call(Collective::kAllGather, count, type, ReduceOp::kSum),
                                     input, output, {}, &key);
  if (!status) return status;
  Result<Operation*> made = impl_->make_persistent(key, input, output, {});
  if (!made) return made.status();
  return PersistentCollective(*made);
}

Result<Communicator::Choice> Communicator::explain(Collective collective, uint64_t count,
                                                   DataType type, Reduction reduction,
                                                   bool in_place) {
  PlanKey key;
  key.call = make_call(collective, count, type, reduction.op);
  key.call.in_place = in_place || reduction.op == ReduceOp::kPreMulSum;
  const Status sound = impl_->check_shape(key.call);
  if (!sound) return sound;
  return impl_->explain(key);
}

// --- checking ------------------------------------------------------------------------------------

// What can be said of a call before its buffers and its function are known.
Status Communicator::Impl::check_shape(const Call& call) const {
  const uint64_t element = size_of(call.type);
  if (element == 0) return invalid("the element type is none of gossamer::DataType");
  if (static_cast<int>(call.collective) >= kCollectiveCount) {
    return invalid("the collective is none of gossamer::Collective");
  }
  if (static_cast<int>(call.op) >= kReduceOpCount) {
    return invalid("the operation is none of gossamer::ReduceOp");
  }
  const uint64_t shares = call.collective == Collective::kAllGather ? size : 1;
  if (call.count > INT64_MAX / element / shares) {
    return invalid(
        fmt::format("count {} of {} overflows; counts are elements, not bytes, and never "
                    "negative",
                    call.count, name_of(call.type)));
  }
  return Status::ok();
}

Status Communicator::Impl::check(const Call& call, const void* input, const void* output,
                                 const Reduction& reduction, PlanKey* key) const {
  key->call = call;
  Status sound = check_shape(call);
  if (!sound) return sound;
  const bool gathers = call.collective == Collective::kAllGather;
  const uint64_t shares = gathers ? static_cast<uint64_t>(size) : 1;
  if (call.op == ReduceOp::kUser && reduction.function == nullptr) {
    return invalid("ReduceOp::kUser needs a function; use Reduction::user(function, context)");
  }
  const uint64_t bytes = call.count * size_of(call.type);
  if (call.count > 0 && (input == nullptr || output == nullptr)) {
    return invalid(fmt::format("the {} buffer is null but count is {}",
                               input == nullptr ? "input" : "output", call.count));
  }
  const auto* in = static_cast<const std::byte*>(input);
  const auto* out = static_cast<const std::byte*>(output);
  const std::byte* mine = gathers ? out + static_cast<uint64_t>(rank) * bytes : out;
  key->call.in_place = in == mine;
  if (!key->call.in_place && bytes > 0 && overlap(in, bytes, out, bytes * shares)) {
    return invalid(gathers
                       ? "input and output overlap; in place means input == output + rank * count"
                       : "input and output overlap; in place means input == output");
  }
  // The input is scaled into the output first; from there on it is in place.
  if (call.op == ReduceOp::kPreMulSum) key->call.in_place = true;
  return Status::ok();
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
  if (reduction.op == ReduceOp::kPreMulSum) {
    program.kernels.scale(output, input, key.call.count, reduction.scalar);
    input = output;
  }
  if (program.ops.empty()) return Status::ok();
  Bindings bindings;
  bindings.input = input;
  bindings.output = output;
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
