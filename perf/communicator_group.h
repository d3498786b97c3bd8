// The measured ranks, met through their own communicator: a Board when all can map one, else each
// rank's own clock and the library's collectives.

#pragma once

#include <memory>

#include "gossamer/communicator.h"
#include "perf/measure.h"

namespace gossamer {

// Where the ranks are, seen from this one.
struct Whereabouts {
  std::string host;
  int cores = 1;  // of this host, that any of its ranks may run on
  int hosts = 1;
  bool shared_clock = false;  // timed through a Board
};

// All ranks call it. *where, when given, is filled in.
Result<std::unique_ptr<Group>> meet(Communicator& communicator, Whereabouts* where);

}  // namespace gossamer
