// The stop watch of `gossamer perf`: whose clock counts, what is summarized, how it is shown.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "perf/measure.h"
#include "perf/perf_run.h"
#include "perf/plot.h"
#include "perf/table.h"

namespace gossamer {
namespace {

// Runs `body` once per rank, each with its own view of one board.
template <class Body>
void with_board(int size, const Body& body) {
  Result<Board> first = Board::create(size);
  ASSERT_TRUE(first) << first.status().to_string();
  const std::string path = first->path();
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Result<Board> mine = Board::open(path, size);
      ASSERT_TRUE(mine) << mine.status().to_string();
      body(BoardGroup(std::move(mine).value(), rank, size));
    });
  }
}

TEST(Measure, AnOperationEndsWhenItsLastRankEnds) {
  with_board(3, [](BoardGroup group) {
    // rank r ends operation k at 100 k + r, but rank 0 is late by 50 in operation 2
    std::vector<double> finished;
    for (int k = 0; k < 4; ++k)
      finished.push_back(100.0 * k + group.rank() + (group.rank() == 0 && k == 2 ? 50 : 0));
    std::vector<double> times;
    ASSERT_TRUE(group.durations(finished, &times));
    EXPECT_EQ(times, (std::vector<double>{100, 148, 52}));
  });
}

TEST(Measure, EveryRankSeesAllNumbers) {
  with_board(4, [](BoardGroup group) {
    for (int round = 0; round < 100; ++round) {
      std::vector<double> all;
      ASSERT_TRUE(group.gather(round * 10 + group.rank(), &all));
      const double first = round * 10;
      EXPECT_EQ(all, (std::vector<double>{first, first + 1, first + 2, first + 3}));
    }
  });
}

TEST(Measure, StopsAtTheSameGroupOnEveryRankAndCountsWrongElementsOfAll) {
  with_board(3, [](BoardGroup group) {
    int groups = 0;
    int prepared = 0;
    Measured measured;
    measured.prepare = [&](int) { ++prepared; };
    measured.run = [](int) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      return Status::ok();
    };
    measured.inspect = [&](int operations) -> uint64_t {
      EXPECT_EQ(operations, 5);
      ++groups;
      return group.rank() == 1 ? 2 : 0;
    };
    const Result<Timing> timing =
        measure(group, {.group = 4, .groups = 100, .groups_warm = 1, .seconds = 0.003}, measured);
    ASSERT_TRUE(timing);
    EXPECT_EQ(prepared, groups);
    EXPECT_GE(groups, 4);  // one to warm up, three at least
    EXPECT_LT(groups, 100);
    EXPECT_EQ(timing->iterations, static_cast<uint64_t>(groups - 1) * 4);
    EXPECT_EQ(timing->wrong, static_cast<uint64_t>(groups) * 2);
    EXPECT_GE(timing->median_us, 150);
  });
}

TEST(Measure, NamesTheRankThatDidNotCome) {
  Result<Board> board = Board::create(3);
  ASSERT_TRUE(board);
  std::jthread second([&] {
    const Status late = board->barrier(2, {}, std::chrono::milliseconds(300));
    EXPECT_EQ(late.code(), Code::kTimeout);
  });
  const Status late = board->barrier(0, {}, std::chrono::milliseconds(300));
  EXPECT_EQ(late.code(), Code::kTimeout);
  EXPECT_EQ(late.rank(), 1);
}

TEST(Measure, RefusesABoardOfAnotherSize) {
  Result<Board> board = Board::create(3);
  ASSERT_TRUE(board);
  EXPECT_EQ(Board::open(board->path(), 4).status().code(), Code::kInvalidArgument);
}

TEST(Measure, Summarizes) {
  std::vector<double> times(200);
  std::iota(times.begin(), times.end(), 1);
  const Timing timing = summarize(times);
  EXPECT_EQ(timing.median_us, 100.5);
  EXPECT_EQ(timing.p99_us, 198);
  EXPECT_EQ(timing.min_us, 1);
  EXPECT_EQ(timing.iterations, 200U);
  EXPECT_EQ(summarize({3}).p99_us, 3);
  EXPECT_EQ(summarize({}).iterations, 0U);
}

TEST(Measure, RunsAsManyOperationsAsAskedFor) {
  const Pace pace = pace_for(8, 100, 5, 0.5);
  EXPECT_EQ(pace.group * pace.groups, 128);
  EXPECT_EQ(pace.groups_warm, 1);
  EXPECT_EQ(pace_for(8, 5, 0, 0.5).group, 5);
  EXPECT_EQ(pace_for(8, 5, 0, 0.5).groups_warm, 0);
  EXPECT_TRUE(std::isinf(pace_for(8, 100, 5, 0.5).seconds));
}

TEST(Sizes, ReadsWhatPeopleWrite) {
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, uint64_t>>{
           {"8", 8}, {"1K", 1024}, {"64M", 64 << 20}, {"1g", 1 << 30}, {"2MiB", 2 << 20}}) {
    const Result<uint64_t> parsed = parse_bytes(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(*parsed, bytes);
  }
  for (const char* text : {"", "K", "8x", "-1", "1.5M", "99999999999999999999", "99999999G", " 8"})
    EXPECT_EQ(parse_bytes(text).status().code(), Code::kInvalidArgument) << text;
}

TEST(Sizes, Sweeps) {
  EXPECT_EQ(sweep_sizes(8, 64, 2, 0), (std::vector<uint64_t>{8, 16, 32, 64}));
  EXPECT_EQ(sweep_sizes(8, 30, 0, 8), (std::vector<uint64_t>{8, 16, 24}));
  EXPECT_EQ(sweep_sizes(1, 3, 1.01, 0), (std::vector<uint64_t>{1, 2, 3}));  // always goes on
}

Cell cell(Collective collective, uint64_t bytes, double median_us) {
  Cell c;
  c.collective = collective;
  c.ranks = 4;
  c.bytes = bytes;
  c.count = bytes / 4;
  c.algorithm = "ring";
  c.transport = "shm";
  c.timing.median_us = median_us;
  c.timing.iterations = 10;
  return c;
}

// Around a root a late start is part of what operations take; elsewhere operation 0 absorbs it.
TEST(Measure, CountsWholeGroupsWhereRanksRunAhead) {
  auto board = Board::create(1);
  ASSERT_TRUE(board) << board.status().to_string();
  BoardGroup group(std::move(board).value(), 0, 1);
  Measured measured;
  measured.prepare = [](int) {};
  measured.inspect = [](int) -> uint64_t { return 0; };
  measured.run = [](int index) {
    if (index == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return Status::ok();
  };
  Pace pace{.group = 4, .groups = 3, .groups_warm = 0, .seconds = 10};
  const Result<Timing> each = measure(group, pace, measured);
  ASSERT_TRUE(each);
  EXPECT_LT(each->median_us, 1000);
  EXPECT_EQ(each->iterations, 3U * 4);
  pace.bursts = true;
  const Result<Timing> whole = measure(group, pace, measured);
  ASSERT_TRUE(whole);
  EXPECT_GE(whole->min_us, 2000);
  EXPECT_EQ(whole->iterations, 3U * 5);
}

TEST(Table, BusBandwidthIsWhatALinkCarries) {
  const Cell reduce = cell(Collective::kAllReduce, 1'000'000, 1000);
  EXPECT_DOUBLE_EQ(reduce.algbw_gbps(), 1);
  EXPECT_DOUBLE_EQ(reduce.busbw_gbps(), 1.5);
  EXPECT_DOUBLE_EQ(cell(Collective::kAllGather, 1'000'000, 1000).busbw_gbps(), 0.75);
  EXPECT_DOUBLE_EQ(cell(Collective::kReduceScatter, 1'000'000, 1000).busbw_gbps(), 0.75);
  EXPECT_DOUBLE_EQ(cell(Collective::kBroadcast, 1'000'000, 1000).busbw_gbps(), 1);
  EXPECT_DOUBLE_EQ(cell(Collective::kReduce, 1'000'000, 1000).busbw_gbps(), 1);
  EXPECT_EQ(cell(Collective::kAllReduce, 8, 0).algbw_gbps(), 0);
}

TEST(Table, CsvHasTheColumnsOthersRelyOn) {
  EXPECT_STREQ(kCsvColumns,
               "op,ranks,bytes,dtype,redop,algorithm,transport,in_place,iters,median_us,p99_us,"
               "min_us,algbw_gbps,busbw_gbps,predicted_us,wrong");
  EXPECT_EQ(csv_line(cell(Collective::kAllReduce, 1'000'000, 1000)),
            "all_reduce,4,1000000,float32,sum,ring,shm,0,10,1000.000,0.000,0.000,1.00000,1.50000,"
            "0.000,0");
}

TEST(Table, SaysWhichFileCannotBeWritten) {
  const Status status = write_csv("/nonexistent/x.csv", {});
  EXPECT_EQ(status.code(), Code::kSystem);
  EXPECT_NE(status.message().find("/nonexistent/x.csv"), std::string::npos);
}

TEST(Plot, DrawsOneLinePerSeriesAndNothingOutsideItsPanels) {
  std::vector<Cell> cells;
  for (uint64_t bytes = 8; bytes <= (1 << 20); bytes *= 8) {
    cells.push_back(cell(Collective::kAllReduce, bytes, 1 + static_cast<double>(bytes) / 1000));
    cells.push_back(cell(Collective::kAllGather, bytes, 2 + static_cast<double>(bytes) / 1000));
  }
  const std::string svg = plot_svg(cells, "a < b & c");
  EXPECT_NE(svg.find("a &lt; b &amp; c"), std::string::npos);
  size_t lines = 0;
  for (size_t at = svg.find("class='line'"); at != std::string::npos;
       at = svg.find("class='line'", at + 1))
    ++lines;
  EXPECT_EQ(lines, 2U * 2 + 2);  // two panels, and the legend
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace gossamer
