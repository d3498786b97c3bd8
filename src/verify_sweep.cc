// Which shapes the sweep proves.

#include <algorithm>
#include <atomic>
#include <future>
#include <iterator>
#include <set>
#include <thread>

#include "gossamer/codec.h"
#include "src/plan.h"
#include "src/verify.h"

namespace gossamer {
namespace {

constexpr Rank kExhaustiveMax = 64;
constexpr unsigned kThreadsMax = 8;

// Counts where block arithmetic breaks first: none, fewer than ranks, even, some left over, and one
// whose blocks are whole cache lines with some left over.
std::vector<uint64_t> awkward_counts(Rank size) {
  const auto n = static_cast<uint64_t>(size);
  const std::set<uint64_t> counts = {0, 1, n - 1, n, n + 1, 3 * n + 2, 50 * n + 7};
  return {counts.begin(), counts.end()};
}

// Every size up to 64; above, those around powers of two and some between.
std::vector<Rank> sizes_between(Rank first, Rank last) {
  std::vector<Rank> sizes;
  for (Rank n = first; n <= std::min(last, kExhaustiveMax); ++n) sizes.push_back(n);
  std::set<Rank> samples;
  for (Rank power = kExhaustiveMax; power <= last && power <= (1 << 20); power *= 2) {
    for (Rank n : {power - 1, power, power + 1, power + power / 2}) samples.insert(n);
  }
  samples.insert(last);
  for (Rank n : samples) {
    if (n > kExhaustiveMax && n >= first && n <= last) sizes.push_back(n);
  }
  return sizes;
}

std::vector<Rank> hosts_of(Rank size, const std::vector<Rank>& ranks_per_host) {
  std::vector<Rank> hosts;
  for (Rank h = 0; static_cast<Rank>(hosts.size()) < size; ++h) {
    const Rank here = ranks_per_host[static_cast<size_t>(h) % ranks_per_host.size()];
    for (Rank i = 0; i < here && static_cast<Rank>(hosts.size()) < size; ++i) hosts.push_back(h);
  }
  return hosts;
}

// Rank 0, and others where a root's place may matter: inside, and last.
std::vector<Rank> roots_for(const Algorithm& algorithm, Rank size) {
  if (!has_root(algorithm.collective)) return {0};
  const std::set<Rank> roots = {0, size / 2, size - 1};
  return {roots.begin(), roots.end()};
}

// What algorithms that send codes are proved with: of a block that leaves most awkward counts
// uneven, or, where only sparse ones do, of few entries; or one that ranks agree on numbers for.
const Codec* codec_for(const Algorithm& algorithm) {
  static const std::unique_ptr<Codec> dense = make_codec("int8:block=8").value();
  static const auto sparse = make_codec("topk:ratio=0.02");
  static const auto adding = make_codec("int8_shared:block=8");
  if (!algorithm.codes) return nullptr;
  if (algorithm.accepts == has_adding_codec) return adding->get();
  const bool takes_sparse = sparse &&
                            !algorithm.accepts({.size = 2, .count = 2, .codec = dense.get()}) &&
                            algorithm.accepts({.size = 2, .count = 2, .codec = sparse->get()});
  return takes_sparse ? sparse->get() : dense.get();
}

// One host; or, for algorithms that need more, equal hosts, a short last host, mixed hosts.
std::vector<std::vector<Rank>> layouts_for(const Algorithm& algorithm, Rank size) {
  Shape shape;
  shape.size = size;
  shape.codec = codec_for(algorithm);
  if (has_graph(algorithm.collective)) return {{}};
  if (size == 1 || algorithm.accepts(shape)) return {{}};
  std::vector<std::vector<Rank>> patterns = {{8}, {size / 2}, {1, 2, 3, 4}};
  if (size <= 16) patterns.insert(patterns.end(), {{2}, {3}, {size - 1}, {1, size - 1}});
  std::set<std::vector<Rank>> layouts;
  for (const std::vector<Rank>& pattern : patterns) {
    if (*std::min_element(pattern.begin(), pattern.end()) < 1) continue;
    layouts.insert(hosts_of(size, pattern));
  }
  std::vector<std::vector<Rank>> accepted;
  for (const std::vector<Rank>& hosts : layouts) {
    shape.hosts = hosts;
    if (algorithm.accepts(shape)) accepted.push_back(hosts);
  }
  return accepted;
}

struct Variant {
  DataType type;
  ReduceOp op;
  uint32_t pieces;
  bool in_place;
  uint64_t eager_bytes;
};

std::vector<Variant> variants_for(const Algorithm& algorithm) {
  constexpr auto kFloat = DataType::kFloat32;
  constexpr auto kNarrow = DataType::kBfloat16;
  std::vector<Variant> variants = {{kFloat, ReduceOp::kSum, 1, false, 0},
                                   {kFloat, ReduceOp::kAvg, 1, true, 0},
                                   {kFloat, ReduceOp::kAvg, 3, false, 0},
                                   {kFloat, ReduceOp::kSum, 3, true, 0}};
  if (reduces(algorithm.collective) || algorithm.collective == Collective::kNeighborAverage) {
    variants.push_back({kFloat, ReduceOp::kSum, 1, true, 1 << 20});
  }
  if (algorithm.rounds_once || algorithm.codes) {
    variants.push_back({kNarrow, ReduceOp::kSum, 1, false, 0});
    variants.push_back({kNarrow, ReduceOp::kAvg, 1, true, 0});
    variants.push_back({kNarrow, ReduceOp::kAvg, 3, false, 0});
    variants.push_back({kNarrow, ReduceOp::kSum, 3, true, 0});
  }
  return variants;
}

SweepCase prove_one(const Algorithm& algorithm, Rank size, const std::vector<Rank>& hosts,
                    uint64_t count, Rank root, const Variant& variant, const Mixing* mixing) {
  Call call;
  call.mixing = mixing;
  call.codec = codec_for(algorithm);
  call.collective = algorithm.collective;
  call.type = variant.type;
  call.op = has_graph(algorithm.collective) ? ReduceOp::kSum : variant.op;
  call.count = count;
  call.root = root;
  call.in_place = variant.in_place;
  call.eager_bytes = variant.eager_bytes;
  const uint8_t lanes = variant.pieces > 1 ? 2 : 1;
  return {&algorithm,
          size,
          count,
          root,
          variant.pieces,
          variant.in_place,
          verify(algorithm, call, size, hosts, variant.pieces, lanes)};
}

// One algorithm at one size: what a worker takes at a time.
struct Task {
  const Algorithm* algorithm;
  Rank size;
  std::promise<std::vector<SweepCase>> done;
};

std::vector<SweepCase> prove_all(const Task& task, const Mixing* mixing,
                                 const std::atomic<bool>& stop) {
  std::vector<SweepCase> cases;
  for (const std::vector<Rank>& hosts : layouts_for(*task.algorithm, task.size)) {
    for (uint64_t count : awkward_counts(task.size)) {
      for (Rank root : roots_for(*task.algorithm, task.size)) {
        for (const Variant& variant : variants_for(*task.algorithm)) {
          if (stop) return cases;
          cases.push_back(
              prove_one(*task.algorithm, task.size, hosts, count, root, variant, mixing));
        }
      }
    }
  }
  return cases;
}

std::vector<SweepCase> prove_all(const Task& task, const Mixings& mixings,
                                 const std::atomic<bool>& stop) {
  if (!has_graph(task.algorithm->collective)) return prove_all(task, nullptr, stop);
  std::vector<SweepCase> cases;
  if (!mixings) return cases;
  for (const std::shared_ptr<const Mixing>& mixing : mixings(task.size)) {
    std::vector<SweepCase> more = prove_all(task, mixing.get(), stop);
    cases.insert(cases.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
  }
  return cases;
}

// Hands finished cases to `report` in order. The number of cases reported.
uint64_t report_in_order(std::vector<Task>* tasks,
                         const std::function<bool(const SweepCase&)>& report) {
  uint64_t reported = 0;
  for (Task& task : *tasks) {
    for (const SweepCase& one : task.done.get_future().get()) {
      ++reported;
      if (!report(one)) return reported;
    }
  }
  return reported;
}

}  // namespace

uint64_t verify_sweep(const std::vector<const Algorithm*>& which, Rank size_min, Rank size_max,
                      const std::function<bool(const SweepCase&)>& report, const Mixings& mixings) {
  std::vector<Task> tasks;
  for (const Algorithm* algorithm : which) {
    for (Rank size : sizes_between(std::max<Rank>(1, size_min), size_max)) {
      tasks.push_back({algorithm, size, {}});
    }
  }
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) {
      tasks[i].done.set_value(prove_all(tasks[i], mixings, stop));
    }
  };
  std::vector<std::thread> workers;
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax);
  for (unsigned i = 0; i < threads; ++i) workers.emplace_back(work);
  const uint64_t reported = report_in_order(&tasks, report);
  stop = true;
  for (std::thread& worker : workers) worker.join();
  return reported;
}

}  // namespace gossamer
