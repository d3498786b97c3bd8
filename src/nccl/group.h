// Groups: what a thread calls between ncclGroupStart() and the outermost ncclGroupEnd().
//
//   Nothing starts before the outermost end. Set-up calls run side by side then, each on a thread
//   of its own where a communicator's calls stay in order; operations start together. Both in one
//   group, or communicators that block and others that do not, are refused. The first error is what
//   the end returns, and nothing of the group is started.
//
// Threads    A group belongs to one thread.

#pragma once

#include <functional>
#include <vector>

#include "nccl/nccl.h"
#include "src/nccl/op.h"

namespace gossamer::nccl {

// A set-up call.
struct Job {
  ncclComm_t comm = nullptr;  // whose state says ncclInProgress meanwhile
  uint64_t life = 0;
  bool blocking = true;
  // Where the user's handle of `comm` is, when the call makes `comm`: it is taken back if a
  // blocking call fails, so that there is nothing to destroy.
  ncclComm_t* made = nullptr;
  std::function<ncclResult_t()> run;
};

bool in_group();
// Begins a call: in a group it waits there, else at once.
ncclResult_t submit(const Op& op);
ncclResult_t submit(Job job);
// Runs set-up calls side by side, whatever group is open.
ncclResult_t run_jobs(std::vector<Job> jobs);
// The first error of a group's call is kept for its end; returns `result`.
ncclResult_t note(ncclResult_t result);

}  // namespace gossamer::nccl
