// Every peer graph: one file here, one line in this list.

#pragma once

#include "gossip/graph.h"

// clang-format off
#define GOSSAMER_GRAPHS(ENTRY)  \
  ENTRY(ring)                   \
  ENTRY(torus)                  \
  ENTRY(hypercube)              \
  ENTRY(static_exponential)     \
  ENTRY(one_peer_exponential)   \
  ENTRY(base)                   \
  ENTRY(equi_dyn)               \
  ENTRY(random_matching)        \
  ENTRY(random_regular)         \
  ENTRY(rotating)               \
  ENTRY(epidemic)               \
  ENTRY(star)                   \
  ENTRY(complete)               \
  ENTRY(chain)                  \
  ENTRY(hierarchical)           \
  ENTRY(edges)
// clang-format on

namespace gossamer {
#define GOSSAMER_DECLARE(name) extern const GraphFactory name##_graph;
GOSSAMER_GRAPHS(GOSSAMER_DECLARE)
#undef GOSSAMER_DECLARE
}  // namespace gossamer
