// Driving: what was started goes on while somebody, no matter who, looks after it.
//
// Operations begin in the order in which they were started. A collective is first in the queue
// until it is done, and nothing behind it begins. Messages between two ranks leave the queue as
// soon as they are posted, any number of them travel at a time, and a collective begins when all
// those before it are in the transports' hands.
//
// A driver that finds others waiting for it does not stop: it carries their messages along with its
// own. They sleep until theirs is done or the driver has left, and then one of them drives.

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "src/communicator_impl.h"
#include "src/fingerprint.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::hours kForever{24 * 365};  // deadlines are each operation's own
constexpr milliseconds kLookAgain{20};

}  // namespace

// --- the queue -----------------------------------------------------------------------------------

Operation* Communicator::Impl::first() {
  Operation* operation = nullptr;
  while ((operation = head_.load(std::memory_order_acquire)) == nullptr) {
    if (tail_.load(std::memory_order_acquire) == nullptr) return nullptr;
    sched_yield();  // it is being linked
  }
  return operation;
}

// Takes the first operation off the queue. The driver lock is held.
void Communicator::Impl::dequeue(Operation* operation) {
  Operation* next = operation->next.load(std::memory_order_acquire);
  if (next == nullptr) {
    head_.store(nullptr, std::memory_order_relaxed);
    Operation* expected = operation;
    if (tail_.compare_exchange_strong(expected, nullptr)) return;
    // Another one has taken the tail and is about to link itself to this one.
    while ((next = operation->next.load(std::memory_order_acquire)) == nullptr) sched_yield();
  }
  head_.store(next, std::memory_order_relaxed);
}

// Brings everything that was started as far as it goes now. True: something moved. The driver lock
// is held.
bool Communicator::Impl::step() {
  bool moved = false;
  while (Operation* const head = first()) {
    if (failed_.load(std::memory_order_relaxed)) {
      running_ = Running();
      dequeue(head);
      conclude(head, failure_);
    } else if (head->gated.load(std::memory_order_acquire)) {  // NOLINT(bugprone-branch-clone)
      break;  // before the next test, not with the last one
    } else if (!head->letters.empty()) {
      post(head);
    } else if (running_.plan == nullptr && engine_->letters().waiting()) {
      break;
    } else if (step_collective(head) == Code::kPending) {
      moved = moved || running_.moved;
      break;
    }
    moved = true;
  }
  if (running_.plan != nullptr || failed_.load(std::memory_order_relaxed)) return moved;
  if (engine_->progress() != Code::kOk) {
    (void)fail(engine_->fault(), kMessages);
    return true;
  }
  return engine_->progressed() || moved;
}

// kPending, or it is done, well or not.
Code Communicator::Impl::step_collective(Operation* operation) {
  Status result;
  if (running_.plan == nullptr) {
    Plan* plan = operation->plan.get();
    if (plan == nullptr) {
      Result<std::shared_ptr<Plan>> found = plan_for(operation->key);
      if (!found) result = fail_stored(found.status());
      if (found) running_.keep = *found;
      plan = running_.keep.get();
    }
    if (result) {
      result = begin(plan, operation->input, operation->output, operation->reduction,
                     operation->key.compression, &running_);
    }
  }
  if (running_.plan != nullptr) {
    const Code code = advance(&running_);
    if (code == Code::kPending) return code;
    if (code != Code::kOk) result = failure_;
    count_run(running_.plan->program);
  }
  running_ = Running();
  auto& overlaps = operation->plan ? operation->overlaps : works_overlap_;
  overlaps.store(driven_by_thread_, std::memory_order_relaxed);
  dequeue(operation);
  conclude(operation, std::move(result));
  return Code::kOk;
}

// Runs the first of the queue to its end without a look at the others, as they come after it.
// False: there is none, or it is no collective to begin with.
bool Communicator::Impl::run_first() {
  Operation* const head = first();
  if (head == nullptr || running_.plan != nullptr || !head->letters.empty() ||
      head->gated.load(std::memory_order_acquire)) {
    return false;
  }
  Status result = head->plan ? execute(head->plan.get(), head->input, head->output, head->reduction,
                                       head->key.compression)
                             : execute(head->key, head->input, head->output, head->reduction);
  auto& overlaps = head->plan ? head->overlaps : works_overlap_;
  overlaps.store(driven_by_thread_, std::memory_order_relaxed);
  dequeue(head);
  conclude(head, std::move(result));
  return true;
}

// The last touch: its handle may free it when it is done.
void Communicator::Impl::conclude(Operation* operation, Status result) {
  ended_.store(ended_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (!result) operation->result = std::move(result);
  // Not an exchange, which would cost every run: who asks just now is not notified and looks again.
  const bool asked = operation->state.load(std::memory_order_acquire) == Operation::kAsked;
  operation->state.store(Operation::kDone, std::memory_order_release);
  if (asked) {
    const std::lock_guard lock(mutex_);
    finished_.notify_all();
  }
}

// --- messages ------------------------------------------------------------------------------------

// Takes an operation of letters off the queue and sends them on their way.
void Communicator::Impl::post(Operation* operation) {
  dequeue(operation);
  travelling_.fetch_add(1);
  operation->letters_left = static_cast<uint32_t>(operation->letters.size());
  count_letters(operation->letters);
  for (Letter& letter : operation->letters) {
    letter.epoch = static_cast<uint8_t>(sequence_);
    letter.owner = operation;
    letter.done = [](Letter* done) {
      auto* const whole = static_cast<Operation*>(done->owner);
      if (--whole->letters_left > 0) return;
      Impl* const impl = whole->owner;
      impl->travelling_.fetch_sub(1);
      impl->works_overlap_.store(impl->driven_by_thread_, std::memory_order_relaxed);
      impl->conclude(whole,
                     impl->failed_.load(std::memory_order_relaxed) ? impl->failure_ : Status::ok());
    };
    engine_->letters().post(&letter);
  }
}

void Communicator::Impl::count_letters(std::span<const Letter> letters) {
  uint64_t messages = 0;
  uint64_t bytes = 0;
  for (const Letter& letter : letters) {
    if (!letter.sends || letter.peer == rank) continue;
    ++messages;
    bytes += letter.bytes();
  }
  count(messages, bytes, 0);
}

Status Communicator::Impl::exchange(std::span<Letter> letters) {
  return exchange(letters, waiting_, nullptr);
}

Status Communicator::Impl::exchange(std::span<Letter> letters, const Limits& limits,
                                    const std::atomic<bool>* cancelled) {
  if (letters.empty()) return Status::ok();
  if (tail_.load(std::memory_order_acquire) == nullptr && driver_.try_lock()) {
    Status status = carry(letters, limits, cancelled);
    release_driver();
    return status;
  }
  Operation* const operation = start(letters);
  Status status = wait(operation);
  for (size_t i = 0; i < letters.size(); ++i) letters[i].peer = operation->letters[i].peer;
  recycle(operation);
  return status;
}

// Posts them and drives until they are done. The driver lock is held.
Status Communicator::Impl::carry(std::span<Letter> letters, const Limits& limits,
                                 const std::atomic<bool>* cancelled) {
  if (failed_.load(std::memory_order_relaxed)) return failure_;
  if (abort_.load(std::memory_order_relaxed)) return give_up(Code::kAborted, kMessages);
  size_t left = letters.size();
  count_letters(letters);
  for (Letter& letter : letters) {
    letter.epoch = static_cast<uint8_t>(sequence_);
    letter.owner = &left;
    letter.done = [](Letter* done) { --*static_cast<size_t*>(done->owner); };
    engine_->letters().post(&letter);
  }
  drive_until([&] { return left == 0 || (cancelled != nullptr && cancelled->load()); }, limits);
  if (left > 0 && !failed_.load(std::memory_order_relaxed)) {
    return give_up(Code::kAborted, "a call that was cancelled");
  }
  return failed_.load(std::memory_order_relaxed) ? failure_ : Status::ok();
}

// Until those that were posted are in the transports' hands: what comes now comes after them.
void Communicator::Impl::issue_letters() {
  drive_until(
      [this] { return !engine_->letters().waiting() || failed_.load(std::memory_order_relaxed); },
      waiting_);
}

// --- waiting -------------------------------------------------------------------------------------

template <class Done>
void Communicator::Impl::drive_until(const Done& done, const Limits& limits) {
  const LastLook last_look{&napping_, [](void* impl) { return static_cast<Impl*>(impl)->step(); },
                           this};
  Patience patience(limits, sleep_fd_, transports_, kForever, &last_look);
  while (!done()) {
    if (abort_.load(std::memory_order_relaxed) && !failed_.load(std::memory_order_relaxed)) {
      (void)give_up(Code::kAborted, under_way());
    } else if (step()) {
      patience.progressed();
    } else {
      (void)patience.idle();
      Clock::time_point now;
      if (patience.timed(&now)) check_deadlines(now);
      if (patience.napped()) woken();
    }
  }
  if (patience.sleeps() > 0) wakeups_.fetch_add(patience.sleeps(), std::memory_order_relaxed);
}

void Communicator::Impl::woken() {
  uint64_t rings = 0;
  if (read(wake_fd_, &rings, sizeof(rings)) < 0) rings = 0;  // it was a transport
  if (running_.plan == nullptr || failed_.load(std::memory_order_relaxed)) return;
  if (engine_->find_strays(running_.bindings.fingerprint) != Code::kOk) {
    (void)fail(engine_->fault(), under_way());
  }
}

void Communicator::Impl::check_deadlines(Clock::time_point now) {
  if (failed_.load(std::memory_order_relaxed)) return;
  bool late = engine_->letters().overdue(now, timeout_);
  if (running_.plan != nullptr) {
    if (running_.give_up_at == Clock::time_point()) running_.give_up_at = now + timeout_;
    late = late || now >= running_.give_up_at;
  }
  if (late) (void)give_up(Code::kTimeout, under_way());
}

std::string Communicator::Impl::under_way() const {
  return running_.plan != nullptr ? describe(running_.plan->key.call, sequence_) : kMessages;
}

// Nothing that was started can go on now.
bool Communicator::Impl::quiet() {
  if (travelling_.load() > 0 || running_.plan != nullptr) return false;
  const Operation* const head = first();
  return head == nullptr || head->gated.load(std::memory_order_acquire);
}

// For what must be done between two looks of a driver, but need not wait for its operation: the
// progress thread stops driving meanwhile.
void Communicator::Impl::take_driver() {
  if (driver_.try_lock()) return;
  sleepers_.fetch_add(1);
  if (napping_.load()) interrupt();
  driver_.lock();
  sleepers_.fetch_sub(1);
}

void Communicator::Impl::release_driver() {
  driver_.unlock();
  if (abort_.load()) heed_abort();
  if (sleepers_.load() > 0) {
    const std::lock_guard lock(mutex_);
    finished_.notify_all();
  }
}

// Until `operation` is done. Operations end by the communicator's deadline, so this does too.
Status Communicator::Impl::wait(Operation* operation) {
  while (!operation->done()) {
    if (driver_.try_lock()) {
      while (!operation->done() && run_first()) {
      }
      drive_until([operation] { return operation->done(); }, waiting_);
      release_driver();
      break;
    }
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    Operation::State expected = Operation::kStarted;
    operation->state.compare_exchange_strong(expected, Operation::kAsked);
    if (napping_.load()) interrupt();
    finished_.wait_for(lock, kLookAgain, [&] { return operation->done() || !driver_.held(); });
    sleepers_.fetch_sub(1);
  }
  return operation->result;
}

// The progress thread, while nobody else wants to drive. False: somebody does.
bool Communicator::Impl::drive_alone() {
  driven_by_thread_ = true;
  while (sleepers_.load() == 0 && run_first()) {
  }
  drive_until([this] { return quiet() || sleepers_.load() > 0; }, waiting_);
  driven_by_thread_ = false;
  return quiet();
}

}  // namespace gossamer
