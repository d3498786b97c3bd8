#include "gossamer/stream.h"

#include <unistd.h>

#include <utility>

#include "src/group.h"
#include "src/stream_impl.h"

namespace gossamer {

Stream::Stream() : impl_(std::make_unique<Impl>()) {}
Stream::~Stream() {
  // A forked child has none of its threads, and what they wait at cannot be destroyed.
  if (impl_->process != getpid()) (void)impl_.release();
}
Status Stream::synchronize() {
  return impl_->synchronize();
}
bool Stream::query() const {
  return impl_->query();
}
void Stream::call(std::function<void()> function) {
  impl_->append(std::move(function));
}

Stream::Use::Use(Stream* stream) : before_(std::exchange(deferral.stream, stream)) {}
Stream::Use::~Use() {
  deferral.stream = before_;
}

Stream::Impl::~Impl() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    arrived_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Stream::Impl::append(std::vector<Operation*> operations) {
  append(Item{std::move(operations), nullptr});
}

void Stream::Impl::append(std::function<void()> function) {
  append(Item{{}, std::move(function)});
}

void Stream::Impl::append(Item item) {
  const std::lock_guard lock(mutex_);
  items_.push_back(std::move(item));
  ++appended_;
  if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
  arrived_.notify_one();
}

Status Stream::Impl::synchronize() {
  std::unique_lock lock(mutex_);
  const uint64_t mine = appended_;
  emptied_.wait(lock, [&] { return finished_ >= mine; });
  return std::exchange(failure_, Status::ok());
}

bool Stream::Impl::query() const {
  const std::lock_guard lock(mutex_);
  return finished_ == appended_;
}

// The stream's thread.
void Stream::Impl::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    arrived_.wait(lock, [this] { return leaving_ || !items_.empty(); });
    if (items_.empty()) return;
    const Item item = std::move(items_.front());
    lock.unlock();
    const Status result = work_off(item);
    lock.lock();
    items_.pop_front();
    ++finished_;
    if (!result && failure_) failure_ = result;
    emptied_.notify_all();
  }
}

Status Stream::Impl::work_off(const Item& item) {
  if (item.function) {
    item.function();
    return Status::ok();
  }
  for (Operation* operation : item.operations) operation->owner->open_gate(operation);
  Status first = Communicator::Impl::drive_together(item.operations);
  for (Operation* operation : item.operations) {
    Communicator::Impl* const owner = operation->owner;
    owner->recycle(operation);
    owner->left_stream();
  }
  return first;
}

}  // namespace gossamer
