// AD-PSGD among processes, one of which is killed while exchanges are under way: the others go on
// in a smaller group, and none of the exchanges between them is made by one side alone.
// GOSSAMER_SOAK=1 does it a hundred times.

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/methods.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

constexpr Rank kRanks = 8;
constexpr size_t kWidth = 64;
// E24's watchdog, and room for a busy machine; half of the communicator's deadline.
constexpr int64_t kStepLimitUs = 10'000'000;

struct Life {
  Rank rank;
  Report& report;
  std::unique_ptr<Communicator> comm;
  std::unique_ptr<Graph> graph;
  std::unique_ptr<PairwiseSgd> method;
  std::vector<double> x;
  std::mt19937_64 generator;

  Status step() {
    const int64_t begin = now_us();
    Status done = method->step(*comm, *graph, x.data(), nullptr, 0);
    const int64_t took = now_us() - begin;
    report.values[0] = std::max(report.values[0].load(), took);
    ++report.steps;
    if (generator() % 2 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(generator() % 1000));
    }
    return done;
  }

  // Until one has died.
  Status go_on() {
    Status status;
    while (status) {
      status = step();
      if (report.steps.load() == 5) report.stage = 1;
    }
    return status;
  }

  // As a program would: a smaller group, the healed graph, the same method.
  Status recover(Rank lost) {
    const std::vector<Rank> excluded = {lost};
    for (Rank r = 0; r < kRanks; ++r) {
      if (r != lost && method->open(r)) ++report.values[2];
    }
    Result<std::unique_ptr<Communicator>> smaller = comm->shrink(excluded, {.abort = true});
    if (!smaller) return smaller.status();
    Result<std::unique_ptr<Graph>> healed = heal_graph(*graph, excluded);
    if (!healed) return healed.status();
    if (Status done = method->shrink(excluded); !done) return done;
    comm = std::move(smaller).value();
    graph = std::move(healed).value();
    return Status::ok();
  }

  Status steps_and_finish(int steps) {
    Status status;
    for (int t = 0; t < steps && status; ++t) status = step();
    return status ? method->finish(*comm, *graph, x.data()) : status;
  }

  // Both sides of every edge have made the same number of changes, each opposite to the other's.
  void expect_both_or_neither() {
    const auto n = static_cast<size_t>(comm->size());
    std::vector<uint64_t> mine(n);
    std::vector<uint64_t> all(n * n);
    for (size_t r = 0; r < n; ++r) mine[r] = method->exchanges(static_cast<Rank>(r));
    ASSERT_TRUE(comm->all_gather(mine.data(), all.data(), n, DataType::kUint64));
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) EXPECT_EQ(all[i * n + j], all[j * n + i]) << i << " " << j;
    }
  }
  std::vector<double> sum() {
    std::vector<double> total = x;
    const Status done = comm->all_reduce(std::span(total));
    EXPECT_TRUE(done.is_ok()) << done.to_string();
    return total;
  }
};

void live(Rank rank, Report& report, const std::string& place, const std::string& transport,
          const std::string& graph, uint64_t seed) {
  auto comm =
      Communicator::create(options_of(rank, kRanks, place, transport, milliseconds(20'000)));
  report.keep(comm.status());
  if (!comm) return;
  Life life{rank, report, std::move(comm).value(), graph_of(graph, kRanks), nullptr, {}, {}};
  life.generator.seed(seed * 100 + static_cast<uint64_t>(rank));
  life.x = row_of(gaussian_rows(kRanks, kWidth, seed), rank, kWidth);
  life.method =
      PairwiseSgd::create(
          {.rank = rank, .size = kRanks, .count = kWidth, .type = DataType::kFloat64, .seed = seed})
          .value();
  const Status ended = life.go_on();
  report.keep(ended);
  report.values[1] = ended.rank();
  if (ended.code() != Code::kPeerLost) return;
  Status status = life.recover(ended.rank());
  if (status) status = life.steps_and_finish(50);
  report.keep(status);
  if (!status) return;
  life.expect_both_or_neither();
  const std::vector<double> before = life.sum();
  status = life.steps_and_finish(300);
  report.keep(status);
  if (!status) return;
  life.expect_both_or_neither();
  const std::vector<double> after = life.sum();
  for (size_t k = 0; k < kWidth; ++k) EXPECT_NEAR(after[k], before[k], 1e-9);
  double apart = 0;
  for (size_t k = 0; k < kWidth; ++k) {
    apart = std::max(apart, std::abs(life.x[k] - after[k] / (kRanks - 1)));
  }
  EXPECT_LT(apart, 0.5) << "they do not average";
  report.stage = 2;
  while (report.stage.load() < 3) std::this_thread::sleep_for(milliseconds(1));
}

// Returns the exchanges among survivors that were under way.
int64_t expect_survived(const std::string& transport, const std::string& graph, uint64_t seed) {
  SCOPED_TRACE(transport + " " + graph + " seed " + std::to_string(seed));
  const TemporaryFolder folder;
  const std::string place = folder.place("id");
  ProcessRanks ranks(kRanks, [&](Rank rank, Report& report) {
    live(rank, report, place, transport, graph, seed);
  });
  if (!ranks.wait_stage(1, milliseconds(60'000))) return 0;
  std::mt19937_64 generator(seed);
  const auto victim = static_cast<Rank>(generator() % kRanks);
  std::this_thread::sleep_for(std::chrono::microseconds(generator() % 30'000));
  ranks.kill(victim);
  if (!ranks.wait_stage(2, milliseconds(60'000), victim)) return 0;
  int64_t open = 0;
  for (Rank r = 0; r < kRanks; ++r) {
    if (r == victim) continue;
    Report& report = ranks.report(r);
    EXPECT_EQ(report.values[1], victim);
    EXPECT_EQ(report.code, Code::kOk) << report.sentence();
    EXPECT_LT(report.values[0], kStepLimitUs) << "rank " << r;
    open += report.values[2];
    report.stage = 3;
  }
  EXPECT_TRUE(ranks.wait_end(milliseconds(20'000), victim));
  return open;
}

TEST(PairwiseDeath, E24EightProcessesGoOnWhenOneIsKilledMidExchange) {
  int64_t open = 0;
  const uint64_t runs = static_cast<uint64_t>(times(3, 50));
  for (const char* transport : {"shm", "tcp"}) {
    for (uint64_t seed = 1; seed <= runs; ++seed) {
      open += expect_survived(transport, seed % 3 == 0 ? "ring" : "complete", seed);
    }
  }
  std::printf("%ld exchanges among survivors were under way\n", static_cast<long>(open));
  EXPECT_GT(open, 0) << "nothing was under way";
}

}  // namespace
}  // namespace gossamer
