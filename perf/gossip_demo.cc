#include "perf/gossip_demo.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <thread>

namespace gossamer {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kLeftAlone = 2;  // so many are never killed
constexpr int kTestSamples = 2'000;
constexpr milliseconds kHold{80};  // for all to have finished their step, and confirmed
constexpr std::chrono::seconds kStartLimit{30};
constexpr std::chrono::seconds kLeaveLimit{15};

// Kills and reaps all that it started.
class Processes {
 public:
  Processes(const GossipDemo& demo, DemoBoard* board) : demo_(demo), board_(*board) {}
  ~Processes() {
    while (!up_.empty()) kill(up_.back());
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  Status start() {
    const size_t slot = pids_.size();
    const std::vector<size_t> others = up_;
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
      return Status::error(Code::kSystem,
                           fmt::format("cannot start a process: {}; raise `ulimit -u` or take "
                                       "fewer ranks",
                                       std::strerror(errno)));
    }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::_exit(live_as_member(demo_, &board_, slot, others));
    }
    pids_.push_back(pid);
    up_.push_back(slot);
    return Status::ok();
  }
  void kill(size_t slot) {
    ::kill(pids_[slot], SIGKILL);
    int how = 0;
    while (::waitpid(pids_[slot], &how, 0) < 0 && errno == EINTR) {
    }
    std::erase(up_, slot);
  }
  // Forgets those that have ended by themselves; an error where one of them failed.
  Status reap() {
    Status all;
    for (const size_t slot : std::vector<size_t>(up_)) {
      int how = 0;
      if (::waitpid(pids_[slot], &how, WNOHANG) != pids_[slot]) continue;
      std::erase(up_, slot);
      if (WIFEXITED(how) && WEXITSTATUS(how) == 0) continue;
      const std::string why = board_.slot(slot).failure.data();
      all = Status::error(Code::kSystem, fmt::format("member {} failed: {}", slot,
                                                     why.empty() ? "it died by itself" : why));
    }
    return all;
  }
  Status wait(std::chrono::seconds limit, const char* what, const std::function<bool()>& done) {
    const auto end = Clock::now() + limit;
    while (!done()) {
      if (Status alive = reap(); !alive) return alive;
      if (Clock::now() >= end) {
        return Status::error(Code::kTimeout,
                             fmt::format("{} took more than {} s", what, limit.count()));
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    return Status::ok();
  }

  const std::vector<size_t>& up() const { return up_; }
  int started() const { return static_cast<int>(pids_.size()); }
  std::vector<size_t> ready() {
    std::vector<size_t> slots;
    for (const size_t s : up_) {
      if (board_.slot(s).ready) slots.push_back(s);
    }
    return slots;
  }
  bool all_see_all() {
    return std::all_of(up_.begin(), up_.end(), [&](size_t s) {
      return board_.slot(s).ready && board_.slot(s).members == up_.size();
    });
  }

 private:
  const GossipDemo& demo_;
  DemoBoard& board_;
  std::vector<pid_t> pids_;
  std::vector<size_t> up_;
};

// Root mean square distance from the mean over members and elements [first, first + dim); the mean
// goes to `mean`.
double distance(DemoBoard* board, const std::vector<size_t>& slots, uint64_t first, uint64_t dim,
                std::vector<double>* mean) {
  mean->assign(dim, 0);
  const auto members = static_cast<double>(slots.size());
  for (const size_t s : slots) {
    for (uint64_t k = 0; k < dim; ++k) (*mean)[k] += board->values(s)[first + k] / members;
  }
  double sum = 0;
  for (const size_t s : slots) {
    for (uint64_t k = 0; k < dim; ++k) {
      sum += std::pow(board->values(s)[first + k] - (*mean)[k], 2);
    }
  }
  return std::sqrt(sum / (members * static_cast<double>(dim)));
}

class Run {
 public:
  explicit Run(const GossipDemo& demo)
      : demo_(demo), test_(demo.seed, demo.dim, -1, kTestSamples), random_(demo.seed) {}

  Result<std::vector<GossipDemoRow>> run() {
    const size_t joins =
        demo_.join_every > 0 ? static_cast<size_t>(demo_.seconds / demo_.join_every) : 0;
    if (Status opened = board_.open(static_cast<size_t>(demo_.ranks) + joins + 1, demo_.dim);
        !opened) {
      return opened;
    }
    Processes processes(demo_, &board_);
    for (int i = 0; i < demo_.ranks; ++i) {
      if (Status started = processes.start(); !started) return started;
    }
    if (Status met =
            processes.wait(kStartLimit, "meeting", [&] { return processes.all_see_all(); });
        !met) {
      return met;
    }
    fmt::print("{:>5} {:>5} {:>7} {:>7} {:>6} {:>10} {:>10} {:>8} {:>9} {:>7}\n", "time", "live",
               "seen", "joined", "died", "consensus", "models", "loss", "accuracy", "weight");
    look(&processes, 0);
    board_.signals().all_there = true;
    if (Status done = pass_time(&processes); !done) return done;
    if (Status left = leave_all(&processes); !left) return left;
    return std::move(rows_);
  }

 private:
  Status pass_time(Processes* processes) {
    const auto begin = Clock::now();
    double next_kill = demo_.kill_every > 0 ? demo_.kill_every : INFINITY;
    double next_join = demo_.join_every > 0 ? demo_.join_every : INFINITY;
    double next_look = 1;
    // A second's state is looked at before what happens at its end.
    while (next_look <= demo_.seconds) {
      const double next = std::min({next_look, next_kill, next_join});
      std::this_thread::sleep_until(
          begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(next)));
      if (Status alive = processes->reap(); !alive) return alive;
      if (next == next_look) {
        look(processes, next);
        next_look += 1;
      } else if (next == next_kill) {
        kill_one(processes);
        next_kill += demo_.kill_every;
      } else {
        if (processes->started() < static_cast<int>(board_.slots())) {
          if (Status started = processes->start(); !started) return started;
        }
        next_join += demo_.join_every;
      }
    }
    return Status::ok();
  }

  // The one that has started the job goes first.
  void kill_one(Processes* processes) {
    const std::vector<size_t> ready = processes->ready();
    if (ready.size() <= kLeftAlone) return;
    processes->kill(died_ == 0 ? ready.front() : ready[random_() % ready.size()]);
    ++died_;
  }

  void look(Processes* processes, double time) {
    const std::vector<size_t> ready = processes->ready();
    if (ready.empty()) return;
    board_.signals().hold = true;
    std::this_thread::sleep_for(kHold);
    GossipDemoRow row;
    row.time = time;
    row.up = static_cast<int>(processes->up().size());
    row.joined = processes->started();
    row.died = died_;
    row.seen_min = std::numeric_limits<uint64_t>::max();
    for (const size_t s : ready) {
      const uint64_t seen = board_.slot(s).members;
      row.seen_min = std::min(row.seen_min, seen);
      row.seen_max = std::max(row.seen_max, seen);
      row.weight += board_.slot(s).weight;
    }
    board_.signals().hold = false;
    std::vector<double> mean;
    row.consensus = distance(&board_, ready, demo_.dim, demo_.dim, &mean);
    row.model = distance(&board_, ready, 0, demo_.dim, &mean);
    row.loss = test_.loss(mean.data());
    row.accuracy = test_.accuracy(mean.data());
    const std::string seen = row.seen_min == row.seen_max
                                 ? fmt::format("{}", row.seen_min)
                                 : fmt::format("{}-{}", row.seen_min, row.seen_max);
    fmt::print(
        "{:>3.0f} s {:>5} {:>7} {:>7} {:>6} {:>10.1e} {:>10.1e} {:>8.4f} {:>7.1f} % {:>7.3f}\n",
        row.time, row.up, seen, row.joined, row.died, row.consensus, row.model, row.loss,
        row.accuracy * 100, row.weight);
    std::fflush(stdout);
    rows_.push_back(row);
  }

  Status leave_all(Processes* processes) {
    while (!processes->up().empty()) {
      const size_t slot = processes->up().front();
      board_.slot(slot).asked_to_leave = true;
      const auto gone = [&] {
        const auto& up = processes->up();
        return std::find(up.begin(), up.end(), slot) == up.end();
      };
      if (Status left = processes->wait(kLeaveLimit, "leaving", gone); !left) return left;
    }
    return Status::ok();
  }

  const GossipDemo& demo_;
  const DemoSamples test_;
  std::mt19937_64 random_;
  DemoBoard board_;
  int died_ = 0;
  std::vector<GossipDemoRow> rows_;
};

}  // namespace

Result<std::vector<GossipDemoRow>> run_gossip_demo(const GossipDemo& demo) {
  return Run(demo).run();
}

}  // namespace gossamer
