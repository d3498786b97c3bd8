#include "perf/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <ctime>
#include <memory>
#include <numeric>
#include <utility>

namespace gossamer {
namespace {
constexpr std::chrono::milliseconds kBarrierTimeout{120'000};
constexpr int kGroupsMin = 3;
// From the first rank's begin to the last one's end.
Result<double> whole_group(Group& ranks, double begin_us, double end_us) {
  std::vector<double> begins;
  std::vector<double> ends;
  if (Status s = ranks.gather(begin_us, &begins); !s) return s;
  if (Status s = ranks.gather(end_us, &ends); !s) return s;
  if (ranks.shares_clock())
    return *std::ranges::max_element(ends) - *std::ranges::min_element(begins);
  double longest = 0;
  for (size_t r = 0; r < ends.size(); ++r) longest = std::max(longest, ends[r] - begins[r]);
  return longest;
}

}  // namespace

double now_us() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

BoardGroup::BoardGroup(Board board, int rank, int size, std::function<void()> progress)
    : board_(std::move(board)), rank_(rank), size_(size), progress_(std::move(progress)) {}

Status BoardGroup::barrier() {
  return board_.barrier(rank_, progress_, kBarrierTimeout);
}

Status BoardGroup::durations(std::span<const double> finished_us, std::vector<double>* times_us) {
  std::ranges::copy(finished_us, board_.row(rank_).begin());
  if (Status s = barrier(); !s) return s;
  times_us->clear();
  double previous = 0;
  for (size_t k = 0; k < finished_us.size(); ++k) {
    double last = 0;
    for (int r = 0; r < size_; ++r) last = std::max(last, board_.row(r)[k]);
    if (k > 0) times_us->push_back(last - previous);
    previous = last;
  }
  return barrier();  // nobody writes its row while another still reads
}

Status BoardGroup::gather(double mine, std::vector<double>* all) {
  board_.row(rank_)[0] = mine;
  if (Status s = barrier(); !s) return s;
  all->clear();
  for (int r = 0; r < size_; ++r) all->push_back(board_.row(r)[0]);
  return barrier();
}

Pace pace_for(uint64_t bytes, int iterations, int warmup, double seconds) {
  Pace pace;
  pace.seconds = seconds;
  pace.group = bytes <= (64U << 10) ? 32 : bytes <= (1U << 20) ? 8 : 4;
  pace.groups = bytes <= 1024 ? 64 : bytes <= (64U << 10) ? 32 : bytes <= (1U << 20) ? 24 : 12;
  if (iterations > 0) {
    pace.group = std::min(pace.group, iterations);
    pace.groups = (iterations + pace.group - 1) / pace.group;
    pace.seconds = INFINITY;
  }
  pace.groups_warm = (warmup + pace.group) / (pace.group + 1);
  return pace;
}

Timing summarize(std::vector<double> times_us) {
  Timing timing;
  const size_t n = times_us.size();
  if (n == 0) return timing;
  std::ranges::sort(times_us);
  timing.iterations = n;
  timing.min_us = times_us.front();
  timing.median_us = n % 2 == 1 ? times_us[n / 2] : (times_us[n / 2 - 1] + times_us[n / 2]) / 2;
  timing.p99_us = times_us[(n * 99 + 99) / 100 - 1];
  timing.mean_us = std::accumulate(times_us.begin(), times_us.end(), 0.0) / static_cast<double>(n);
  return timing;
}

Status check_once(Group& ranks, const Measured& measured, Timing* timing) {
  measured.prepare(-1);
  if (Status s = ranks.barrier(); !s) return s;
  if (Status s = measured.run(0); !s) return s;
  std::vector<double> wrong;
  if (Status s = ranks.gather(static_cast<double>(measured.inspect(1)), &wrong); !s) return s;
  for (const double w : wrong) timing->wrong += static_cast<uint64_t>(w);
  return Status::ok();
}

Result<Timing> measure(Group& ranks, const Pace& pace, const Measured& measured) {
  std::vector<double> all_us;
  std::vector<double> group_us;
  std::array<double, Board::kRowMax> finished{};
  const auto operations = static_cast<size_t>(pace.group) + 1;
  uint64_t wrong = 0;
  double spent_us = 0;
  for (int group = -pace.groups_warm; group < pace.groups; ++group) {
    measured.prepare(group);
    if (Status s = ranks.barrier(); !s) return s;
    const double begin = now_us();
    for (size_t k = 0; k < operations; ++k) {
      if (Status s = measured.run(static_cast<int>(k)); !s) return s;
      finished[k] = now_us();
    }
    if (pace.bursts) {
      const Result<double> whole = whole_group(ranks, begin, finished[operations - 1]);
      if (!whole) return whole.status();
      group_us.assign(1, *whole / static_cast<double>(operations));
    } else if (Status s = ranks.durations({finished.data(), operations}, &group_us); !s) {
      return s;
    }
    wrong += measured.inspect(static_cast<int>(operations));
    if (group < 0) continue;
    all_us.insert(all_us.end(), group_us.begin(), group_us.end());
    spent_us += std::accumulate(group_us.begin(), group_us.end(), 0.0) *
                (pace.bursts ? static_cast<double>(operations) : 1);
    // the same numbers on every rank, so all stop together
    if (group + 1 >= kGroupsMin && spent_us > pace.seconds * 1e6) break;
  }
  std::vector<double> wrong_everywhere;
  if (Status s = ranks.gather(static_cast<double>(wrong), &wrong_everywhere); !s) return s;
  Timing timing = summarize(std::move(all_us));
  if (pace.bursts) timing.iterations *= operations;
  for (const double w : wrong_everywhere) timing.wrong += static_cast<uint64_t>(w);
  return timing;
}

Result<double> copy_rate(Group& ranks, uint64_t bytes) {
  constexpr int kRounds = 3;
  constexpr int kCopies = 4;
  const auto from = std::make_unique<std::byte[]>(bytes);
  const auto into = std::make_unique<std::byte[]>(bytes);
  std::vector<double> begins;
  std::vector<double> ends;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    if (Status s = ranks.barrier(); !s) return s;
    const double begin = now_us();
    for (int k = 0; k < kCopies; ++k) {
      from[static_cast<uint64_t>(k) % bytes] = static_cast<std::byte>(round);
      std::memcpy(into.get(), from.get(), bytes);
      // keeps the compiler from noticing that only the last copy could matter
      __asm__ volatile("" : : "r"(into.get()) : "memory");
    }
    const double end = now_us();
    if (Status s = ranks.gather(begin, &begins); !s) return s;
    if (Status s = ranks.gather(end, &ends); !s) return s;
    // ranks that share a core copy one after another: only the time of all together counts
    const double all_us = *std::ranges::max_element(ends) - *std::ranges::min_element(begins);
    best = std::max(best, static_cast<double>(bytes) * kCopies * ranks.size() / all_us);
  }
  return best;
}

}  // namespace gossamer
