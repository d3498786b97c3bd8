// gossamer verify: proves schedules for a range of ranks, counts, pieces and layouts.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gossip/graph.h"
#include "perf/commands.h"
#include "src/verify.h"
#include "topology/machine.h"

namespace gossamer {
namespace {

struct Flags {
  bool all = false;
  std::vector<std::string> names;
  int ranks_min = 1;
  int ranks_max = 16;
  int threads = 0;
};

// One algorithm and one number of ranks; proofs are pure, so threads share a list of these.
struct Item {
  size_t algorithm;
  Rank size;
};

struct Tally {
  std::atomic<uint64_t> proofs{0};
  std::atomic<uint64_t> failures{0};
  std::atomic<double> seconds{0};
};

// Of every graph of this size, its first rounds.
std::vector<std::shared_ptr<const Mixing>> mixings_of(Rank size) {
  constexpr uint64_t kRounds = 3;
  std::vector<std::shared_ptr<const Mixing>> mixings;
  for (const GraphFactory* factory : graphs()) {
    const auto graph = make_graph(factory->name, size);
    if (!graph) continue;  // it does not fit the size, or needs a file
    const uint64_t rounds = (*graph)->period() == 0 ? kRounds : (*graph)->period();
    for (uint64_t t = 0; t < std::min(rounds, kRounds); ++t) mixings.push_back((*graph)->mixing(t));
  }
  return mixings;
}

class Sweep {
 public:
  Sweep(std::vector<const Algorithm*> which, Rank size_min, Rank size_max)
      : which_(std::move(which)), tallies_(which_.size()) {
    // the largest first, so that no thread is left alone with one at the end
    for (Rank n = size_max; n >= size_min; --n) {
      for (size_t a = 0; a < which_.size(); ++a) items_.push_back({a, n});
    }
  }

  void run(int threads) {
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([this] { work(); });
    work();
  }

  int report(double seconds) const {
    uint64_t proofs = 0;
    uint64_t failures = 0;
    fmt::print("{:<21}{:<28}{:>12}{:>10}{:>10}\n", "collective", "algorithm", "proofs", "failed",
               "cpu s");
    for (size_t a = 0; a < which_.size(); ++a) {
      const Tally& t = tallies_[a];
      fmt::print("{:<21}{:<28}{:>12}{:>10}{:>10.1f}\n", name_of(which_[a]->collective),
                 which_[a]->name, t.proofs.load(), t.failures.load(), t.seconds.load());
      proofs += t.proofs;
      failures += t.failures;
    }
    fmt::print("{} schedules {} in {:.1f} s\n", proofs,
               failures == 0 ? "proved" : fmt::format("checked, {} REFUTED", failures), seconds);
    return failures == 0 && proofs > 0 ? 0 : kExitFailure;
  }

 private:
  void work() {
    for (size_t i = next_++; i < items_.size(); i = next_++) {
      const Item item = items_[i];
      Tally& tally = tallies_[item.algorithm];
      const auto begin = std::chrono::steady_clock::now();
      tally.proofs += verify_sweep(
          {which_[item.algorithm]}, item.size, item.size,
          [&](const SweepCase& c) { return note(c, &tally); }, mixings_of);
      tally.seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      progress(i + 1);
    }
  }

  // Goes on after a failure, but shows only the first few.
  bool note(const SweepCase& c, Tally* tally) {
    if (c.verdict.proved()) return true;
    if (++tally->failures <= 3) {
      const std::scoped_lock lock(print_);
      fmt::print("REFUTED {} ranks={} count={} root={} pieces={} {}: {}\n", c.algorithm->name,
                 c.size, c.count, c.root, c.pieces, c.in_place ? "in place" : "out of place",
                 c.verdict.reason);
    }
    return true;
  }

  void progress(size_t done) {
    static const bool kToTerminal = isatty(STDERR_FILENO) == 1;
    if (!kToTerminal) return;
    const std::scoped_lock lock(print_);
    fmt::print(stderr, "\r{:3.0f} %{}",
               100.0 * static_cast<double>(done) / static_cast<double>(items_.size()),
               done == items_.size() ? "\r      \r" : "");
  }

  std::vector<const Algorithm*> which_;
  std::vector<Tally> tallies_;
  std::vector<Item> items_;
  std::atomic<size_t> next_{0};
  std::mutex print_;
};

Result<std::vector<const Algorithm*>> choose(const Flags& f) {
  std::vector<const Algorithm*> which;
  if (f.all || f.names.empty()) {
    which.assign(algorithms().begin(), algorithms().end());
    return which;
  }
  for (const std::string& name : f.names) {
    const size_t before = which.size();
    for (const Algorithm* a : algorithms()) {
      if (a->name == name) which.push_back(a);
    }
    if (which.size() > before) continue;
    std::string known;
    for (const Algorithm* a : algorithms()) known.append(known.empty() ? "" : ", ").append(a->name);
    return Status::error(Code::kInvalidArgument,
                         fmt::format("'{}' is no algorithm; there are {}", name, known));
  }
  return which;
}

int verify_command(const Flags& f) {
  auto which = choose(f);
  if (!which) return complain(which.status(), kExitUsage);
  if (f.ranks_min < 1 || f.ranks_max < f.ranks_min || f.ranks_max > 4096)
    return complain(Status::error(Code::kInvalidArgument,
                                  "--min-ranks and --max-ranks want 1 <= min <= max <= 4096"),
                    kExitUsage);
  const auto begin = std::chrono::steady_clock::now();
  Sweep sweep(*std::move(which), f.ranks_min, f.ranks_max);
  sweep.run(f.threads > 0 ? std::min(f.threads, 256) : usable_cores());
  return sweep.report(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

}  // namespace

void add_verify_command(CLI::App& app, int* exit_code) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "verify",
      "Proves that schedules are complete, free of deadlock and race, and give the same "
      "bits on every rank");
  Flags& f = *flags;
  command->add_flag("--all", f.all, "every algorithm (the default)");
  command->add_option("--algorithm", f.names, "only these");
  command->add_option("--min-ranks", f.ranks_min, "from this number of ranks")
      ->capture_default_str();
  command->add_option("--max-ranks", f.ranks_max, "to this one")->capture_default_str();
  command->add_option("--threads", f.threads, "default: number of cores");
  command->callback([flags, exit_code] { *exit_code = verify_command(*flags); });
}

}  // namespace gossamer
