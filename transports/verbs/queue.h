// A bounded FIFO that never allocates after construction and can be looked into.

#pragma once

#include <array>
#include <cstdint>

namespace gossamer::verbs {

template <class T, uint32_t kCapacity>
class Queue {
 public:
  static_assert((kCapacity & (kCapacity - 1)) == 0);
  bool empty() const { return head_ == tail_; }
  bool full() const { return tail_ - head_ == kCapacity; }
  uint32_t size() const { return tail_ - head_; }
  T& front() { return items_[head_ % kCapacity]; }
  T& operator[](uint32_t i) { return items_[(head_ + i) % kCapacity]; }
  void push(const T& item) { items_[tail_++ % kCapacity] = item; }
  void pop() { ++head_; }
  void clear() { head_ = tail_; }

 private:
  std::array<T, kCapacity> items_{};
  uint32_t head_ = 0;
  uint32_t tail_ = 0;
};

}  // namespace gossamer::verbs
