// Several messages of one step, waited for together.

#pragma once

#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

// Waits for all of them, also after one has failed; returns the first failure. None is left: a Work
// may not outlive its communicator.
inline Status wait_all(std::vector<Work>* works) {
  Status all;
  for (Work& work : *works) {
    Status done = work.wait();
    if (all && !done) all = std::move(done);
  }
  works->clear();
  return all;
}

}  // namespace gossamer
