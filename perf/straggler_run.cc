#include "perf/straggler_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <thread>

#include "gossamer/gossip_methods.h"
#include "gossamer/gossip_window.h"

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Straggler {
 public:
  Straggler(Communicator& communicator, const StragglerOptions& options)
      : comm_(communicator), options_(options), x_(options.count) {}

  Status prepare() {
    auto graph = make_graph(options_.graph, comm_.size());
    if (!graph) return graph.status();
    graph_ = std::move(graph).value();
    auto pairs = make_graph(options_.pairwise_graph, comm_.size());
    if (!pairs) return pairs.status();
    pairs_ = std::move(pairs).value();
    auto apart = comm_.split(0, comm_.rank());
    if (!apart) return apart.status();
    apart_ = std::move(apart).value();
    return Status::ok();
  }

  Result<std::vector<StragglerRow>> run() {
    // Where ranks wait for each other, all take as many steps as the slow one has time for.
    const double slow_s = options_.compute_ms * options_.slow / 1000;
    const auto together =
        static_cast<uint64_t>(std::max(2.0, std::ceil(options_.seconds / slow_s)));
    if (Status s = row("compute alone", 0, [](uint64_t) { return Status::ok(); }); !s) return s;
    if (Status s =
            row("all_reduce", together,
                [&](uint64_t) { return comm_.all_reduce(std::span<float>(x_), ReduceOp::kAvg); });
        !s)
      return s;
    if (Status s = row("neighbor_average", together,
                       [&](uint64_t step) {
                         return neighbor_average(comm_, x_.data(), x_.data(), x_.size(),
                                                 DataType::kFloat32, *graph_, step);
                       });
        !s)
      return s;
    auto made =
        PairwiseSgd::create({.rank = comm_.rank(), .size = comm_.size(), .count = options_.count});
    if (!made) return made.status();
    PairwiseSgd& pairwise = *made.value();
    finish_ = [&] { return pairwise.finish(*apart_, *pairs_, x_.data()); };
    Status s = row("pairwise (AD-PSGD)", 0, [&](uint64_t) {
      return pairwise.step(*apart_, *pairs_, x_.data(), nullptr, 0);
    });
    if (s) s = run_window();
    if (!s) return s;
    return rows_;
  }

 private:
  // Push-sum whose messages wait in a window until their target looks.
  Status run_window() {
    mass_.resize(x_.size() + 1);
    auto made = Window::create(comm_, mass_.data(), mass_.size(), DataType::kFloat32,
                               {.name = "straggler"});
    if (!made) return made.status();
    Window& window = *made.value();
    std::vector<Weight> sources;
    for (Rank r = 0; r < comm_.size(); ++r) {
      if (r != comm_.rank()) sources.push_back({r, 1});
    }
    const auto take = [&](double kept) {
      Status taken = window.collect(mass_.data(), kept, sources);
      for (size_t i = 0; i < x_.size(); ++i) x_[i] = mass_[i] / mass_.back();
      return taken;
    };
    finish_ = [&] {
      Status all = window.flush();
      if (all) all = comm_.barrier();
      if (all) all = take(1);
      std::copy_n(mass_.begin(), x_.size(), x_.begin());  // whose mean push-sum keeps
      return all;
    };
    Status s = row("window (push-sum)", 0, [&](uint64_t step) {
      if (step == 0) {
        std::copy(x_.begin(), x_.end(), mass_.begin());
        mass_.back() = 1;
        if (Status set = window.set(mass_.data()); !set) return set;
      }
      if (Status sent = window.accumulate(mass_.data(), *graph_, step); !sent) return sent;
      return take(graph_->mixing(step)->weight(comm_.rank(), comm_.rank()));
    });
    return s ? window.free() : s;
  }

  // A step of the computation: an accelerator's, so that ranks do not compete for cores.
  void compute() const {
    const bool is_slow = comm_.rank() == comm_.size() - 1;
    const double ms = options_.compute_ms * (is_slow ? options_.slow : 1);
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(ms));
  }

  double own_mean() const {
    double sum = 0;
    for (const float value : x_) sum += static_cast<double>(value);
    return sum / static_cast<double>(x_.size());
  }

  // `steps`: 0, as many as fit the time.
  Status row(const char* method, uint64_t steps, const std::function<Status(uint64_t)>& average) {
    for (uint64_t i = 0; i < x_.size(); ++i) {
      x_[i] = static_cast<float>(comm_.rank() + 1) + static_cast<float>(i % 7);
    }
    const double before = own_mean();
    if (Status s = comm_.barrier(); !s) return s;
    const Clock::time_point start = Clock::now();
    uint64_t done = 0;
    while (steps > 0 ? done < steps : seconds_since(start) < options_.seconds) {
      compute();
      if (Status s = average(done); !s) return s;
      ++done;
    }
    const double rate = static_cast<double>(done) / seconds_since(start);
    if (finish_) {
      if (Status s = finish_(); !s) return s;
    }
    return report(method, rate, before);
  }

  Status report(const char* method, double rate, double before) {
    const double mine[3] = {rate, before, own_mean()};
    std::vector<double> all(3 * static_cast<size_t>(comm_.size()));
    if (Status s = comm_.all_gather(mine, all.data(), 3, DataType::kFloat64); !s) return s;
    StragglerRow row;
    row.method = method;
    double mean_before = 0;
    double mean_after = 0;
    const size_t n = all.size() / 3;
    for (size_t r = 0; r < n; ++r) {
      if (r + 1 < n) row.healthy_steps_s += all[3 * r] / static_cast<double>(n - 1);
      mean_before += all[3 * r + 1] / static_cast<double>(n);
      mean_after += all[3 * r + 2] / static_cast<double>(n);
    }
    row.slow_steps_s = all[3 * (n - 1)];
    row.mean_moved = std::abs(mean_after - mean_before) / mean_before;
    rows_.push_back(row);
    return Status::ok();
  }

  Communicator& comm_;
  const StragglerOptions& options_;
  std::vector<float> x_;
  std::vector<float> mass_;  // of push-sum: x times the weight, which is the last element
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<Graph> pairs_;
  std::unique_ptr<Communicator> apart_;  // pairwise averages have a communicator of their own
  std::function<Status()> finish_;       // what the current method leaves under way
  std::vector<StragglerRow> rows_;
};

}  // namespace

Result<std::vector<StragglerRow>> measure_straggler(Communicator& communicator,
                                                    const StragglerOptions& options) {
  Straggler straggler(communicator, options);
  if (Status s = straggler.prepare(); !s) return s;
  return straggler.run();
}

}  // namespace gossamer
