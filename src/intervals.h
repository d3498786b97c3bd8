// A range of elements cut into runs of equal value. Cuts appear where they are needed.
//
// Threads    One thread per object.
// Units      Elements.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gossamer {

template <class Value>
class Intervals {
 public:
  struct Run {
    uint64_t first;
    uint64_t end;
    Value value;
  };

  // Forgets everything: one run [0, end).
  void reset(uint64_t end, const Value& value) {
    runs_.clear();
    if (end > 0) runs_.push_back({0, end, value});
  }

  // Calls use(first, end, value) for the parts of runs in [first, end), in order, cutting nothing.
  template <class Use>
  void read(uint64_t first, uint64_t end, Use use) const {
    for (size_t i = find(first); i < runs_.size() && runs_[i].first < end; ++i) {
      use(std::max(first, runs_[i].first), std::min(end, runs_[i].end), runs_[i].value);
    }
  }

  // Calls change(value) for every run in [first, end), after cutting at both ends.
  template <class Change>
  void change(uint64_t first, uint64_t end, Change change) {
    for (size_t i = cut(first), last = cut(end); i < last; ++i) change(runs_[i].value);
  }

  // Makes [first, end) one run.
  void assign(uint64_t first, uint64_t end, const Value& value) {
    const size_t i = cut(first);
    const size_t last = cut(end);
    runs_[i].end = end;
    runs_[i].value = value;
    if (last > i + 1) {
      runs_.erase(runs_.begin() + static_cast<ptrdiff_t>(i) + 1,
                  runs_.begin() + static_cast<ptrdiff_t>(last));
    }
  }

  const std::vector<Run>& runs() const { return runs_; }

 private:
  // The run that holds element `at`, or one past the last.
  size_t find(uint64_t at) const {
    const auto after = std::upper_bound(runs_.begin(), runs_.end(), at,
                                        [](uint64_t a, const Run& run) { return a < run.end; });
    return static_cast<size_t>(after - runs_.begin());
  }

  // Makes a run begin at `at`; its index.
  size_t cut(uint64_t at) {
    const size_t i = find(at);
    if (i == runs_.size() || runs_[i].first == at) return i;
    Run tail = runs_[i];
    runs_[i].end = at;
    tail.first = at;
    runs_.insert(runs_.begin() + static_cast<ptrdiff_t>(i) + 1, tail);
    return i + 1;
  }

  std::vector<Run> runs_;
};

}  // namespace gossamer
