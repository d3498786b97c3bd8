// What the drivers of all peers share: flags, cells, data, timing and output. A driver brings two
// functions, and its results come from the same code as Gossamer's own.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace gossamer {

struct Peer {
  std::string name;
  int rank = 0;
  int size = 1;
  // float32 sum in place, `count` elements.
  std::function<void(float* values, size_t count)> all_reduce;
  // Out of place, `bytes` from each rank.
  std::function<void(const void* input, void* output, size_t bytes)> all_gather;
  // Before a cell is timed: for libraries that prepare an operation once.
  std::function<void(float* values, size_t count)> prepare_all_reduce;
  std::function<void(const void* input, void* output, size_t bytes)> prepare_all_gather;
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
// --ops all_reduce,all_gather, --seconds S. Rank 0 prints CSV. Returns the exit code.
int run_peer(const Peer& peer, const PeerFlags& flags);

}  // namespace gossamer
