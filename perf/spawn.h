// Starts N local processes of this program as the ranks of one group and waits for them.
//
// Blocking   spawn_ranks() until all have ended, or the deadline.
// Threads    Call it while the process has a single thread: it forks.

#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

struct Spawn {
  int ranks = 2;
  bool bind = false;                       // each to a core of its own, if there are enough
  std::vector<std::string> arguments;      // argv, beginning with the program's own path
  std::chrono::milliseconds deadline{0};   // for the whole run; 0: none
  std::chrono::milliseconds grace{3'000};  // for the others after the first has failed
};

// Runs them with GOSSAMER_RANK, GOSSAMER_SIZE and a rendezvous of their own. SIGINT, SIGTERM and
// SIGHUP are passed on. When one fails, the others get `grace` to end by themselves, then SIGTERM,
// then SIGKILL. Returns 0, or the exit code of the first that failed (128 + signal).
//   kSystem  could not start them
Result<int> spawn_ranks(const Spawn& spawn);
// The same with what the user typed, for a command that no launcher has started; complains itself.
int spawn_command(int ranks, bool bind = false);

// This program's file and what the user typed after its name, word for word.
std::vector<std::string> own_command_line();

}  // namespace gossamer
