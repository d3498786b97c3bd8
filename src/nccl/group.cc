#include "src/nccl/group.h"

#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "gossamer/group.h"
#include "src/nccl/environment.h"
#include "src/nccl/export.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

constexpr unsigned kSimMagic = 0x74685283;

// One thread's group. `depth` is apart, so that a call outside of groups reads one number.
thread_local int depth = 0;
struct Group {
  ncclResult_t error = ncclSuccess;
  std::vector<Op> ops;
  std::vector<Job> jobs;
  std::optional<bool> blocking;

  // Empties it for the next one.
  Group take() { return std::exchange(*this, Group()); }
};
Group& group() {
  thread_local Group mine;
  return mine;
}

// Every call of a group is on communicators that block, or every one on such that do not.
ncclResult_t join(bool blocking) {
  std::optional<bool>& first = group().blocking;
  if (first.value_or(blocking) != blocking) {
    return refuse(ncclInvalidArgument,
                  "a group has blocking and non-blocking communicators; use one kind per group");
  }
  first = blocking;
  return ncclSuccess;
}

// Jobs of one communicator, in order.
using Sequence = std::vector<Job>;

std::vector<Sequence> by_communicator(std::vector<Job> jobs) {
  std::vector<Sequence> sequences;
  for (Job& job : jobs) {
    Sequence* found = nullptr;
    for (Sequence& sequence : sequences) {
      if (sequence.front().comm == job.comm) found = &sequence;
    }
    if (found == nullptr) found = &sequences.emplace_back();
    found->push_back(std::move(job));
  }
  return sequences;
}

void take_back(const Job& job) {
  if (job.made != nullptr && close_seat(job.comm, job.life)) hand_out(nullptr, job.made);
}

// Runs them and says in the communicator's state what they came to.
ncclResult_t run_sequence(const Sequence& sequence) {
  ncclResult_t result = ncclSuccess;
  for (const Job& job : sequence) {
    if (result == ncclSuccess) result = guarded(job.run);
  }
  const Job& first = sequence.front();
  {
    const Visit visit(first.comm, first.life);
    // Who waits for the call hears of a failure from it; who does not, from the communicator.
    const bool keep = !first.blocking || first.made != nullptr;
    if (visit) end_setup(first.comm, keep ? result : ncclSuccess);
  }
  if (first.blocking && result != ncclSuccess) take_back(first);
  return result;
}

// No thread for sequence `first` and those behind it, nor for the first one, which this thread
// would have run: they fail, and those that run already, which may wait for them, are ended.
ncclResult_t give_up(const std::vector<Sequence>& sequences, size_t first,
                     const std::system_error& error) {
  const ncclResult_t result = refuse(
      ncclSystemError, fmt::format("cannot start {} threads, one per communicator: {}; raise "
                                   "`ulimit -u` or the container's pids limit",
                                   sequences.size(), error.what()));
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Job& job = sequences[i].front();
    {
      const Visit visit(job.comm, job.life);
      if (!visit) continue;
      if (i > 0 && i < first) {
        job.comm->cancelled.store(true);
        continue;
      }
      end_setup(job.comm, result);
    }
    if (job.blocking) take_back(job);
  }
  return result;
}

ncclResult_t run_side_by_side(std::vector<Sequence> sequences) {
  std::vector<ncclResult_t> results(sequences.size(), ncclSuccess);
  std::vector<std::thread> threads;
  threads.reserve(sequences.size());
  try {
    for (size_t i = 1; i < sequences.size(); ++i) {
      threads.emplace_back([&, i] { results[i] = run_sequence(sequences[i]); });
    }
    results[0] = run_sequence(sequences[0]);
  } catch (const std::system_error& error) {
    results[0] = give_up(sequences, threads.size() + 1, error);
  }
  for (std::thread& thread : threads) thread.join();
  for (const ncclResult_t result : results) {
    if (result != ncclSuccess) return result;
  }
  return ncclSuccess;
}

void drop(const Group& ended) {
  for (const Job& job : ended.jobs) take_back(job);
}

ncclResult_t end(Group ended) {
  if (ended.error != ncclSuccess) {
    drop(ended);
    return ended.error;
  }
  if (!ended.jobs.empty() && !ended.ops.empty()) {
    drop(ended);
    return refuse(ncclInvalidUsage,
                  "a group has calls that set up communicators and calls that use them; use two "
                  "groups");
  }
  if (!ended.jobs.empty()) return run_jobs(std::move(ended.jobs));
  return launch(ended.ops);
}

// Takes the calls of the outermost group; null when an inner one ends; refused without one.
ncclResult_t leave(std::optional<Group>* ended) {
  if (depth == 0) {
    return refuse(ncclInvalidUsage, "ncclGroupEnd: there is no ncclGroupStart() to end");
  }
  if (--depth == 0) *ended = group().take();
  return ncclSuccess;
}

// What running the calls would take, by the price model; nothing runs.
ncclResult_t estimate(const Group& ended, float* us) {
  if (ended.error != ncclSuccess) return ended.error;
  if (ended.ops.empty()) return ncclSuccess;
  Status sound = group_start();
  for (const Op& op : ended.ops) {
    const Visit visit(op.comm, op.life);
    Communicator* native = visit ? op.comm->usable.load() : nullptr;
    if (native == nullptr) {
      static_cast<void>(group_simulate_end());
      return diagnose(op.comm, visit, "a call of the group");
    }
    if (sound) sound = issue(op, native);
  }
  const Result<GroupEstimate> priced = group_simulate_end();
  if (!sound) return report(ended.ops[0].comm, sound);
  if (!priced) return report(ended.ops[0].comm, priced.status());
  *us = static_cast<float>(priced->us);
  return ncclSuccess;
}

ncclResult_t simulate_end(ncclSimInfo_t* info) {
  std::optional<Group> ended;
  if (const ncclResult_t left = leave(&ended); left != ncclSuccess || !ended) return left;
  drop(*ended);
  ncclSimInfo_t answer = NCCL_SIM_INFO_INITIALIZER;
  size_t bytes = 0;
  if (info != nullptr) {
    std::memcpy(&bytes, info, sizeof(bytes));
    if (bytes >= offsetof(ncclSimInfo_t, estimatedTime)) {
      std::memcpy(&answer, info, std::min(bytes, sizeof(answer)));
    }
    if (bytes < offsetof(ncclSimInfo_t, estimatedTime) || answer.magic != kSimMagic) {
      return refuse(ncclInvalidArgument,
                    "the simulation info was not initialised; start from "
                    "NCCL_SIM_INFO_INITIALIZER");
    }
  }
  const ncclResult_t result = estimate(*ended, &answer.estimatedTime);
  if (info != nullptr && result == ncclSuccess) {
    std::memcpy(info, &answer, std::min(bytes, sizeof(answer)));
  }
  return result;
}

}  // namespace

bool in_group() {
  return depth > 0;
}

ncclResult_t run_jobs(std::vector<Job> jobs) {
  const bool blocking = jobs.front().blocking;
  std::vector<Sequence> sequences = by_communicator(std::move(jobs));
  for (const Sequence& sequence : sequences) {
    const Visit visit(sequence.front().comm, sequence.front().life);
    if (visit) begin_setup(sequence.front().comm);
  }
  if (blocking) return run_side_by_side(std::move(sequences));
  size_t begun = 0;
  try {
    for (; begun < sequences.size(); ++begun) {
      std::thread([sequence = sequences[begun]] { run_sequence(sequence); }).detach();
    }
  } catch (const std::system_error& error) {
    // Those before `begun` run; the others fail.
    std::vector<Sequence> rest(sequences.begin() + static_cast<std::ptrdiff_t>(begun),
                               sequences.end());
    return give_up(rest, 0, error);
  }
  return ncclInProgress;
}

ncclResult_t note(ncclResult_t result) {
  if (depth > 0 && result != ncclSuccess && result != ncclInProgress &&
      group().error == ncclSuccess) {
    group().error = result;
  }
  return result;
}

ncclResult_t submit(const Op& op) {
  if (depth == 0) return launch({&op, 1});
  const ncclResult_t joined = join(op.comm->config.blocking);
  if (joined == ncclSuccess) group().ops.push_back(op);
  return note(joined);
}

ncclResult_t submit(Job job) {
  if (depth == 0) {
    std::vector<Job> jobs;
    jobs.push_back(std::move(job));
    return run_jobs(std::move(jobs));
  }
  const ncclResult_t joined = join(job.blocking);
  if (joined == ncclSuccess) {
    group().jobs.push_back(std::move(job));
  } else {
    take_back(job);
  }
  return note(joined);
}

}  // namespace gossamer::nccl

using gossamer::nccl::guarded;

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGroupStart) {
  return guarded([] {
    gossamer::nccl::start_once();
    ++gossamer::nccl::depth;
    return ncclSuccess;
  });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGroupEnd) {
  return guarded([] {
    std::optional<gossamer::nccl::Group> ended;
    const ncclResult_t left = gossamer::nccl::leave(&ended);
    return left != ncclSuccess || !ended ? left : gossamer::nccl::end(*std::move(ended));
  });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGroupSimulateEnd, ncclSimInfo_t* simInfo) {
  return guarded([&] { return gossamer::nccl::simulate_end(simInfo); });
}
