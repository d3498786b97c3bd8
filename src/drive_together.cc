// Driving operations of several communicators from one thread: none waits for another.

#include <poll.h>
#include <sched.h>

#include <algorithm>

#include "src/communicator_impl.h"
#include "src/price_messages.h"

namespace gossamer {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kNapMax{100};
// Somebody else drives one of them, whose end no descriptor tells.
constexpr milliseconds kNapBesideOthers{1};
constexpr uint32_t kYieldsPerClock = 16;

}  // namespace

// The communicators of some operations, each driven whenever nobody else does.
class Communicator::Impl::Together {
 public:
  explicit Together(std::span<Operation* const> operations) : operations_(operations) {
    for (const Operation* operation : operations) {
      Impl* const owner = operation->owner;
      if (std::find(owners_.begin(), owners_.end(), owner) != owners_.end()) continue;
      owners_.push_back(owner);
      spins_ = std::min(spins_, owner->waiting_.spins);
      awake_ = std::min(awake_, owner->waiting_.awake);
    }
  }

  void run() {
    while (!done()) {
      if (look()) {
        fruitless_ = 0;
      } else if (++fruitless_ >= spins_) {
        idle();
      }
    }
  }

 private:
  bool done() {
    while (next_ < operations_.size() && operations_[next_]->done()) ++next_;
    return next_ == operations_.size();
  }

  bool look() {
    bool moved = false;
    for (Impl* const owner : owners_) {
      if (!owner->driver_.try_lock()) continue;
      moved = owner->step_or_abort() || moved;
      owner->release_driver();
    }
    return moved;
  }

  void idle() {
    sched_yield();
    if (++yields_ % kYieldsPerClock != 0) return;
    const auto now = Clock::now();
    if (fruitless_ <= spins_ + kYieldsPerClock) idle_since_ = now;
    if (now - idle_since_ >= awake_) {
      nap(now);
      return;
    }
    for (Impl* const owner : owners_) {
      if (!owner->driver_.try_lock()) continue;
      owner->check_deadlines(now);
      owner->release_driver();
    }
  }

  // Holds all that nobody else drives, so that whoever wants to drive one of them rings.
  void nap(Clock::time_point now) {
    std::vector<Impl*> held;
    std::vector<pollfd> fds;
    bool moved = false;
    for (Impl* const owner : owners_) {
      if (!owner->driver_.try_lock()) continue;
      held.push_back(owner);
      fds.push_back({owner->sleep_fd_, POLLIN, 0});
      owner->check_deadlines(now);
      owner->napping_.store(true);
      moved = owner->step_or_abort() || moved;
    }
    for (const Impl* const owner : held) {
      for (const auto& transport : owner->transports_) moved = moved || !transport->arm();
    }
    if (!moved && !done()) {
      const auto longest = held.size() == owners_.size() ? kNapMax : kNapBesideOthers;
      ::poll(fds.data(), fds.size(), static_cast<int>(longest.count()));
    }
    yields_ = kYieldsPerClock - 1;  // look at the clock next
    for (Impl* const owner : held) {
      owner->napping_.store(false);
      owner->wakeups_.fetch_add(1, std::memory_order_relaxed);
      owner->woken();
      owner->release_driver();
    }
  }

  std::span<Operation* const> operations_;
  std::vector<Impl*> owners_;
  size_t next_ = 0;  // those before are done
  uint32_t spins_ = UINT32_MAX;
  microseconds awake_{1'000'000};
  uint32_t fruitless_ = 0;
  uint32_t yields_ = 0;
  Clock::time_point idle_since_{};
};

bool Communicator::Impl::step_or_abort() {
  if (abort_.load(std::memory_order_relaxed) && !failed_.load(std::memory_order_relaxed)) {
    (void)give_up(Code::kAborted, under_way());
    return true;
  }
  return step();
}

Status Communicator::Impl::drive_together(std::span<Operation* const> operations) {
  if (operations.size() == 1) return operations.front()->owner->wait(operations.front());
  Together(operations).run();
  for (const Operation* operation : operations) {
    if (!operation->result) return operation->result;
  }
  return Status::ok();
}

// --- streams -------------------------------------------------------------------------------------

void Communicator::Impl::entered_stream() {
  const std::lock_guard lock(mutex_);
  ++streamed_;
}

void Communicator::Impl::left_stream() {
  const std::lock_guard lock(mutex_);
  --streamed_;
  finished_.notify_all();
}

void Communicator::Impl::open_gate(Operation* operation) {
  operation->gated.store(false);
  if (napping_.load()) interrupt();
}

// --- pricing -------------------------------------------------------------------------------------

double Communicator::Impl::price(std::vector<PricedMessage> messages) const {
  std::vector<Rank> position_of(order_.size());
  for (size_t p = 0; p < order_.size(); ++p) {
    position_of[static_cast<size_t>(order_[p])] = static_cast<Rank>(p);
  }
  for (PricedMessage& message : messages) {
    message.peer = position_of[static_cast<size_t>(message.peer)];
  }
  return messages.empty() ? 0 : price_messages(machine_, position_, messages);
}

}  // namespace gossamer
