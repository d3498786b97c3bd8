// Every algorithm: one file here, one line in this list.

#pragma once

#include "gossamer/schedule.h"

// clang-format off
#define GOSSAMER_ALGORITHMS(ENTRY)    \
  ENTRY(one_shot)                     \
  ENTRY(two_shot)                     \
  ENTRY(recursive_doubling)           \
  ENTRY(reversed_bruck)               \
  ENTRY(ring)                         \
  ENTRY(double_tree)                  \
  ENTRY(hierarchical)                 \
  ENTRY(coded_two_shot)               \
  ENTRY(coded_one_shot)               \
  ENTRY(coded_ring)                   \
  ENTRY(coded_hierarchical)           \
  ENTRY(coded_split)                  \
  ENTRY(coded_sum)                    \
  ENTRY(direct_all_gather)            \
  ENTRY(bruck_all_gather)             \
  ENTRY(ring_all_gather)              \
  ENTRY(hierarchical_all_gather)      \
  ENTRY(coded_all_gather)             \
  ENTRY(coded_ring_all_gather)        \
  ENTRY(direct_broadcast)             \
  ENTRY(binomial_broadcast)           \
  ENTRY(knomial4_broadcast)           \
  ENTRY(knomial8_broadcast)           \
  ENTRY(scatter_broadcast)            \
  ENTRY(chain_broadcast)              \
  ENTRY(double_tree_broadcast)        \
  ENTRY(hierarchical_broadcast)       \
  ENTRY(coded_binomial_broadcast)     \
  ENTRY(coded_chain_broadcast)        \
  ENTRY(coded_scatter_broadcast)      \
  ENTRY(coded_hierarchical_broadcast) \
  ENTRY(direct_reduce)                \
  ENTRY(binomial_reduce)              \
  ENTRY(knomial4_reduce)              \
  ENTRY(knomial8_reduce)              \
  ENTRY(two_shot_reduce)              \
  ENTRY(chain_reduce)                 \
  ENTRY(double_tree_reduce)           \
  ENTRY(hierarchical_reduce)          \
  ENTRY(coded_direct_reduce)          \
  ENTRY(coded_two_shot_reduce)        \
  ENTRY(direct_reduce_scatter)        \
  ENTRY(bruck_reduce_scatter)         \
  ENTRY(ring_reduce_scatter)          \
  ENTRY(hierarchical_reduce_scatter)  \
  ENTRY(coded_reduce_scatter)         \
  ENTRY(coded_sum_reduce_scatter)     \
  ENTRY(direct_all_to_all)            \
  ENTRY(bruck_all_to_all)             \
  ENTRY(hierarchical_all_to_all)      \
  ENTRY(coded_all_to_all)             \
  ENTRY(direct_gather)                \
  ENTRY(binomial_gather)              \
  ENTRY(hierarchical_gather)          \
  ENTRY(coded_gather)                 \
  ENTRY(direct_scatter)               \
  ENTRY(binomial_scatter)             \
  ENTRY(hierarchical_scatter)         \
  ENTRY(coded_scatter)                \
  ENTRY(neighbor_average)             \
  ENTRY(coded_neighbor_average)       \
  ENTRY(neighbor_all_gather)          \
  ENTRY(coded_neighbor_all_gather)
// clang-format on

namespace gossamer {
#define GOSSAMER_DECLARE(name) extern const Algorithm name;
GOSSAMER_ALGORITHMS(GOSSAMER_DECLARE)
#undef GOSSAMER_DECLARE
}  // namespace gossamer
