// Limits and races of one rank's schedule.
//
// Races: going through the steps in program order, every element remembers its last writer and its
// readers since. A reader must come after the last writer, a writer after those readers (and after
// the last writer where there were none). If all of these pairs are ordered by paths of edges, so
// is every conflicting pair, since the relation is transitive.

#include <array>

#include "src/intervals.h"
#include "src/verify_parts.h"

namespace gossamer {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

std::string check_step(const Proof& proof, const Memory& memory, Rank rank,
                       const Schedule& schedule, const Step& step) {
  const std::array<uint64_t, kBufferCount> ends = {memory.input_count, memory.output_end(),
                                                   schedule.scratch_count, schedule.wide_count,
                                                   schedule.code_count};
  const auto outside = [&](const Slice& slice) {
    const uint64_t end = ends[static_cast<size_t>(slice.buffer)];
    return slice.first > end || slice.count > end - slice.first;
  };
  if (step.count == 0) return "moves nothing";
  if (step.reads_from() && outside(step.from())) return "reads outside its buffer";
  if (step.writes_into() && outside(step.into())) return "writes outside its buffer";
  if (step.writes_into() && step.into_buffer == Buffer::kInput) return "writes the input";
  if (step.is_message() && (step.peer < 0 || step.peer >= proof.size || step.peer == rank)) {
    return "has no such peer";
  }
  if (step.is_message() && step.lane >= schedule.lanes) return "uses an undeclared lane";
  if (step.reads_from() && step.writes_into() && !step.codes()) {
    const Slice from = memory.at(step.from());
    const Slice into = memory.at(step.into());
    const uint64_t apart =
        from.first < into.first ? into.first - from.first : from.first - into.first;
    if (from.buffer == into.buffer && apart != 0 && apart < step.count) {
      return "reads and writes slices that overlap in part";
    }
  }
  return {};
}

// Wide accumulators take part in folds as targets and leave by settling alone.
std::string check_wide(const Proof& proof, const Step& step) {
  const bool from_wide = step.reads_from() && step.from_buffer == Buffer::kWide;
  const bool into_wide = step.writes_into() && step.into_buffer == Buffer::kWide;
  if ((from_wide || into_wide) && !proof.wide) return "uses accumulators in a narrow plan";
  const bool folds = step.verb == Verb::kReduce || step.verb == Verb::kRecvReduce ||
                     step.verb == Verb::kDecodeReduce || step.verb == Verb::kDecodeSum;
  if (folds && proof.wide && !into_wide) return "folds outside the accumulators";
  // An average takes this rank's own value, still narrow, with the first that arrives.
  const bool widens = proof.call.collective == Collective::kNeighborAverage && !from_wide;
  if (step.verb == Verb::kRecvReduce && from_wide != into_wide && !widens) {
    return "has an operand of another width than its result";
  }
  if (from_wide && !into_wide && step.verb != Verb::kSettle && !step.encodes()) {
    return "takes an accumulator without settling it";
  }
  // What is encoded next is divided in fp32.
  const bool encodes_next = proof.call.codec != nullptr && from_wide;
  if (step.verb == Verb::kSettle && into_wide && !encodes_next) {
    return "settles into an accumulator";
  }
  return {};
}

// Factors belong to sums that have weights, and there to the two verbs that know them.
std::string check_factors(const Proof& proof, const Schedule& schedule, uint32_t index) {
  if (schedule.factors.empty() || schedule.factors[index] == Factors{}) return {};
  const Factors& factors = schedule.factors[index];
  const Verb verb = schedule.steps[index].verb;
  if (proof.call.collective != Collective::kNeighborAverage) return "has factors, in a plain sum";
  if (verb == Verb::kRecvReduce || (verb == Verb::kCopy && factors.wire == 1)) return {};
  if (verb == Verb::kDecodeReduce && factors.from == 1) return {};
  return "has factors, which its verb does not take";
}

std::string check_edges(Rank rank, const Schedule& schedule) {
  const std::string where = "rank " + std::to_string(rank) + ": ";
  const size_t n = schedule.steps.size();
  if (schedule.waits.size() != n || schedule.dependents_begin.size() != n + 1) {
    return where + "the edge tables do not fit the steps";
  }
  std::vector<uint32_t> arriving(n, 0);
  for (uint32_t i = 0; i < n; ++i) {
    if (schedule.dependents_begin[i] > schedule.dependents_begin[i + 1] ||
        schedule.dependents_begin[i + 1] > schedule.dependents.size()) {
      return where + "the edge rows are out of order";
    }
    for (uint32_t after : schedule.dependents_of(i)) {
      if (after <= i || after >= n) {
        return where + "the edge from step " + std::to_string(i) + " does not lead forward";
      }
      ++arriving[after];
    }
  }
  for (uint32_t i = 0; i < n; ++i) {
    if (arriving[i] != schedule.waits[i]) {
      return name_step(rank, i, schedule.steps[i]) + " waits for " +
             std::to_string(schedule.waits[i]) + " steps, but " + std::to_string(arriving[i]) +
             " lead to it";
    }
  }
  return {};
}

class RaceCheck {
 public:
  RaceCheck(const Proof& proof, Rank rank, const Schedule& schedule)
      : memory_(proof, rank), schedule_(schedule) {
    const std::array<uint64_t, kBufferCount> ends = {
        0, memory_.output_end(), schedule.scratch_count, schedule.wide_count, schedule.code_count};
    for (size_t b = 0; b < ends.size(); ++b) cells_[b].reset(ends[b], {});
    const size_t n = schedule.steps.size();
    stamp_.assign(n, kNone);
    before_begin_.assign(n + 1, 0);
    for (size_t i = 0; i < n; ++i) before_begin_[i + 1] = before_begin_[i] + schedule.waits[i];
    before_.resize(schedule.dependents.size());
    std::vector<uint32_t> fill(before_begin_.begin(), before_begin_.end() - 1);
    for (uint32_t i = 0; i < n; ++i) {
      for (uint32_t after : schedule.dependents_of(i)) before_[fill[after]++] = i;
    }
  }

  // The step that `index` conflicts with and is not ordered after, or kNone.
  uint32_t add(uint32_t index) {
    const Step& step = schedule_.steps[index];
    index_ = index;
    culprit_ = kNone;
    for (uint32_t e = before_begin_[index]; e < before_begin_[index + 1]; ++e) {
      stamp_[before_[e]] = index;
    }
    if (step.reads_from()) read(memory_.at(step.from()));
    if (step.writes_into()) write(memory_.at(step.into()));
    if (step.reads_from()) note_reader(memory_.at(step.from()));
    return culprit_;
  }

 private:
  struct Cell {
    uint32_t writer = kNone;
    uint32_t readers = kNone;  // head of a list in nodes_; lists share tails after a cut
  };
  struct Node {
    uint32_t step;
    uint32_t next;
  };

  void require_after(uint32_t earlier) {
    if (earlier == kNone || earlier == index_ || culprit_ != kNone) return;
    if (stamp_[earlier] != index_ && !path_from(earlier)) culprit_ = earlier;
  }

  // Whether edges lead from `earlier` to the current step. Steps between have larger numbers.
  bool path_from(uint32_t earlier) const {
    std::vector<bool> seen(index_ - earlier, false);
    std::vector<uint32_t> todo = {index_};
    while (!todo.empty()) {
      const uint32_t at = todo.back();
      todo.pop_back();
      for (uint32_t e = before_begin_[at]; e < before_begin_[at + 1]; ++e) {
        const uint32_t b = before_[e];
        if (b == earlier) return true;
        if (b < earlier || seen[b - earlier]) continue;
        seen[b - earlier] = true;
        todo.push_back(b);
      }
    }
    return false;
  }

  void read(const Slice& slice) {
    if (slice.buffer == Buffer::kInput) return;
    cells(slice).read(slice.first, slice.first + slice.count,
                      [&](uint64_t, uint64_t, const Cell& cell) { require_after(cell.writer); });
  }

  void write(const Slice& slice) {
    cells(slice).read(slice.first, slice.first + slice.count,
                      [&](uint64_t, uint64_t, const Cell& cell) {
                        if (cell.readers == kNone) require_after(cell.writer);
                        for (uint32_t n = cell.readers; n != kNone; n = nodes_[n].next) {
                          require_after(nodes_[n].step);
                        }
                      });
    cells(slice).assign(slice.first, slice.first + slice.count, {index_, kNone});
  }

  void note_reader(const Slice& slice) {
    if (slice.buffer == Buffer::kInput) return;
    cells(slice).change(slice.first, slice.first + slice.count, [&](Cell& cell) {
      if (cell.writer == index_) return;
      nodes_.push_back({index_, cell.readers});
      cell.readers = static_cast<uint32_t>(nodes_.size() - 1);
    });
  }

  Intervals<Cell>& cells(const Slice& slice) { return cells_[static_cast<size_t>(slice.buffer)]; }

  Memory memory_;
  const Schedule& schedule_;
  std::array<Intervals<Cell>, kBufferCount> cells_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> stamp_;  // per step: the last step it has a direct edge to
  std::vector<uint32_t> before_begin_;
  std::vector<uint32_t> before_;
  uint32_t index_ = 0;
  uint32_t culprit_ = kNone;
};

}  // namespace

std::string check_limits(const Proof& proof, Rank rank, const Schedule& schedule) {
  const Memory memory(proof, rank);
  if (!schedule.factors.empty() && schedule.factors.size() != schedule.steps.size()) {
    return "rank " + std::to_string(rank) + ": the table of factors does not fit the steps";
  }
  for (uint32_t i = 0; i < schedule.steps.size(); ++i) {
    const Step& step = schedule.steps[i];
    std::string wrong = check_step(proof, memory, rank, schedule, step);
    if (wrong.empty()) wrong = check_wide(proof, step);
    if (wrong.empty()) wrong = check_factors(proof, schedule, i);
    if (!wrong.empty()) return name_step(rank, i, step) + " " + wrong;
  }
  std::string codes = check_codes(proof, rank, schedule);
  if (!codes.empty()) return codes;
  return check_edges(rank, schedule);
}

std::string check_races(const Proof& proof, Rank rank, const Schedule& schedule) {
  RaceCheck check(proof, rank, schedule);
  for (uint32_t i = 0; i < schedule.steps.size(); ++i) {
    const uint32_t other = check.add(i);
    if (other == kNone) continue;
    return name_step(rank, i, schedule.steps[i]) + " touches what " +
           name_step(rank, other, schedule.steps[other]) + " touches, and no edge orders them";
  }
  return {};
}

}  // namespace gossamer
