// Times a collective: operations back to back, the clock of the slowest rank.
//
// Operations run in groups of G + 1. Between groups (untimed) buffers are refilled, the ranks meet,
// and results are checked. Operation 0 absorbs the skew of the meeting. The time of operation k is
// C(k) - C(k - 1), where C(k) is the moment the last rank finished it: the times add up to the wall
// time of the group. All ranks of one host read the same CLOCK_MONOTONIC; across hosts each rank
// takes its own differences and the slowest counts.
//
// Threads    One per rank; all ranks make the same calls.
// Units      Microseconds.

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "gossamer/status.h"
#include "perf/board.h"

namespace gossamer {

// The ranks that are measured together.
class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual Status barrier() = 0;
  // From each rank's moments of finishing operations 0..n: the times of operations 1..n, the same
  // on every rank.
  virtual Status durations(std::span<const double> finished_us, std::vector<double>* times_us) = 0;
  // Whether all ranks read the same clock.
  virtual bool shares_clock() const { return false; }
  // Every rank's number, in rank order. Exact below 2^53.
  virtual Status gather(double mine, std::vector<double>* all) = 0;
};

// Ranks of one host, through a Board.
class BoardGroup : public Group {
 public:
  BoardGroup(Board board, int rank, int size, std::function<void()> progress = {});
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Status barrier() override;
  Status durations(std::span<const double> finished_us, std::vector<double>* times_us) override;
  bool shares_clock() const override { return true; }
  Status gather(double mine, std::vector<double>* all) override;

 private:
  Board board_;
  int rank_;
  int size_;
  std::function<void()> progress_;
};

struct Pace {
  int group = 32;        // timed operations per group, at most Board::kRowMax - 1
  int groups = 64;       // at most so many
  int groups_warm = 1;   // untimed ones before
  double seconds = 0.5;  // stop early when a cell has had so much time, but not before 3 groups
  // Whether ranks may be many operations apart, as around a root: then ends come in bursts, and
  // only a whole group says what an operation takes, from the first rank's start to the last one's
  // end (of the slowest rank, where clocks differ). One figure per group.
  bool bursts = false;
};
// For messages of `bytes`. `iterations`: 0 lets the time decide; else exactly so many operations,
// rounded up to whole groups. `warmup`: operations.
Pace pace_for(uint64_t bytes, int iterations, int warmup, double seconds);

// What is measured. All of it runs on every rank.
struct Measured {
  std::function<void(int group)> prepare;           // fresh data; untimed
  std::function<Status(int index)> run;             // operation `index` of the group
  std::function<uint64_t(int operations)> inspect;  // wrong elements on this rank; untimed
};

struct Timing {
  double median_us = 0;
  double p99_us = 0;
  double min_us = 0;
  double mean_us = 0;
  uint64_t iterations = 0;
  uint64_t wrong = 0;  // elements, over all ranks and groups
};
// Median of an even number: mean of the middle two. p99: the smallest time that at least 99 of 100
// do not exceed.
Timing summarize(std::vector<double> times_us);

Result<Timing> measure(Group& ranks, const Pace& pace, const Measured& measured);

// One operation on fresh data; adds the elements that are wrong to those of the timing.
Status check_once(Group& ranks, const Measured& measured, Timing* timing);

double now_us();

// Bytes copied per microsecond by all ranks of one host together when each copies `bytes` at the
// same time.
Result<double> copy_rate(Group& ranks, uint64_t bytes);

}  // namespace gossamer
