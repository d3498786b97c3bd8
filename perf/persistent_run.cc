#include "perf/persistent_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "perf/region.h"
#include "perf/rpc_baseline.h"

namespace gossamer {
namespace {

constexpr int kRounds = 7;

enum Contestant { kRpc, kOrdinary, kOrdinaryRegistered, kPersistent, kPersistentRegistered };
constexpr int kAll = 5;

class Comparison {
 public:
  Comparison(Communicator& communicator, Group& group, const PerfOptions& options)
      : communicator_(communicator), group_(group), options_(options) {}

  Status prepare() {
    const uint64_t longest = options_.sizes.back();
    if (Status s = plain_.allocate(longest, false); !s) return s;
    if (Status s = shared_.allocate(longest, true); !s) return s;
    const std::string transport = options_.transport == "auto" ? "shm" : options_.transport;
    best_ = transport == "tcp" ? kPersistent : kPersistentRegistered;
    auto made = RpcBaseline::create(
        communicator_, transport, longest / sizeof(float) + 1, options_.baseline == "rpc",
        std::chrono::milliseconds(static_cast<int64_t>(options_.timeout_s * 1000)));
    if (!made) return made.status();
    rpc_ = std::move(*made);
    return Status::ok();
  }

  Status run() {
    if (group_.rank() == 0) {
      fmt::print("# median us; in place; {} rounds in turn; {}\n", kRounds,
                 options_.touch ? "each rank writes its buffer before every operation, timed"
                                : "buffers are not touched between operations");
      fmt::print("#{:>11}  {:>9}  {:>9} {:>9}  {:>10} {:>9}  {:>8} {:>12}\n", "bytes",
                 options_.baseline, "call", "reg. call", "persistent", "reg. pers",
                 options_.baseline + "/pers", "call/pers");
    }
    for (const uint64_t bytes : options_.sizes) {
      if (Status s = measure_size(bytes); !s) return s;
    }
    if (group_.rank() != 0 || sizes_ == 0) return Status::ok();
    fmt::print("# geometric mean: {} / persistent {:.2f}, ordinary call / persistent {:.2f}\n",
               options_.baseline, std::exp(log_rpc_ / sizes_), std::exp(log_call_ / sizes_));
    fmt::print(
        "# ratios: median of the rounds'; {} and call on ordinary memory, persistent on {}\n",
        options_.baseline, best_ == kPersistent ? "ordinary memory" : "the library's");
    std::fflush(stdout);
    return Status::ok();
  }

 private:
  float* values(int who) const {
    const bool registered = who == kOrdinaryRegistered || who == kPersistentRegistered;
    return reinterpret_cast<float*>((registered ? shared_ : plain_).data());
  }

  Status call(int who, uint64_t count, bool touches) {
    float* const x = values(who);
    if (touches) touch(x, count);
    switch (who) {
      case kRpc:
        return rpc_->all_reduce(x, count);
      case kOrdinary:
      case kOrdinaryRegistered:
        return communicator_.all_reduce(x, x, count, DataType::kFloat32, ReduceOp::kSum);
      default: {
        PersistentCollective& plan = plans_[who == kPersistent ? 0 : 1];
        if (Status s = plan.start(); !s) return s;
        return plan.wait();
      }
    }
  }

  // As a step of training leaves it: all of it written by this rank.
  void touch(float* x, uint64_t count) const {
    std::memset(x, 0, count * sizeof(float));
    __asm__ volatile("" : : "r"(x) : "memory");
  }

  Status check(int who, uint64_t count) {
    float* const x = values(who);
    const auto rank = static_cast<uint64_t>(group_.rank());
    const auto n = static_cast<uint64_t>(group_.size());
    for (uint64_t i = 0; i < count; ++i) x[i] = static_cast<float>(i % 61 + rank);
    if (Status s = group_.barrier(); !s) return s;
    if (Status s = call(who, count, false); !s) return s;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count; ++i) {
      wrong += x[i] != static_cast<float>(n * (i % 61) + n * (n - 1) / 2) ? 1 : 0;
    }
    std::vector<double> all;
    if (Status s = group_.gather(static_cast<double>(wrong), &all); !s) return s;
    for (const double w : all) {
      if (w > 0) return Status::error(Code::kSystem, fmt::format("{} wrong elements", w));
    }
    return Status::ok();
  }

  Status measure_size(uint64_t bytes) {
    const uint64_t count = std::max<uint64_t>(bytes / sizeof(float), 1);
    for (const bool registered : {false, true}) {
      float* const x = values(registered ? kPersistentRegistered : kPersistent);
      auto made = communicator_.plan_all_reduce(x, x, count, DataType::kFloat32, ReduceOp::kSum);
      if (!made) return made.status();
      plans_[registered ? 1 : 0] = std::move(*made);
    }
    std::array<std::vector<double>, kAll> medians;
    for (int who = 0; who < kAll; ++who) {
      if (Status s = check(who, count); !s) return s;
    }
    Pace pace = pace_for(bytes, 0, 0, options_.seconds / kRounds / kAll);
    pace.groups_warm = 1;
    for (int round = 0; round < kRounds; ++round) {
      for (int turn = 0; turn < kAll; ++turn) {
        const int who = round % 2 == 0 ? turn : kAll - 1 - turn;
        Measured measured;
        measured.prepare = [&](int) { touch(values(who), count); };
        measured.run = [&](int) { return call(who, count, options_.touch); };
        measured.inspect = [](int) -> uint64_t { return 0; };
        const Result<Timing> timing = measure(group_, pace, measured);
        if (!timing) return timing.status();
        medians[static_cast<size_t>(who)].push_back(timing->median_us);
      }
    }
    report(bytes, &medians);
    return Status::ok();
  }

  // Median over the rounds: a round's contestants met the same machine, and two rounds may not
  // have.
  static double ratio(const std::vector<double>& slow, const std::vector<double>& fast) {
    std::vector<double> ratios;
    for (size_t i = 0; i < slow.size(); ++i) ratios.push_back(slow[i] / fast[i]);
    return summarize(ratios).median_us;
  }

  void report(uint64_t bytes, std::array<std::vector<double>, kAll>* medians) {
    std::array<double, kAll> us{};
    for (size_t who = 0; who < kAll; ++who) us[who] = summarize((*medians)[who]).median_us;
    const double over_rpc = ratio((*medians)[kRpc], (*medians)[best_]);
    const double over_call = ratio((*medians)[kOrdinary], (*medians)[best_]);
    log_rpc_ += std::log(over_rpc);
    log_call_ += std::log(over_call);
    ++sizes_;
    if (group_.rank() != 0) return;
    fmt::print("{:>12}  {:>9.2f}  {:>9.2f} {:>9.2f}  {:>10.2f} {:>9.2f}  {:>8.2f} {:>12.2f}\n",
               bytes, us[kRpc], us[kOrdinary], us[kOrdinaryRegistered], us[kPersistent],
               us[kPersistentRegistered], over_rpc, over_call);
    std::fflush(stdout);
  }

  Communicator& communicator_;
  Group& group_;
  const PerfOptions& options_;
  Region plain_;
  Region shared_;
  std::unique_ptr<RpcBaseline> rpc_;
  std::array<PersistentCollective, 2> plans_;  // on ordinary memory, on the library's
  double log_rpc_ = 0;
  double log_call_ = 0;
  int sizes_ = 0;
  size_t best_ = kPersistentRegistered;  // on the memory that the transport is best with
};

}  // namespace

Status compare_with_rpc(Communicator& communicator, Group& group, const PerfOptions& options) {
  Comparison comparison(communicator, group, options);
  if (Status s = comparison.prepare(); !s) return s;
  if (Status s = comparison.run(); !s) return s;
  return group.barrier();  // nobody leaves while another runs
}

}  // namespace gossamer
