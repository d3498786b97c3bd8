// A stream's inside: items in their order, and the thread that works them off.
//
// Threads    Any, but for serve(), the stream's own.

#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "gossamer/stream.h"
#include "src/communicator_impl.h"

namespace gossamer {

class Stream::Impl {
 public:
  const int process = getpid();

  ~Impl();
  // Operations that are queued with their communicators, gated: this opens them when it is their
  // turn. They go on together.
  void append(std::vector<Operation*> operations);
  void append(std::function<void()> function);
  Status synchronize();
  bool query() const;

 private:
  struct Item {
    std::vector<Operation*> operations;
    std::function<void()> function;
  };
  void append(Item item);
  void serve();
  static Status work_off(const Item& item);

  // guarded by mutex_
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable emptied_;
  std::deque<Item> items_;  // the first is being worked off
  uint64_t appended_ = 0;
  uint64_t finished_ = 0;
  Status failure_;
  bool leaving_ = false;
  std::thread thread_;
};

}  // namespace gossamer
