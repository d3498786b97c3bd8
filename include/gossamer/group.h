// Groups: calls that are made one after another and carried out together.
//
//   gossamer::group_start();
//   for (Rank r = 0; r < comm.size(); ++r) {
//     comm.send(out + r * n, n, DataType::kFloat32, r);
//     comm.recv(in + r * n, n, DataType::kFloat32, r);
//   }
//   gossamer::Status all = gossamer::group_end();
//
// Between group_start() and group_end() every blocking call of this thread, on any communicator, is
// noted and returns ok once its arguments have been checked. The outermost group_end() carries them
// out and returns when all are complete, or, for those that were given a stream
// (gossamer/stream.h), as soon as they stand in it.
//
//   Order     per communicator: its collectives in the order of the calls, then all its messages at
//             once, so that no pattern of sends and receives can deadlock. All communicators go on
//             together: one thread may make the calls of several communicators, and those of
//             several ranks of one.
//   Errors    bad arguments are told by the call itself; then group_end() tells them again, and
//             carries out nothing. Otherwise it returns the failure of the first call that failed.
//   Threads   a group is its thread's own; others are not affected.
//   Ownership buffers are lent until group_end() returns. Communicators stay until then.
//   Not in it calls named start_..., plan_..., recv_any(), and those that make communicators: they
//             do at once what they do elsewhere.

#pragma once

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

// Opens a group, or one within the group that is open. Always ok.
GOSSAMER_API Status group_start();

// Closes it; the outermost one carries out what was noted.
//   kInvalidArgument  no group is open; a call in it was given bad arguments
//   otherwise         as for the calls themselves
GOSSAMER_API Status group_end();

struct GroupEstimate {
  double us = 0;
};
// Instead of group_end(): closes the group, carries out nothing, and tells how long it would have
// taken by the price model.
//   kInvalidArgument  as for group_end()
GOSSAMER_API Result<GroupEstimate> group_simulate_end();

// How many groups of this thread are open, one within another.
GOSSAMER_API int group_depth();

}  // namespace gossamer
