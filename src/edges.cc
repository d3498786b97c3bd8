// The buffers are laid end to end and cut at every place where some step's slice begins or ends.
// No step ever touches part of such a cell, so a cell needs one last writer and one list of the
// readers since: time is one sort plus the cells touched, which for block algorithms is linear.

#include "src/edges.h"

#include <algorithm>
#include <array>

#include "src/check.h"

namespace gossamer {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

struct Cell {
  uint32_t writer = kNone;
  uint32_t readers = kNone;  // head of a list in Tracker::nodes_
};

struct ReaderNode {
  uint32_t step;
  uint32_t next;
};

struct Edge {
  uint32_t before;
  uint32_t after;
};

class Tracker {
 public:
  explicit Tracker(const std::vector<Step>& steps) : newest_(steps.size(), kNone) {
    lay_out(steps);
    for (const Step& step : steps) {
      if (step.reads_from()) cut(step.from());
      if (step.writes_into()) cut(step.into());
    }
    std::sort(cuts_.begin(), cuts_.end());
    cuts_.erase(std::unique(cuts_.begin(), cuts_.end()), cuts_.end());
    cells_.resize(cuts_.size());
    nodes_.reserve(steps.size());
    edges_.reserve(steps.size() * 2);
  }

  // Reads of a step come before its own writes, so that it never waits for itself.
  void add(uint32_t index, const Step& step) {
    if (step.reads_from()) read(index, step.from());
    if (step.writes_into()) write(index, step.into());
    if (step.reads_from()) note_reader(index, step);
  }

  const std::vector<Edge>& edges() const { return edges_; }

 private:
  static bool tracked(const Slice& slice) { return slice.buffer != Buffer::kInput; }

  void lay_out(const std::vector<Step>& steps) {
    std::array<uint64_t, kBufferCount> end{};
    for (const Step& step : steps) {
      for (const Slice& slice : {step.from(), step.into()}) {
        uint64_t& e = end[static_cast<size_t>(slice.buffer)];
        e = std::max(e, slice.first + slice.count);
      }
    }
    uint64_t next = 0;
    for (size_t b = 0; b < end.size(); ++b) {
      base_[b] = next;
      next += end[b];
    }
  }

  uint64_t address(const Slice& slice) const {
    return base_[static_cast<size_t>(slice.buffer)] + slice.first;
  }

  void cut(const Slice& slice) {
    if (!tracked(slice)) return;
    cuts_.push_back(address(slice));
    cuts_.push_back(address(slice) + slice.count);
  }

  // The cells [first, last) that `slice` covers.
  std::span<Cell> cells_of(const Slice& slice) {
    if (!tracked(slice)) return {};
    const uint64_t from = address(slice);
    const auto first = std::lower_bound(cuts_.begin(), cuts_.end(), from);
    auto last = first;
    while (*last < from + slice.count) ++last;
    return {cells_.data() + (first - cuts_.begin()), static_cast<size_t>(last - first)};
  }

  void wait(uint32_t index, uint32_t before) {
    if (before == kNone || before == index || newest_[before] == index) return;
    newest_[before] = index;
    edges_.push_back({before, index});
  }

  void read(uint32_t index, const Slice& slice) {
    for (const Cell& cell : cells_of(slice)) wait(index, cell.writer);
  }

  // Readers waited for the last writer themselves, so waiting for them is enough.
  void write(uint32_t index, const Slice& slice) {
    for (Cell& cell : cells_of(slice)) {
      if (cell.readers == kNone) wait(index, cell.writer);
      for (uint32_t n = cell.readers; n != kNone; n = nodes_[n].next) wait(index, nodes_[n].step);
      cell = {index, kNone};
    }
  }

  void note_reader(uint32_t index, const Step& step) {
    for (Cell& cell : cells_of(step.from())) {
      if (cell.writer == index) continue;  // it overwrote what it read
      nodes_.push_back({index, cell.readers});
      cell.readers = static_cast<uint32_t>(nodes_.size() - 1);
    }
  }

  std::array<uint64_t, kBufferCount> base_{};
  std::vector<uint64_t> cuts_;
  std::vector<Cell> cells_;
  std::vector<ReaderNode> nodes_;
  std::vector<uint32_t> newest_;  // per step: the last step found to wait for it
  std::vector<Edge> edges_;
};

}  // namespace

void derive_edges(Schedule* schedule) {
  const std::vector<Step>& steps = schedule->steps;
  GOSSAMER_CHECK(steps.size() < kNone);
  Tracker tracker(steps);
  for (uint32_t i = 0; i < steps.size(); ++i) tracker.add(i, steps[i]);

  schedule->waits.assign(steps.size(), 0);
  schedule->dependents_begin.assign(steps.size() + 1, 0);
  for (const Edge& edge : tracker.edges()) {
    ++schedule->waits[edge.after];
    ++schedule->dependents_begin[edge.before + 1];
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    schedule->dependents_begin[i + 1] += schedule->dependents_begin[i];
  }
  schedule->dependents.resize(tracker.edges().size());
  std::vector<uint32_t> fill(schedule->dependents_begin.begin(),
                             schedule->dependents_begin.end() - 1);
  for (const Edge& edge : tracker.edges()) {
    schedule->dependents[fill[edge.before]++] = edge.after;
  }
}

}  // namespace gossamer
