// What the drivers of all peers share: flags, cells, data, timing and output. A driver brings two
// functions, and its results come from the same code as Gossamer's own.

#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

struct Peer {
  std::string name;
  int rank = 0;
  int size = 1;
  // Runs one: a float32 sum where it reduces, else bytes; in place where it is an all-reduce or a
  // broadcast, else not. Counts and buffers are as Gossamer's.
  std::function<void(const CollectiveCall&)> run;
  // Before a cell is timed: for libraries that prepare an operation once. May be empty.
  std::function<void(const CollectiveCall&)> prepare;
  std::vector<Collective> lacks;  // what the library does not have
  // Lets the library move data outside its own calls.
  std::function<void()> progress;
};

// --name value pairs.
class PeerFlags {
 public:
  PeerFlags(int argc, char** argv);
  std::string get(const std::string& name, const std::string& fallback = "") const;

 private:
  std::map<std::string, std::string> values_;
};

// Flags: --board FILE (empty or absent before the first rank opens it), --sizes 8,1K,...,
// --ops all_reduce,broadcast,..., --seconds S. Rank 0 prints CSV. Returns the exit code.
int run_peer(const Peer& peer, const PeerFlags& flags);

}  // namespace gossamer
