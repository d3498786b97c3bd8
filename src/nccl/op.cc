#include "src/nccl/op.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "gossamer/group.h"
#include "src/nccl/result.h"
#include "src/nccl/scalar.h"
#include "src/nccl/seat.h"
#include "src/nccl/stream.h"

namespace gossamer::nccl {
namespace {

// The turn a bundle of calls has on each of its communicators.
struct Turn {
  ncclComm_t comm;
  uint64_t life;
  uint64_t number;
};

// Calls that start together, and the streams that must come to them first.
struct Bundle {
  std::vector<Op> ops;
  std::vector<Turn> turns;
  std::vector<cudaStream_t> streams;  // each once; those that run at once are not here
  std::mutex mutex;
  std::condition_variable changed;
  size_t arrived = 0;  // guarded by mutex
  bool done = false;   // guarded by mutex
};

std::vector<Turn> take_turns(std::span<const Op> ops) {
  std::vector<Turn> turns;
  for (const Op& op : ops) {
    const bool known = std::any_of(turns.begin(), turns.end(),
                                   [&](const Turn& turn) { return turn.comm == op.comm; });
    if (known) continue;
    const Visit visit(op.comm, op.life);
    if (visit) turns.push_back({op.comm, op.life, op.comm->issued.fetch_add(1)});
  }
  return turns;
}

// Runs the calls when it is their turn.
ncclResult_t run_in_turn(const Bundle& bundle) {
  // A turn that was taken is given back whatever happens, or those behind it would wait for ever.
  for (const Turn& turn : bundle.turns) {
    const Visit visit(turn.comm, turn.life);
    if (visit) await_turn(turn.comm, turn.number);
  }
  const ncclResult_t result = run_now(bundle.ops);
  for (const Turn& turn : bundle.turns) {
    const Visit visit(turn.comm, turn.life);
    if (!visit) continue;
    ncclResult_t none = ncclSuccess;
    if (result != ncclSuccess) turn.comm->failed.compare_exchange_strong(none, result);
    finish_turn(turn.comm);
  }
  return result;
}

void arrive(Bundle* bundle) {
  const std::lock_guard lock(bundle->mutex);
  ++bundle->arrived;
  bundle->changed.notify_all();
}

void await_arrivals(Bundle* bundle, size_t count) {
  std::unique_lock lock(bundle->mutex);
  bundle->changed.wait(lock, [&] { return bundle->arrived == count; });
}

void finish(Bundle* bundle) {
  const std::lock_guard lock(bundle->mutex);
  bundle->done = true;
  bundle->changed.notify_all();
}

void await_end(Bundle* bundle) {
  std::unique_lock lock(bundle->mutex);
  bundle->changed.wait(lock, [&] { return bundle->done; });
}

// Runs on the last of the bundle's streams, or on the caller's thread; the others stand still until
// it is done.
ncclResult_t run_when_all_have_come(Bundle* bundle, size_t others) {
  await_arrivals(bundle, others);
  const ncclResult_t result = run_in_turn(*bundle);
  finish(bundle);
  return result;
}

ncclResult_t launch_on_streams(std::span<const Op> ops) {
  // Bundles take their turns and their places on several streams in one order.
  static auto* const kOrder = new std::mutex;
  auto bundle = std::make_shared<Bundle>();
  bundle->ops.assign(ops.begin(), ops.end());
  bool at_once = false;
  for (const Op& op : ops) {
    at_once = at_once || runs_at_once(op.stream);
    if (!runs_at_once(op.stream) && std::find(bundle->streams.begin(), bundle->streams.end(),
                                              op.stream) == bundle->streams.end()) {
      bundle->streams.push_back(op.stream);
    }
  }
  const size_t others = bundle->streams.size() - (at_once ? 0 : 1);
  cudaStream_t refused = nullptr;
  {
    const std::lock_guard lock(*kOrder);
    bundle->turns = take_turns(ops);
    for (size_t i = 0; i < bundle->streams.size() && refused == nullptr; ++i) {
      const bool waits = i < others;
      const bool placed = run_on(bundle->streams[i], [bundle, waits, others] {
        if (waits) {
          arrive(bundle.get());
          await_end(bundle.get());
        } else {
          guarded([&] { return run_when_all_have_come(bundle.get(), others); });
        }
      });
      if (!placed) refused = bundle->streams[i];
    }
  }
  if (refused != nullptr) {  // let those go that were placed before it
    finish(bundle.get());
    for (const Turn& turn : bundle->turns) {
      const Visit visit(turn.comm, turn.life);
      if (!visit) continue;
      await_turn(turn.comm, turn.number);
      finish_turn(turn.comm);
    }
    return refuse(ncclInvalidArgument, why_no_stream(refused));
  }
  return at_once ? run_when_all_have_come(bundle.get(), others) : ncclSuccess;
}

}  // namespace

Status issue(const Op& op, Communicator* native) {
  const CollectiveCall& call = op.call;
  switch (op.kind) {
    case OpKind::kSend:
      return native->send(call.input, call.count, call.type, call.root);
    case OpKind::kRecv:
      return native->recv(call.output, call.count, call.type, call.root);
    case OpKind::kCollective:
      break;
  }
  if (op.factor == nullptr) return native->run(call);
  CollectiveCall scaled = call;
  Result<double> factor = read_factor(op.factor, call.type);
  if (!factor) return factor.status();
  scaled.reduction = Reduction::pre_mul_sum(*factor);
  return native->run(scaled);
}

ncclResult_t run_now(std::span<const Op> ops) {
  std::deque<Visit> visits;
  std::vector<Communicator*> natives;
  for (const Op& op : ops) {
    visits.emplace_back(op.comm, op.life);
    // Whether it may be called was asked when it was: it may be finalized or split by now.
    const bool sound = visits.back() && !is_foreign(op.comm) && !op.comm->revoked.load();
    Communicator* native = sound ? op.comm->native.load() : nullptr;
    if (native == nullptr) return diagnose(op.comm, visits.back(), "a call made earlier");
    natives.push_back(native);
  }
  if (ops.size() == 1) return report(ops[0].comm, issue(ops[0], natives[0]));
  Status first = group_start();
  ncclComm_t at_fault = ops[0].comm;
  for (size_t i = 0; i < ops.size() && first; ++i) {
    first = issue(ops[i], natives[i]);
    if (!first) at_fault = ops[i].comm;
  }
  const Status ended = group_end();
  return report(at_fault, first ? ended : first);
}

ncclResult_t launch(std::span<const Op> ops) {
  if (ops.empty()) return ncclSuccess;
  const bool free = std::all_of(ops.begin(), ops.end(), [](const Op& op) {
    const Visit visit(op.comm, op.life);
    return runs_at_once(op.stream) &&
           (!visit || op.comm->issued.load(std::memory_order_relaxed) == op.comm->finished.load());
  });
  return free ? run_now(ops) : launch_on_streams(ops);
}

}  // namespace gossamer::nccl
