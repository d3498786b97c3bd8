// How the ranks of a group that forms tell each other small things: over connections made for that,
// or over a communicator that they already share.
//
// Threads    one thread per object.
// Blocking   all_gather(), until its deadline.

#pragma once

#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

class Exchange {
 public:
  virtual ~Exchange() = default;
  // Every rank's blob, in rank order. May be called several times, in the same order everywhere;
  // the first failure is final.
  virtual Result<std::vector<std::string>> all_gather(const std::string& blob) = 0;
  // Instead of the next all_gather(): this rank has failed, and the others shall hear why.
  virtual void tell(const Status& /*why*/) {}
};

}  // namespace gossamer
