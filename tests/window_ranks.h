// What the tests of windows share: a window per rank, and vectors that show whether they are whole.
//
// Threads    As tests/rank_group.h.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/gossip_window.h"

// A call that must succeed, or the test's function ends.
#define ASSERT_DONE(call)                    \
  do {                                       \
    const Status done_ = (call);             \
    ASSERT_TRUE(done_) << done_.to_string(); \
  } while (0)

namespace gossamer {

inline std::unique_ptr<Window> window_of(
    Communicator& comm, const std::vector<double>& x,
    std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
  auto made = Window::create(comm, x.data(), x.size(), DataType::kFloat64,
                             {.name = "test", .timeout = timeout});
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return made ? std::move(made).value() : nullptr;
}

// All ranks but this one.
inline std::vector<Rank> others_of(Rank rank, Rank size) {
  std::vector<Rank> others;
  for (Rank r = 0; r < size; ++r) {
    if (r != rank) others.push_back(r);
  }
  return others;
}

inline std::vector<Weight> weighed(const std::vector<Rank>& ranks, double weight) {
  std::vector<Weight> all;
  for (const Rank r : ranks) all.push_back({r, weight});
  return all;
}

inline bool same_throughout(const std::vector<double>& x) {
  return std::all_of(x.begin(), x.end(), [&](double value) { return value == x.front(); });
}

}  // namespace gossamer
