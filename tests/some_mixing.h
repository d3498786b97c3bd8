// Matrices for tests that go through all algorithms: some of them need one.
//
// Threads    Any. What is returned lives as long as the process.

#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "gossamer/gossip.h"

namespace gossamer {

// Of graphs that differ: directed and not, one source and several, uneven.
inline std::vector<std::shared_ptr<const Mixing>> some_mixings(Rank size) {
  std::vector<std::shared_ptr<const Mixing>> all;
  for (const char* name : {"ring", "star", "one_peer_exponential", "static_exponential"}) {
    all.push_back(make_graph(name, size).value()->mixing(0));
  }
  return all;
}

// One, where the collective has a graph; else null.
inline const Mixing* mixing_for(Collective collective, Rank size) {
  if (!has_graph(collective)) return nullptr;
  static std::mutex mutex;
  static std::map<Rank, std::shared_ptr<const Mixing>> made;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const Mixing>& mixing = made[size];
  if (!mixing) mixing = make_graph("static_exponential", size).value()->mixing(0);
  return mixing.get();
}

}  // namespace gossamer
