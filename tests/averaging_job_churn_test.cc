// An averaging job among processes of which one is killed every second, the first member first, and
// one joins every two. When only three are left, one joins for each that is killed.
// GOSSAMER_SOAK=1 does so for 60 seconds instead of 8. And of one that is not dead, but stopped.
//
// ctest: TIMEOUT 600 RUN_SERIAL TRUE

#include <algorithm>
#include <cmath>
#include <random>

#include "gossamer/averaging_job.h"
#include "src/fd.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

using std::chrono::seconds;

constexpr uint64_t kCount = 256;
constexpr size_t kSlots = 128;
constexpr size_t kFirst = 8;

AveragingJob::Options options_of(size_t slot) {
  AveragingJob::Options options;
  options.key = "a secret of this test";
  options.count = kCount;
  options.label = std::to_string(slot);
  options.type = DataType::kFloat64;
  options.interfaces = "=lo";
  options.probe_interval = milliseconds(200);
  options.timeout = milliseconds(2'000);
  return options;
}

bool holds_within(milliseconds limit, const std::function<bool()>& condition) {
  const Deadline deadline(limit);
  while (!condition()) {
    if (deadline.expired()) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

// What a process tells, in memory that all share.
struct Slot {
  std::atomic<bool> ready{false};
  std::array<char, 64> address{};
  std::atomic<double> value{0};
  std::atomic<double> weight{0};
  std::atomic<double> taken_back{0};
  std::atomic<double> part{NAN};  // of the mean that all should come to
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> members{0};
  std::atomic<bool> asked_to_leave{false};
  std::array<char, 200> failure{};
};
struct Shared {
  std::atomic<bool> apart{false};
  std::array<Slot, kSlots> slots;
};

class Processes {
 public:
  Processes() {
    void* const memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    shared_ = new (memory) Shared;
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    while (!up_.empty()) kill(up_.back());
    ::munmap(shared_, sizeof(Shared));
  }

  // Starts one that joins through any of those that are up; nothing but the first is special.
  void start() {
    const size_t slot = pids_.size();
    ASSERT_LT(slot, kSlots);
    const std::vector<size_t> others = up_;
    pids_.push_back(forked(580, [&] { live(slot, others); }));
    up_.push_back(slot);
  }
  void kill(size_t slot) {
    ::kill(pids_[slot], SIGKILL);
    ::waitpid(pids_[slot], nullptr, 0);
    std::erase(up_, slot);
  }
  void signal(size_t slot, int number) { ::kill(pids_[slot], number); }
  // True once it has ended by itself, in good order.
  bool ended(size_t slot) {
    int status = 0;
    if (::waitpid(pids_[slot], &status, WNOHANG) != pids_[slot]) return false;
    std::erase(up_, slot);
    EXPECT_EQ(status, 0) << (*this)[slot].failure.data();
    return true;
  }
  const std::vector<size_t>& up() const { return up_; }
  Shared& shared() { return *shared_; }
  Slot& operator[](size_t slot) { return shared_->slots[slot]; }

  std::vector<size_t> ready() {
    std::vector<size_t> slots;
    for (const size_t s : up_) {
      if ((*this)[s].ready) slots.push_back(s);
    }
    return slots;
  }
  bool all_see_all() {
    return std::all_of(up_.begin(), up_.end(), [&](size_t s) {
      return (*this)[s].ready && (*this)[s].members == up_.size();
    });
  }
  // From the least to the greatest value.
  double width() {
    double low = INFINITY;
    double high = -low;
    for (const size_t s : ready()) {
      low = std::min(low, (*this)[s].value.load());
      high = std::max(high, (*this)[s].value.load());
    }
    return high - low;
  }
  std::string failures() {
    std::string text;
    for (size_t s = 0; s < pids_.size(); ++s) {
      if ((*this)[s].failure[0] != 0) text += std::to_string(s) + ": " + failure(s) + "\n";
    }
    return text;
  }

 private:
  std::string failure(size_t slot) { return (*this)[slot].failure.data(); }
  void fail(size_t slot, const Status& status) {
    std::snprintf((*this)[slot].failure.data(), (*this)[slot].failure.size(), "%s",
                  status.to_string().c_str());
  }

  std::unique_ptr<AveragingJob> enter(size_t slot, const std::vector<size_t>& others, double* x) {
    std::mt19937_64 random(slot);
    if (others.empty()) {
      auto job = AveragingJob::start(options_of(slot), x);
      if (job) return std::move(*job);
      fail(slot, job.status());
      return nullptr;
    }
    for (;;) {  // who is asked may have been killed: another one then
      const size_t through = others[random() % others.size()];
      const std::string address = (*this)[through].address.data();
      if (!address.empty()) {
        auto job = AveragingJob::join(address, options_of(slot), x);
        if (job) return std::move(*job);
        if (job.status().code() != Code::kTimeout) fail(slot, job.status());
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
  }

  void live(size_t slot, const std::vector<size_t>& others) {
    Slot& own = (*this)[slot];
    std::vector<double> x(kCount);
    std::unique_ptr<AveragingJob> job = enter(slot, others, x.data());
    if (job == nullptr) ::_exit(1);
    std::snprintf(own.address.data(), own.address.size(), "%s", job->address().c_str());
    bool apart = slot >= kFirst;
    while (!own.asked_to_leave) {
      const bool move = !apart && shared_->apart;
      // The first ones are moved apart by numbers of their own.
      const double shift = move ? std::cos(static_cast<double>(slot)) : 0;
      const std::vector<double> g(kCount, -shift);
      const uint64_t pushes = job->account().pushes;
      const Status stepped = job->step(x.data(), move ? g.data() : nullptr, 1);
      if (!stepped) fail(slot, stepped);
      const auto account = job->account();
      if (move) own.part = shift * account.weight * (account.pushes > pushes ? 2 : 1);
      apart = apart || move;
      own.value = x[slot % kCount];
      own.weight = account.weight;
      own.taken_back = account.taken_back;
      own.steps = job->steps();
      own.members = job->members().size();
      own.ready = true;
      std::this_thread::sleep_for(milliseconds(40));  // or they would agree before the first death
    }
    const Status left = job->leave(seconds(20));
    if (!left) fail(slot, left);
    ::_exit(left ? 0 : 1);
  }

  Shared* shared_ = nullptr;
  std::vector<pid_t> pids_;
  std::vector<size_t> up_;
};

// Until each that is up has made so many more steps.
bool let_step(Processes* processes, uint64_t steps) {
  std::vector<std::pair<size_t, uint64_t>> wanted;
  for (const size_t s : processes->up()) wanted.emplace_back(s, (*processes)[s].steps + steps);
  return holds_within(seconds(60), [&] {
    return std::all_of(wanted.begin(), wanted.end(), [&](const auto& slot) {
      return (*processes)[slot.first].steps >= slot.second;
    });
  });
}

// The eight are moved apart, so that the mean of what they are moved by, each times the weight it
// has, is where values ought to meet; the weights are 1 in all. It is exact as long as nobody dies.
//
// The bound: every pair that is held or under way is a mean of earlier ones, and deaths take pairs
// away or let one be there twice. So no value ever leaves the range that all values and messages
// have been in: from just before the first death on the width of that range, which the mean lies
// in too, bounds how far anything can end from it.
TEST(AveragingJobProcesses, AverageWhileTheyAreKilledAndJoin) {
  Processes processes;
  std::mt19937_64 random(1);
  for (size_t i = 0; i < kFirst; ++i) processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_see_all(); }))
      << processes.failures();
  ASSERT_TRUE(let_step(&processes, 10));  // no message to one who does not know us
  processes.shared().apart = true;
  double mean = 0;
  ASSERT_TRUE(holds_within(seconds(60), [&] {
    mean = 0;
    for (size_t s = 0; s < kFirst; ++s) mean += processes[s].part.load();
    return !std::isnan(mean);
  }));
  const double apart = processes.width();
  // Messages under way are younger than that: they are confirmed at the next step.
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.width() < 0.3 * apart; }));
  const double bound = processes.width();
  ASSERT_TRUE(let_step(&processes, 5));

  std::vector<double> widths;
  size_t killed = 0;
  const int seconds_of_churn = times(8, 60);
  // Longer where steps are slow: until the values have come together all the same.
  const auto apart_still = [&] { return widths.back() > 0.1 * bound; };
  for (int second = 0; second < seconds_of_churn || (apart_still() && second < 90); ++second) {
    const int64_t end = now_us() + 1'000'000;
    processes.kill(second == 0 ? 0 : processes.up()[random() % processes.up().size()]);
    ++killed;
    if (second % 2 == 1 || processes.up().size() < 3) processes.start();
    std::this_thread::sleep_for(std::chrono::microseconds(std::max<int64_t>(0, end - now_us())));
    widths.push_back(processes.width());
    std::printf("%2d s: %zu up, %zu ready, width %.3g\n", second + 1, processes.up().size(),
                processes.ready().size(), widths.back());
  }
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_see_all(); }))
      << processes.failures();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.width() < 1e-14; }))
      << processes.width();
  EXPECT_EQ(processes.failures(), "");
  // It falls, but what was pushed to the dead comes back seconds later as it was then.
  for (const double width : widths) EXPECT_LE(width, bound);
  EXPECT_LE(widths.back(), 0.1 * bound);

  double weight = 0;
  double taken_back = 0;
  for (const size_t s : processes.up()) {
    EXPECT_NEAR(processes[s].value, mean, bound) << "process " << s;
    EXPECT_GT(processes[s].weight, 0);
    weight += processes[s].weight;
    taken_back += processes[s].taken_back;
  }
  std::printf("%zu killed, weight %.3g of 1 left, %.3g taken back; value off by %.3g, bound %.3g\n",
              killed, weight, taken_back, processes[processes.up()[0]].value - mean, bound);
  EXPECT_LE(weight, 1 + taken_back + 1e-12);

  // All leave but one, which has all the weight then.
  while (processes.up().size() > 1) {
    const size_t slot = processes.up().front();
    processes[slot].asked_to_leave = true;
    ASSERT_TRUE(holds_within(seconds(40), [&] { return processes.ended(slot); })) << slot;
  }
  EXPECT_NEAR(processes[processes.up()[0]].value, mean, bound);
}

// Stopped until the others hold it for dead, and then let run again: what it holds counts again,
// what was pushed to it may count twice, and nothing leaves the range of what there was.
TEST(AveragingJobProcesses, OneThatWasOnlyStoppedReturns) {
  Processes processes;
  for (size_t i = 0; i < 4; ++i) processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_see_all(); }))
      << processes.failures();
  processes.shared().apart = true;
  ASSERT_TRUE(holds_within(seconds(60), [&] { return !std::isnan(processes[2].part.load()); }));
  double low = INFINITY;
  double high = -low;
  for (size_t s = 0; s < 4; ++s) {
    low = std::min({low, 0.0, std::cos(static_cast<double>(s))});
    high = std::max({high, 0.0, std::cos(static_cast<double>(s))});
  }
  processes.signal(2, SIGSTOP);
  const auto others_see = [&](uint64_t members) {
    return processes[0].members == members && processes[1].members == members &&
           processes[3].members == members;
  };
  ASSERT_TRUE(holds_within(seconds(60), [&] { return others_see(3); }));
  std::this_thread::sleep_for(seconds(1));
  processes.signal(2, SIGCONT);
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_see_all(); }))
      << processes.failures();
  // Steps that go on between it and the others, in both directions.
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.width() < 1e-14; }))
      << processes.width();
  double weight = 0;
  double taken_back = 0;
  for (const size_t s : processes.up()) {
    EXPECT_GE(processes[s].value, low);
    EXPECT_LE(processes[s].value, high);
    EXPECT_GT(processes[s].weight, 0);
    weight += processes[s].weight;
    taken_back += processes[s].taken_back;
  }
  EXPECT_LE(weight, 1 + taken_back + 1e-12);
  for (const size_t s : {2, 0, 1}) {
    processes[s].asked_to_leave = true;
    ASSERT_TRUE(holds_within(seconds(40), [&] { return processes.ended(s); })) << s;
  }
}

}  // namespace
}  // namespace gossamer
