// The names of the graphs that this process has made, so that an error about two of them can name
// both: messages carry only a few bits of a graph's identity.
//
// Threads    Any.
// Bounds     The last kGraphNamesMax.

#pragma once

#include <cstdint>
#include <string>

namespace gossamer {

inline constexpr size_t kGraphNamesMax = 256;
inline constexpr int kGraphTagBits = 12;

// What a message carries of an identity.
inline uint32_t graph_tag(uint64_t identity) {
  return static_cast<uint32_t>(identity >> (64 - kGraphTagBits));
}

void remember_graph(uint64_t identity, const std::string& name);
// "graph base:k=2", of the youngest with this tag; "a graph that this process has not made".
std::string describe_graph(uint32_t tag);

}  // namespace gossamer
