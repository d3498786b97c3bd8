#include "src/group.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "src/price_messages.h"
#include "src/stream_impl.h"

namespace gossamer {

constinit thread_local Deferral deferral;

namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// A call takes its place with its communicator and with its stream at once: were it first in one
// and second in the other, two streams could wait for each other.
std::mutex& places() {
  static std::mutex mutex;
  return mutex;
}

Status unopened() {
  return invalid("no group is open on this thread; group_start() opens one");
}

// Closes one level. True: it was the outermost, and `*closed` is what it holds.
bool close(CallGroup* closed) {
  if (--deferral.depth > 0) return false;
  std::swap(*closed, CallGroup::current());
  return true;
}

// The memory of the last group is used again.
void give_back(CallGroup* closed) {
  closed->clear();
  std::swap(*closed, CallGroup::current());
}

}  // namespace

// --- the public face -----------------------------------------------------------------------------

Status group_start() {
  ++deferral.depth;
  return Status::ok();
}

Status group_end() {
  if (deferral.depth == 0) return unopened();
  // One collective around which somebody put a group by habit costs next to nothing more.
  CallGroup& current = CallGroup::current();
  if (deferral.depth == 1 && current.calls.size() == 1 && current.is_plain()) {
    deferral.depth = 0;
    const CallGroup::Noted call = current.calls.front();
    current.calls.clear();
    return call.impl->run_now(call.key, call.input, call.output, call.reduction);
  }
  CallGroup closed;
  if (!close(&closed)) return Status::ok();
  Status status = closed.refused ? closed.run() : closed.refused;
  give_back(&closed);
  return status;
}

Result<GroupEstimate> group_simulate_end() {
  if (deferral.depth == 0) return unopened();
  CallGroup closed;
  if (!close(&closed)) return GroupEstimate();
  Result<GroupEstimate> estimate =
      closed.refused ? closed.price() : Result<GroupEstimate>(closed.refused);
  give_back(&closed);
  return estimate;
}

int group_depth() {
  return deferral.depth;
}

// --- noting --------------------------------------------------------------------------------------

CallGroup& CallGroup::current() {
  static thread_local CallGroup group;
  return group;
}

void CallGroup::clear() {
  calls.clear();
  letters.clear();
  refused = Status::ok();
}

Status CallGroup::note(const Noted& call, std::span<const Letter> letters) {
  CallGroup& group = current();
  group.calls.push_back(call);
  Noted& noted = group.calls.back();
  noted.stream = deferral.stream;
  noted.letters_first = group.letters.size();
  noted.letters_count = letters.size();
  group.letters.insert(group.letters.end(), letters.begin(), letters.end());
  if (deferral.depth > 0) return Status::ok();
  deferral.depth = 1;
  return group_end();
}

Status CallGroup::refuse(Status why) {
  if (deferral.depth > 0 && current().refused) current().refused = why;
  return why;
}

// --- carrying out --------------------------------------------------------------------------------

Status CallGroup::run() {
  if (calls.empty()) return Status::ok();
  Impl* const impl = calls.front().impl;
  const bool simple = std::all_of(calls.begin(), calls.end(), [&](const Noted& call) {
    return call.impl == impl && call.stream == nullptr;
  });
  return simple ? run_one(impl) : run_several();
}

Status CallGroup::run_one(Impl* impl) {
  Status first;
  for (const Noted& call : calls) {
    if (!call.is_collective) continue;
    const Status status = impl->run_now(call.key, call.input, call.output, call.reduction);
    if (first) first = status;
  }
  const Status status = impl->exchange(letters);
  return first ? status : first;
}

// Of several communicators, or in streams: every call takes its place, then all are driven.
Status CallGroup::run_several() {
  std::vector<Operation*> all;
  std::vector<Stream*> streams;  // of each
  std::unique_lock lock(places());
  for (const Noted& call : calls) {
    if (!call.is_collective) continue;
    Operation* const operation =
        call.impl->prepare(call.key, call.input, call.output, call.reduction);
    operation->gated.store(call.stream != nullptr, std::memory_order_relaxed);
    all.push_back(operation);
    streams.push_back(call.stream);
    call.impl->enqueue(operation);
  }
  for (const Noted& call : calls) {
    if (call.is_collective || call.impl == nullptr) continue;
    const std::vector<Letter> together = letters_of(call.impl, call.stream);
    const Noted done = call;
    for (Noted& other : calls) {
      if (!other.is_collective && other.impl == done.impl && other.stream == done.stream) {
        other.impl = nullptr;
      }
    }
    if (together.empty()) continue;
    Operation* const operation = done.impl->prepare(together);
    operation->gated.store(done.stream != nullptr, std::memory_order_relaxed);
    all.push_back(operation);
    streams.push_back(done.stream);
    done.impl->enqueue(operation);
  }
  std::vector<Operation*> mine;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i] == nullptr) continue;
    std::vector<Operation*> same;
    for (size_t j = all.size(); j-- > i;) {
      if (all[j] == nullptr || streams[j] != streams[i]) continue;
      same.insert(same.begin(), std::exchange(all[j], nullptr));
    }
    if (streams[i] == nullptr) {
      mine = std::move(same);
      continue;
    }
    for (Operation* operation : same) operation->owner->entered_stream();
    streams[i]->impl_->append(std::move(same));
  }
  lock.unlock();
  Status first = Impl::drive_together(mine);
  for (Operation* operation : mine) operation->owner->recycle(operation);
  return first;
}

std::vector<Letter> CallGroup::letters_of(const Impl* impl, const Stream* stream) const {
  std::vector<Letter> together;
  for (const Noted& call : calls) {
    if (call.is_collective || call.impl != impl || call.stream != stream) continue;
    const auto first = letters.begin() + static_cast<ptrdiff_t>(call.letters_first);
    together.insert(together.end(), first, first + static_cast<ptrdiff_t>(call.letters_count));
  }
  return together;
}

// One thread drives all of it, so communicators add up.
Result<GroupEstimate> CallGroup::price() const {
  GroupEstimate estimate;
  std::vector<Impl*> impls;
  for (const Noted& call : calls) {
    if (std::find(impls.begin(), impls.end(), call.impl) == impls.end()) {
      impls.push_back(call.impl);
    }
    if (!call.is_collective) continue;
    const Result<Communicator::Choice> choice = call.impl->explain(call.key);
    if (!choice) return choice.status();
    estimate.us += choice->predicted_us;
  }
  for (Impl* impl : impls) {
    std::vector<PricedMessage> messages;
    for (const Noted& call : calls) {
      if (call.is_collective || call.impl != impl) continue;
      for (size_t i = 0; i < call.letters_count; ++i) {
        const Letter& letter = letters[call.letters_first + i];
        messages.push_back({letter.peer, letter.sends, letter.bytes()});
      }
    }
    estimate.us += impl->price(messages);
  }
  return estimate;
}

}  // namespace gossamer
