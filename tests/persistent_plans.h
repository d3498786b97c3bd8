// Vectors, and persistent sums of them, for tests of persistent collectives.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "gossamer/communicator.h"
#include "tests/rank_group.h"

namespace gossamer {

inline std::vector<int64_t> filled(int64_t value, uint64_t count = 1000) {
  return std::vector<int64_t>(count, value);
}

inline PersistentCollective plan_sum(Communicator& comm, std::vector<int64_t>* values) {
  auto made = comm.plan_all_reduce(values->data(), values->data(), values->size(), DataType::kInt64,
                                   ReduceOp::kSum);
  EXPECT_TRUE(made) << made.status().to_string();
  return made ? std::move(*made) : PersistentCollective();
}

}  // namespace gossamer
