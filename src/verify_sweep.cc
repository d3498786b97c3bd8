// Which shapes the sweep proves.

#include <algorithm>
#include <set>

#include "src/plan.h"
#include "src/verify.h"

namespace gossamer {
namespace {

constexpr Rank kExhaustiveMax = 64;

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

// One host; or, for algorithms that need more, equal hosts, a short last host, mixed hosts.
std::vector<std::vector<Rank>> layouts_for(const Algorithm& algorithm, Rank size) {
  Shape shape;
  shape.size = size;
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
  if (algorithm.collective == Collective::kAllReduce) {
    variants.push_back({kFloat, ReduceOp::kSum, 1, true, 1 << 20});
  }
  if (algorithm.rounds_once) {
    variants.push_back({kNarrow, ReduceOp::kSum, 1, false, 0});
    variants.push_back({kNarrow, ReduceOp::kAvg, 1, true, 0});
    variants.push_back({kNarrow, ReduceOp::kAvg, 3, false, 0});
    variants.push_back({kNarrow, ReduceOp::kSum, 3, true, 0});
  }
  return variants;
}

// Goes through one algorithm at one size. False: stop.
class Sweep {
 public:
  explicit Sweep(const std::function<bool(const SweepCase&)>& report) : report_(report) {}

  bool prove(const Algorithm& algorithm, Rank size) {
    for (const std::vector<Rank>& hosts : layouts_for(algorithm, size)) {
      for (uint64_t count : awkward_counts(size)) {
        for (const Variant& variant : variants_for(algorithm)) {
          if (!prove_one(algorithm, size, hosts, count, variant)) return false;
        }
      }
    }
    return true;
  }

  uint64_t cases() const { return cases_; }

 private:
  bool prove_one(const Algorithm& algorithm, Rank size, const std::vector<Rank>& hosts,
                 uint64_t count, const Variant& variant) {
    Call call;
    call.collective = algorithm.collective;
    call.type = variant.type;
    call.op = variant.op;
    call.count = count;
    call.in_place = variant.in_place;
    call.eager_bytes = variant.eager_bytes;
    const uint8_t lanes = variant.pieces > 1 ? 2 : 1;
    const Verdict verdict = verify(algorithm, call, size, hosts, variant.pieces, lanes);
    ++cases_;
    return report_({&algorithm, size, count, variant.pieces, variant.in_place, verdict});
  }

  const std::function<bool(const SweepCase&)>& report_;
  uint64_t cases_ = 0;
};

}  // namespace

uint64_t verify_sweep(const std::vector<const Algorithm*>& which, Rank size_min, Rank size_max,
                      const std::function<bool(const SweepCase&)>& report) {
  Sweep sweep(report);
  for (const Algorithm* algorithm : which) {
    for (Rank size : sizes_between(std::max<Rank>(1, size_min), size_max)) {
      if (!sweep.prove(*algorithm, size)) return sweep.cases();
    }
  }
  return sweep.cases();
}

}  // namespace gossamer
