// What a thread has put off: the calls of its open group, and those that it gives to a stream.
//
// Threads    The thread's own, but for the streams it fills.

#pragma once

#include <span>
#include <vector>

#include "gossamer/group.h"
#include "gossamer/stream.h"
#include "src/communicator_impl.h"

namespace gossamer {

// Whether blocking calls are to be noted instead of carried out. Small, as every call looks at it.
struct Deferral {
  int depth = 0;             // of groups
  Stream* stream = nullptr;  // that is in use

  bool any() const { return depth > 0 || stream != nullptr; }
};
extern constinit thread_local Deferral deferral;

struct CallGroup {
  using Impl = Communicator::Impl;

  // A collective, or some messages.
  struct Noted {
    Impl* impl = nullptr;
    Stream* stream = nullptr;
    PlanKey key;
    const void* input = nullptr;
    void* output = nullptr;
    Reduction reduction;
    size_t letters_first = 0;  // in `letters`
    size_t letters_count = 0;  // 0: it is a collective
    bool is_collective = true;
  };

  std::vector<Noted> calls;
  std::vector<Letter> letters;
  Status refused;  // the first bad call

  // Of this thread.
  static CallGroup& current();
  // A call outside any group, on a stream in use, is a group by itself.
  static Status note(const Noted& call, std::span<const Letter> letters);
  // Passes on why a call was refused, so that the group is too.
  static Status refuse(Status why);

  // Whether the first call is a collective for the caller itself, without messages beside it.
  bool is_plain() const {
    return letters.empty() && calls.front().is_collective && calls.front().stream == nullptr &&
           refused.is_ok();
  }
  Status run();
  Result<GroupEstimate> price() const;
  void clear();

 private:
  struct Batch;
  Status run_one(Impl* impl);
  Status run_several();
  std::vector<Letter> letters_of(const Impl* impl, const Stream* stream) const;
};

}  // namespace gossamer
