// Asynchronous operations: a queue, a thread for what nobody waits for, and waiting.

#include <sys/eventfd.h>
#include <unistd.h>

#include "src/communicator_impl.h"

namespace gossamer {
namespace {

constexpr std::chrono::hours kWaitMax{24 * 365};

}  // namespace

// --- Work ----------------------------------------------------------------------------------------

std::shared_ptr<Work::State> Work::State::failed(Status status) {
  auto state = std::make_shared<State>();
  state->result = std::move(status);
  state->done.store(true, std::memory_order_release);
  return state;
}

Work::Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
Work::Work(Work&& other) noexcept = default;

Work& Work::operator=(Work&& other) noexcept {
  if (this != &other) {
    if (state_) (void)wait();
    state_ = std::move(other.state_);
  }
  return *this;
}

Work::~Work() {
  if (state_) (void)wait();
}

bool Work::test() {
  return !state_ || state_->done.load(std::memory_order_acquire);
}

Status Work::wait() {
  if (test()) return state_ ? state_->result : Status::ok();
  return state_->owner->wait(state_.get());
}

Status Work::wait(std::chrono::nanoseconds timeout) {
  if (test()) return state_ ? state_->result : Status::ok();
  return state_->owner->wait_for(state_.get(), timeout);
}

// --- the queue -----------------------------------------------------------------------------------

Work Communicator::Impl::start(const PlanKey& key, const void* input, void* output,
                               const Reduction& reduction) {
  auto work = std::make_shared<Work::State>();
  work->owner = this;
  work->key = key;
  work->input = static_cast<const std::byte*>(input);
  work->output = static_cast<std::byte*>(output);
  work->reduction = reduction;
  {
    const std::lock_guard lock(mutex_);
    queued_.fetch_add(1, std::memory_order_release);
    queue_.push_back(work);
    if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  }
  changed_.notify_all();
  return Work(std::move(work));
}

// Runs the oldest queued operation, if any. The driver lock is held.
bool Communicator::Impl::run_next() {
  std::shared_ptr<Work::State> work;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.empty()) return false;
    work = queue_.front();
    queue_.pop_front();
  }
  Status result = execute(work->key, work->input, work->output, work->reduction);
  {
    const std::lock_guard lock(mutex_);
    work->result = std::move(result);
    work->done.store(true, std::memory_order_release);
    queued_.fetch_sub(1, std::memory_order_release);
  }
  changed_.notify_all();
  return true;
}

// The progress thread.
void Communicator::Impl::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return leaving_ || !queue_.empty(); });
    if (queue_.empty()) return;  // leaving
    lock.unlock();
    driver_.lock();
    while (run_next()) {
    }
    driver_.unlock();
    heed_abort();
    lock.lock();
  }
}

// Drives until `work` is done. Operations end by the communicator's deadline, so this does too.
Status Communicator::Impl::wait(Work::State* work) {
  driver_.lock();
  while (!work->done.load(std::memory_order_acquire) && run_next()) {
  }
  driver_.unlock();
  heed_abort();
  return work->result;
}

// Waits without driving: the operation must go on when the time is up.
Status Communicator::Impl::wait_for(Work::State* work, std::chrono::nanoseconds timeout) {
  // More than the clock can add to now would count as past.
  timeout = std::min<std::chrono::nanoseconds>(timeout, kWaitMax);
  std::unique_lock lock(mutex_);
  const bool done = changed_.wait_for(
      lock, timeout, [work] { return work->done.load(std::memory_order_acquire); });
  if (done) return work->result;
  return Status::error(
      Code::kTimeout, "the operation has not finished within the time given to wait(); it goes on");
}

// --- leaving -------------------------------------------------------------------------------------

void Communicator::Impl::interrupt() {
  const uint64_t one = 1;
  if (write(wake_fd_, &one, sizeof(one)) < 0) return;  // full: already awake
}

void Communicator::Impl::abort() {
  if (abort_.exchange(true) || failed_.load(std::memory_order_acquire)) return;
  interrupt();
  heed_abort();
}

// Whoever drives sees an abort within one look at the transports. If nobody does, because the last
// one was just done, tells the others now: called after abort_ is set and after driving, so that
// one of the two sees the other.
void Communicator::Impl::heed_abort() {
  while (abort_.load() && !failed_.load(std::memory_order_acquire) && driver_.try_lock()) {
    if (!failed_.load(std::memory_order_relaxed)) (void)give_up(Code::kAborted, Call());
    driver_.unlock();
  }
}

Communicator::Impl::~Impl() {
  if (queued_.load() > 0) abort();
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  engine_.reset();
  transports_.clear();
  if (sleep_fd_ >= 0) close(sleep_fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

}  // namespace gossamer
