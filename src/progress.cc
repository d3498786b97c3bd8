// Asynchronous operations: a queue, a thread for what nobody waits for, and waiting.
//
// Waking a thread costs the one who does it more than a small collective takes. So start() leaves
// the progress thread alone: for some time after the last operation it looks by itself, every few
// milliseconds, for one that nobody has come to wait for. It is called only by those who will not
// drive themselves (test(), wait() with a time limit) and for operations that it had to run the
// last time.

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "src/communicator_impl.h"
#include "src/fingerprint.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::hours kWaitMax{24 * 365};
constexpr milliseconds kLookAgain{20};
constexpr milliseconds kLookMin{1};
constexpr milliseconds kLookMax{8};
constexpr int kQuietLooksMax = 16;  // then it sleeps until it is called

}  // namespace

Operation* Operation::failed(Status status) {
  auto* const operation = new Operation;
  operation->result = std::move(status);
  operation->state.store(kDone, std::memory_order_release);
  return operation;
}

// --- Work ----------------------------------------------------------------------------------------

Work::Work(Operation* operation) : operation_(operation) {}
Work::Work(Work&& other) noexcept : operation_(std::exchange(other.operation_, nullptr)) {}

Work& Work::operator=(Work&& other) noexcept {
  if (this != &other) {
    Work old(std::exchange(operation_, std::exchange(other.operation_, nullptr)));
  }
  return *this;
}

Work::~Work() {
  if (operation_ == nullptr) return;
  // A forked child has a copy, and none of the threads that could finish it.
  if (operation_->owner != nullptr && operation_->owner->process != getpid()) return;
  (void)wait();
  if (operation_->owner != nullptr) {
    operation_->owner->recycle(operation_);
  } else {
    delete operation_;
  }
}

bool Work::test() {
  if (operation_ == nullptr || operation_->done()) return true;
  operation_->owner->ask(operation_);
  return operation_->done();
}

Status Work::wait() {
  if (operation_ == nullptr) return Status::ok();
  return operation_->done() ? operation_->result : operation_->owner->wait(operation_);
}

Status Work::wait(std::chrono::nanoseconds timeout) {
  if (operation_ == nullptr) return Status::ok();
  return operation_->done() ? operation_->result : operation_->owner->wait_for(operation_, timeout);
}

// --- handles -------------------------------------------------------------------------------------

void Communicator::Impl::list(Operation* operation) {
  operation->owner = this;
  operation->older = handles_;
  operation->newer = nullptr;
  if (handles_ != nullptr) handles_->newer = operation;
  handles_ = operation;
}

void Communicator::Impl::unlist(Operation* operation) {
  (operation->newer != nullptr ? operation->newer->older : handles_) = operation->older;
  if (operation->older != nullptr) operation->older->newer = operation->newer;
}

Operation* Communicator::Impl::take_handle() {
  const std::lock_guard lock(mutex_);
  Operation* operation = free_;
  if (operation == nullptr) {
    operation = new Operation;
  } else {
    free_ = operation->next.load(std::memory_order_relaxed);
  }
  list(operation);
  return operation;
}

void Communicator::Impl::recycle(Operation* operation) {
  operation->result = Status::ok();
  operation->letters.clear();
  const std::lock_guard lock(mutex_);
  unlist(operation);
  operation->next.store(free_, std::memory_order_relaxed);
  free_ = operation;
}

Operation* Communicator::Impl::prepare(const PlanKey& key, const void* input, void* output,
                                       const Reduction& reduction) {
  Operation* const operation = take_handle();
  operation->key = key;
  operation->input = static_cast<const std::byte*>(input);
  operation->output = static_cast<std::byte*>(output);
  operation->reduction = reduction;
  return operation;
}

Operation* Communicator::Impl::prepare(std::span<const Letter> letters) {
  Operation* const operation = take_handle();
  operation->letters.assign(letters.begin(), letters.end());
  return operation;
}

Operation* Communicator::Impl::start(const PlanKey& key, const void* input, void* output,
                                     const Reduction& reduction) {
  Operation* const operation = prepare(key, input, output, reduction);
  enqueue(operation);
  return operation;
}

Operation* Communicator::Impl::start(std::span<const Letter> letters) {
  Operation* const operation = prepare(letters);
  enqueue(operation);
  return operation;
}

// --- the queue -----------------------------------------------------------------------------------

void Communicator::Impl::enqueue(Operation* operation) {
  operation->state.store(Operation::kStarted, std::memory_order_relaxed);
  operation->next.store(nullptr, std::memory_order_relaxed);
  // From here on it may be run by whoever drives, but for the link from the one before.
  const auto& overlaps = operation->plan ? operation->overlaps : works_overlap_;
  const bool to_drive = overlaps.load(std::memory_order_relaxed);
  Operation* const before = tail_.exchange(operation);
  (before != nullptr ? before->next : head_).store(operation, std::memory_order_release);
  // The thread says that it sleeps before it looks at the tail a last time.
  if (to_drive || asleep_.load()) call_thread(to_drive);
  if (napping_.load()) interrupt();
}

// Somebody wants to see it done and will not drive.
void Communicator::Impl::ask(Operation* operation) {
  Operation::State expected = Operation::kStarted;
  if (operation->state.compare_exchange_strong(expected, Operation::kAsked)) call_thread(true);
}

void Communicator::Impl::call_thread(bool to_drive) {
  const std::lock_guard lock(mutex_);
  (to_drive ? called_to_drive_ : called_to_look_) = true;
  if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  called_.notify_one();
}

// The progress thread.
void Communicator::Impl::serve() {
  std::unique_lock lock(mutex_);
  milliseconds pause = kLookMin;
  Seen seen;
  int quiet = 0;  // looks at which nothing was there and nothing had been
  const auto called = [this] { return leaving_ || called_to_drive_ || called_to_look_; };
  for (;;) {
    if (quiet < kQuietLooksMax) {
      asleep_.store(false);
      called_.wait_for(lock, pause, called);
    } else {
      asleep_.store(true);
      if (tail_.load() == nullptr && travelling_.load() == 0) called_.wait(lock, called);
      quiet = 0;
    }
    if (leaving_) return;
    const bool to_drive = std::exchange(called_to_drive_, false);
    const bool to_look = std::exchange(called_to_look_, false);
    lock.unlock();
    const uint64_t ended_before = seen.ended;
    const bool driven = look(to_drive, &seen);
    lock.lock();
    if (yielded_) {  // to somebody who shall find the lock free
      called_.wait_for(lock, kLookMin, [this] { return leaving_; });
      called_to_drive_ = true;
    }
    pause = driven || to_look ? kLookMin : std::min(2 * pause, kLookMax);
    quiet = seen.ended == ended_before && !seen.waiting ? quiet + 1 : 0;
  }
}

// Drives if it was called to, or if the oldest operation was the oldest at the look before.
bool Communicator::Impl::look(bool called, Seen* before) {
  const bool waiting = tail_.load() != nullptr || travelling_.load() > 0;
  const Seen now{ended_.load(std::memory_order_relaxed), waiting};
  const bool overdue = now.waiting && before->waiting && now.ended == before->ended;
  *before = now;
  yielded_ = false;
  if (called) {
    driver_.lock();
  } else if (!overdue || !driver_.try_lock()) {
    return false;  // somebody else drives
  }
  yielded_ = !drive_alone();
  release_driver();
  *before = {ended_.load(std::memory_order_relaxed), false};
  return true;
}

// Waits without driving: the operation must go on when the time is up.
Status Communicator::Impl::wait_for(Operation* operation, std::chrono::nanoseconds timeout) {
  ask(operation);
  // More than the clock can add to now would count as past.
  const auto end = Clock::now() + std::min<std::chrono::nanoseconds>(timeout, kWaitMax);
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto until = std::min(end, Clock::now() + kLookAgain);
    const auto done = [operation] { return operation->done(); };
    if (finished_.wait_until(lock, until, done)) return operation->result;
    if (until == end) break;
  }
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
    if (!failed_.load(std::memory_order_relaxed)) {
      const bool found_out = lost_.load() >= 0;
      (void)give_up(Code::kAborted, found_out ? "membership" : describe(Call(), sequence_));
    }
    driver_.unlock();
  }
  // What is queued ends when somebody looks.
  const std::lock_guard lock(mutex_);
  finished_.notify_all();
}

Communicator::Impl::~Impl() {
  watch_.reset();  // its thread calls abort()
  if (tail_.load() != nullptr || travelling_.load() > 0) abort();
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    called_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  driver_.lock();
  while (tail_.load() != nullptr && failed_.load()) (void)step();  // all of them fail: aborted
  driver_.unlock();
  {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return streamed_ == 0; });
  }
  for (Operation* held = handles_; held != nullptr; held = held->older) held->owner = nullptr;
  while (free_ != nullptr) {
    Operation* const next = free_->next.load(std::memory_order_relaxed);
    delete std::exchange(free_, next);
  }
  engine_.reset();
  transports_.clear();
  if (sleep_fd_ >= 0) close(sleep_fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

}  // namespace gossamer
