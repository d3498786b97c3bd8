// Persistent collectives and registered memory: what is said once, so that it need not be said with
// every call.

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "src/call_buffers.h"
#include "src/communicator_impl.h"
#include "src/fingerprint.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

// --- PersistentCollective ------------------------------------------------------------------------

PersistentCollective::PersistentCollective(Operation* operation) : operation_(operation) {}

PersistentCollective::PersistentCollective(PersistentCollective&& other) noexcept
    : operation_(std::exchange(other.operation_, nullptr)) {}

PersistentCollective& PersistentCollective::operator=(PersistentCollective&& other) noexcept {
  if (this != &other) {
    release();
    operation_ = std::exchange(other.operation_, nullptr);
  }
  return *this;
}

PersistentCollective::~PersistentCollective() {
  release();
}

void PersistentCollective::release() {
  Operation* const operation = std::exchange(operation_, nullptr);
  if (operation == nullptr) return;
  if (operation->owner == nullptr) {
    delete operation;
  } else if (operation->owner->process == getpid()) {  // a forked child has a copy, no more
    operation->owner->dissolve(operation);
  }
}

Status PersistentCollective::start() {
  if (operation_ == nullptr) {
    return invalid("this persistent collective is empty; plan_all_reduce() and its like make one");
  }
  if (operation_->owner == nullptr) {
    return invalid("the communicator of this persistent collective is gone; make both anew");
  }
  return operation_->owner->restart(operation_);
}

bool PersistentCollective::test() {
  if (operation_ == nullptr) return true;
  if (operation_->under_way()) operation_->owner->ask(operation_);
  if (operation_->under_way()) return false;
  operation_->see();
  return true;
}

Status PersistentCollective::wait() {
  if (operation_ == nullptr) return Status::ok();
  if (operation_->under_way()) (void)operation_->owner->wait(operation_);
  operation_->see();
  return operation_->result;
}

Status PersistentCollective::wait(std::chrono::nanoseconds timeout) {
  if (operation_ == nullptr) return Status::ok();
  if (operation_->under_way()) {
    Status status = operation_->owner->wait_for(operation_, timeout);
    if (!operation_->done()) return status;
  }
  operation_->see();
  return operation_->result;
}

Result<Operation*> Communicator::Impl::make_persistent(const PlanKey& key, const void* input,
                                                       void* output, const Reduction& reduction) {
  auto operation = std::make_unique<Operation>();
  operation->key = key;
  operation->input = static_cast<const std::byte*>(input);
  operation->output = static_cast<std::byte*>(output);
  operation->reduction = reduction;
  const CallBuffers buffers = buffers_of(key.call, rank, size);
  const uint64_t element = size_of(key.call.type);
  if (buffers.in_place) {
    operation->pinned[0] = {operation->output - buffers.output_first * element,
                            buffers.both_count() * element};
  } else {
    operation->pinned[0] = {operation->output, buffers.output_count * element};
    operation->pinned[1] = {const_cast<std::byte*>(operation->input),
                            buffers.input_count * element};
  }
  take_driver();
  Status status = failed_.load(std::memory_order_relaxed) ? failure_ : Status::ok();
  if (status) {
    Result<std::shared_ptr<Plan>> plan = plan_for(key);
    if (plan) operation->plan = *plan;
    status = plan.status();
  }
  for (std::span<std::byte>& span : operation->pinned) {
    if (!status || span.empty()) continue;
    const Status pinned = pin(span);
    if (pinned) continue;
    log_line(LogLevel::kWarn, identity_,
             fmt::format("{} runs on unregistered memory: {}", describe(key.call, sequence_),
                         pinned.message()));
    span = {};
  }
  release_driver();
  if (!status) return status;
  {
    const std::lock_guard lock(mutex_);
    list(operation.get());
  }
  call_thread(false);
  return operation.release();
}

Status Communicator::Impl::restart(Operation* operation) {
  if (operation->under_way()) {
    return invalid(
        "this persistent collective was started and runs; wait() for it before it is "
        "started again");
  }
  if (operation->state.load(std::memory_order_acquire) == Operation::kDone) {
    return invalid(
        "this persistent collective was started and nobody has seen its end; call "
        "wait(), or test() until it is true, before it is started again");
  }
  if (failed_.load(std::memory_order_acquire)) return failure_;
  if (operation->compression != nullptr) {
    Status sound = renew_compression(operation);
    if (!sound) return sound;
  }
  enqueue(operation);
  return Status::ok();
}

void Communicator::Impl::dissolve(Operation* operation) {
  if (operation->under_way()) (void)wait(operation);
  take_driver();
  for (const std::span<std::byte> span : operation->pinned) {
    if (!span.empty()) unpin(span);
  }
  release_driver();
  {
    const std::lock_guard lock(mutex_);
    unlist(operation);
  }
  delete operation;
}

// --- registered memory ---------------------------------------------------------------------------

// With every transport, or with none. The driver lock is held.
Status Communicator::Impl::pin(std::span<std::byte> span) {
  for (size_t i = 0; i < transports_.size(); ++i) {
    Status status = transports_[i]->pin(span);
    if (status) continue;
    for (size_t done = 0; done < i; ++done) transports_[done]->unpin(span);
    return status;
  }
  return Status::ok();
}

void Communicator::Impl::unpin(std::span<std::byte> span) {
  for (const std::unique_ptr<Transport>& transport : transports_) transport->unpin(span);
}

Result<RegistrationId> Communicator::Impl::register_memory(void* memory, uint64_t bytes) {
  if (memory == nullptr || bytes == 0) {
    return invalid(memory == nullptr ? "the memory to register is null"
                                     : "0 bytes to register; ask for at least 1");
  }
  const std::span<std::byte> span(static_cast<std::byte*>(memory), bytes);
  take_driver();
  const Status status = failed_.load(std::memory_order_relaxed) ? failure_ : pin(span);
  const RegistrationId id = status ? ++last_registration_ : 0;
  if (status) registrations_[id] = span;
  release_driver();
  if (!status) return status;
  return id;
}

Status Communicator::Impl::deregister_memory(RegistrationId registration) {
  take_driver();
  const auto it = registrations_.find(registration);
  const bool found = it != registrations_.end();
  if (found) {
    unpin(it->second);
    registrations_.erase(it);
  }
  release_driver();
  if (found) return Status::ok();
  return invalid(
      fmt::format("this communicator has no registration {}; register_memory() gives the number, "
                  "and it ends with the first deregister_memory()",
                  registration));
}

// --- the public face -----------------------------------------------------------------------------

Result<RegistrationId> Communicator::register_memory(void* memory, uint64_t bytes) {
  return impl_->register_memory(memory, bytes);
}

Status Communicator::deregister_memory(RegistrationId registration) {
  return impl_->deregister_memory(registration);
}

}  // namespace gossamer
