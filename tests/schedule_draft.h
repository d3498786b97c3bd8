// Schedules as step lists and edge lists: easy to break.

#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "gossamer/schedule.h"

namespace gossamer {

struct Draft {
  std::vector<Step> steps;
  std::vector<Factors> factors;
  std::vector<Encoding> encodings;
  std::vector<std::pair<uint32_t, uint32_t>> edges;
  uint64_t scratch_count = 0;
  uint64_t wide_count = 0;
  uint64_t code_count = 0;
  uint64_t residual_count = 0;
  uint8_t lanes = 1;

  Draft() = default;
  explicit Draft(const Schedule& s)
      : steps(s.steps),
        factors(s.factors),
        encodings(s.encodings),
        scratch_count(s.scratch_count),
        wide_count(s.wide_count),
        code_count(s.code_count),
        residual_count(s.residual_count),
        lanes(s.lanes) {
    for (uint32_t i = 0; i < s.steps.size(); ++i) {
      for (uint32_t after : s.dependents_of(i)) edges.emplace_back(i, after);
    }
  }

  Schedule schedule() const {
    Schedule s;
    s.steps = steps;
    s.factors = factors;
    s.encodings = encodings;
    s.code_count = code_count;
    s.residual_count = residual_count;
    s.scratch_count = scratch_count;
    s.wide_count = wide_count;
    s.lanes = lanes;
    s.waits.assign(steps.size(), 0);
    s.dependents_begin.assign(1, 0);
    for (uint32_t i = 0; i < steps.size(); ++i) {
      for (const auto& [before, after] : edges) {
        if (before != i) continue;
        s.dependents.push_back(after);
        ++s.waits[after];
      }
      s.dependents_begin.push_back(static_cast<uint32_t>(s.dependents.size()));
    }
    return s;
  }

  // Takes a step out; what waited for it waits for what it waited for.
  void remove(uint32_t index) {
    std::vector<std::pair<uint32_t, uint32_t>> kept;
    for (const auto& [before, after] : edges) {
      if (before != index && after != index) kept.emplace_back(before, after);
      if (after != index) continue;
      for (const auto& [b, a] : edges) {
        if (b == index) kept.emplace_back(before, a);
      }
    }
    edges = std::move(kept);
    for (auto& [before, after] : edges) {
      before -= before > index ? 1 : 0;
      after -= after > index ? 1 : 0;
    }
    steps.erase(steps.begin() + index);
    if (!factors.empty()) factors.erase(factors.begin() + index);
    if (!encodings.empty()) encodings.erase(encodings.begin() + index);
  }

  // Whether edges other than `without` lead from its begin to its end.
  bool implied(size_t without) const {
    std::vector<uint32_t> todo = {edges[without].first};
    std::vector<bool> seen(steps.size(), false);
    while (!todo.empty()) {
      const uint32_t at = todo.back();
      todo.pop_back();
      for (size_t e = 0; e < edges.size(); ++e) {
        if (e == without || edges[e].first != at || seen[edges[e].second]) continue;
        if (edges[e].second == edges[without].second) return true;
        seen[edges[e].second] = true;
        todo.push_back(edges[e].second);
      }
    }
    return false;
  }
};

}  // namespace gossamer
