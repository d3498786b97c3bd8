// Averaging jobs whose members are objects of one process: the average, joining, leaving, being
// stuck or slow, and all that is refused. Processes that are killed: averaging_job_churn_test.cc.

#include "gossamer/averaging_job.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <numeric>

#include "tests/ports.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

using std::chrono::seconds;
using Job = AveragingJob;
using Kind = AveragingJob::EventKind;

constexpr uint64_t kCount = 1'000;

Job::Options options_of_test(const std::string& label = "") {
  Job::Options options;
  options.key = "a secret of this test";
  options.count = kCount;
  options.type = DataType::kFloat64;
  options.label = label;
  options.interfaces = "=lo";
  options.probe_interval = milliseconds(200);
  options.timeout = milliseconds(20'000);
  return options;
}

// A member with its values, stepped by the test.
struct Seat {
  std::vector<double> x;
  std::unique_ptr<Job> job;
};

Seat first(double value, const Job::Options& options = options_of_test()) {
  Seat seat{std::vector<double>(options.count, value), nullptr};
  auto job = Job::start(options, seat.x.data());
  EXPECT_TRUE(job.is_ok()) << job.status().to_string();
  if (job) seat.job = std::move(*job);
  return seat;
}

Seat joined(const Seat& through, const Job::Options& options = options_of_test()) {
  Seat seat{std::vector<double>(options.count, -1), nullptr};
  auto job = Job::join(through.job->address(), options, seat.x.data());
  EXPECT_TRUE(job.is_ok()) << job.status().to_string();
  if (job) seat.job = std::move(*job);
  return seat;
}

// All step in turn until the condition holds.
bool step_until(std::vector<Seat>* seats, const std::function<bool()>& condition,
                milliseconds limit = seconds(60)) {
  const Deadline deadline(limit);
  while (!condition()) {
    if (deadline.expired()) return false;
    for (Seat& seat : *seats) {
      const Status stepped = seat.job->step(seat.x.data(), nullptr, 0);
      EXPECT_TRUE(stepped.is_ok()) << stepped.to_string();
      if (!stepped) return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

double spread(const std::vector<Seat>& seats) {
  double low = INFINITY;
  double high = -low;
  for (const Seat& seat : seats) {
    for (const double value : seat.x) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  return high - low;
}

double weight(const std::vector<Seat>& seats) {
  double sum = 0;
  for (const Seat& seat : seats) sum += seat.job->weight();
  return sum;
}

bool all_see(const std::vector<Seat>& seats, size_t count) {
  return std::all_of(seats.begin(), seats.end(),
                     [&](const Seat& seat) { return seat.job->members().size() == count; });
}

bool sees(Job* job, Kind kind, const std::string& label, milliseconds limit = seconds(60)) {
  const Deadline deadline(limit);
  while (!deadline.expired()) {
    for (const Job::Event& event : job->events(milliseconds(50))) {
      if (event.kind == kind && event.member.label == label) return true;
    }
  }
  return false;
}

std::vector<Seat> group_of(int count, Job::Options options = options_of_test()) {
  std::vector<Seat> seats;
  options.label = "0";
  seats.push_back(first(0, options));
  for (int i = 1; i < count; ++i) {
    options.label = std::to_string(i);
    seats.push_back(joined(seats.back(), options));
  }
  EXPECT_TRUE(step_until(&seats, [&] { return all_see(seats, static_cast<size_t>(count)); }));
  return seats;
}

// Moves each by a number of its own; returns the mean that they should come to, which follows from
// the weight each had, 1 in all.
double move_apart(std::vector<Seat>* seats) {
  double mean = 0;
  for (size_t i = 0; i < seats->size(); ++i) {
    Seat& seat = (*seats)[i];
    const double shift = std::pow(-3.0, static_cast<double>(i));
    const std::vector<double> g(seat.x.size(), -shift);
    const uint64_t pushes = seat.job->account().pushes;
    EXPECT_TRUE(seat.job->step(seat.x.data(), g.data(), 1).is_ok());
    const bool halved = seat.job->account().pushes > pushes;
    mean += shift * seat.job->weight() * (halved ? 2 : 1);
  }
  return mean;
}

// Messages to members that did not know the sender yet come late: values may agree before.
bool come_to(double mean, std::vector<Seat>* seats, double distance) {
  return step_until(seats, [&] {
    return std::all_of(seats->begin(), seats->end(), [&](const Seat& seat) {
      return std::abs(seat.x.front() - mean) <= distance &&
             std::abs(seat.x.back() - mean) <= distance;
    });
  });
}

TEST(AveragingJob, FindsTheMeanAndWhoLeavesTakesNothingAlong) {
  for (const auto peers : {Job::Peers::kOnePeerExponential, Job::Peers::kRandom}) {
    auto options = options_of_test();
    options.peers = peers;
    std::vector<Seat> seats = group_of(5, options);
    EXPECT_EQ(spread(seats), 0);
    const double mean = move_apart(&seats);
    ASSERT_TRUE(come_to(mean, &seats, 1e-11)) << seats[0].x[0] << ", not " << mean;
    const double moved = mean + move_apart(&seats);
    while (seats.size() > 1) {  // the first goes first
      const Status left = seats.front().job->leave(seconds(60));
      EXPECT_TRUE(left.is_ok()) << left.to_string();
      EXPECT_EQ(seats.front().job->weight(), 0);
      EXPECT_EQ(seats.front().job->step(seats.front().x.data(), nullptr, 0).code(), Code::kAborted);
      seats.erase(seats.begin());
      EXPECT_TRUE(step_until(&seats, [&] { return all_see(seats, seats.size()); }));
      EXPECT_TRUE(come_to(moved, &seats, 1e-10)) << seats[0].x[0] << ", not " << moved;
    }
    EXPECT_TRUE(step_until(&seats, [&] { return seats[0].job->account().under_way == 0; }));
    EXPECT_NEAR(weight(seats), 1, 1e-12);
    EXPECT_TRUE(seats[0].job->leave(seconds(60)).is_ok());
  }
}

// Nobody steps meanwhile.
TEST(AveragingJob, ANewcomerStartsWhereItsNeighborIs) {
  std::vector<Seat> seats;
  seats.push_back(first(2.5, options_of_test("a")));
  for (int i = 0; i < 7; ++i) {
    ASSERT_TRUE(seats[0].job->step(seats[0].x.data(), nullptr, 0).is_ok());
  }
  seats.push_back(joined(seats[0], options_of_test("b")));
  EXPECT_EQ(seats[1].x, seats[0].x);
  EXPECT_EQ(seats[1].job->steps(), 7u);
  EXPECT_EQ(weight(seats), 1);
  seats.push_back(joined(seats[1], options_of_test("c")));
  EXPECT_EQ(seats[2].x, seats[0].x);
  EXPECT_EQ(weight(seats), 1);
  EXPECT_TRUE(sees(seats[0].job.get(), Kind::kJoined, "c"));
  const auto members = seats[2].job->members();
  ASSERT_EQ(members.size(), 3u);
  EXPECT_EQ(std::count_if(members.begin(), members.end(), [](const auto& m) { return m.self; }), 1);
  seats[1].job.reset();  // without a word
  EXPECT_TRUE(sees(seats[0].job.get(), Kind::kDied, "b"));
  const Status left = seats[2].job->leave(seconds(60));  // its peer is not stepping either
  EXPECT_TRUE(left.is_ok()) << left.to_string();
  EXPECT_TRUE(sees(seats[0].job.get(), Kind::kLeft, "c"));
}

// One in float32, of a size that fills socket buffers; one member stands still.
TEST(AveragingJob, WhoStandsStillIsToldAndHoldsNobodyBack) {
  auto options = options_of_test("still");
  options.count = 3'000'000;
  options.type = DataType::kFloat32;
  options.stuck_after = milliseconds(1'000);
  struct Narrow {
    std::vector<float> x;
    std::unique_ptr<Job> job;
  };
  std::vector<Narrow> seats;
  for (int i = 0; i < 3; ++i) {
    if (i > 0) options.label = std::to_string(i);
    seats.push_back({std::vector<float>(options.count, 1), nullptr});
    auto job = i == 0 ? Job::start(options, seats[0].x.data())
                      : Job::join(seats[0].job->address(), options, seats.back().x.data());
    ASSERT_TRUE(job.is_ok()) << job.status().to_string();
    seats.back().job = std::move(*job);
  }
  ASSERT_TRUE(seats[0].job->step(seats[0].x.data(), nullptr, 0).is_ok());
  // The other two are told, and go on with each other as often as it takes: a busy machine may
  // need longer than the second after which one is taken to be stuck, and seconds for a message.
  constexpr uint64_t kTakes = 10;
  const Deadline deadline(seconds(200));
  bool told = false;
  while (!deadline.expired() && (!told || seats[1].job->account().takes < kTakes ||
                                 seats[2].job->account().takes < kTakes)) {
    for (int i = 1; i < 3; ++i) {
      ASSERT_TRUE(seats[i].job->step(seats[i].x.data(), nullptr, 0).is_ok());
    }
    for (const Job::Event& event : seats[1].job->events()) {
      told = told || (event.kind == Kind::kStuck && event.member.label == "still");
    }
    std::this_thread::sleep_for(milliseconds(2));
  }
  EXPECT_TRUE(told);
  EXPECT_GE(seats[1].job->account().takes, kTakes);
  EXPECT_GE(seats[2].job->account().takes, kTakes);
  // The one that stands still keeps what it had and two messages at most.
  EXPECT_GT(seats[1].job->weight() + seats[2].job->weight(), 0.01);
  EXPECT_LE(seats[0].job->account().takes, 2u);
}

TEST(AveragingJob, StepsFromSeveralThreadsAtOnce) {
  constexpr int kMembers = 4;
  std::vector<Seat> seats = group_of(kMembers);
  const double mean = move_apart(&seats);
  std::atomic<bool> end{false};
  std::vector<std::thread> threads;
  for (Seat& seat : seats) {
    threads.emplace_back([&seat, &end] {
      while (!end) {
        ASSERT_TRUE(seat.job->step(seat.x.data(), nullptr, 0).is_ok());
        std::this_thread::sleep_for(milliseconds(1));
      }
    });
    threads.emplace_back([&seat, &end] {
      while (!end) {
        EXPECT_LE(seat.job->members().size(), size_t{kMembers});
        EXPECT_GE(seat.job->account().weight, 0);
        static_cast<void>(seat.job->events(milliseconds(1)));
        static_cast<void>(seat.job->steps());
      }
    });
  }
  std::this_thread::sleep_for(milliseconds(1'500));
  end = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(come_to(mean, &seats, 1e-11)) << seats[0].x[0] << ", not " << mean;
}

void expect_refused(const Result<std::unique_ptr<Job>>& job, Code code, const std::string& part) {
  ASSERT_FALSE(job.is_ok()) << part;
  EXPECT_EQ(job.status().code(), code) << job.status().to_string();
  EXPECT_NE(job.status().message().find(part), std::string::npos) << job.status().message();
}

TEST(AveragingJob, RefusesWhatCannotWorkAndSaysWhatToDo) {
  std::vector<double> x(kCount, 1);
  const auto refused = [&](const std::function<void(Job::Options*)>& spoil,
                           const std::string& part) {
    auto options = options_of_test();
    spoil(&options);
    expect_refused(Job::start(options, x.data()), Code::kInvalidArgument, part);
  };
  refused([](auto* o) { o->key.clear(); }, "either a key");
  refused([](auto* o) { o->count = 0; }, "no elements");
  refused([](auto* o) { o->type = DataType::kInt32; }, "float");
  refused([](auto* o) { o->type = DataType::kBfloat16; }, "float32 or float64");
  refused([](auto* o) { o->label.assign(65, 'x'); }, "a label of 65 bytes");
  refused([](auto* o) { o->interfaces = "=nosuch0"; }, "nosuch0");
  refused([](auto* o) { o->port_range = "9-1"; }, "port range");
  refused([](auto* o) { o->probe_interval = milliseconds(1); }, "probe_interval");
  const UniqueId none;
  refused([&](auto* o) { o->id = &none; }, "either a key");
  refused([&](auto* o) { o->id = &none, o->key.clear(); }, "unique id");
  expect_refused(Job::start(options_of_test(), nullptr), Code::kInvalidArgument, "null");

  auto options = options_of_test();
  options.port_range = std::to_string(free_port());
  Seat seat = first(1, options);
  EXPECT_EQ(seat.job->address(), "127.0.0.1:" + options.port_range);
  expect_refused(Job::start(options, x.data()), Code::kSystem, options.port_range);
  double* const v = seat.x.data();
  EXPECT_EQ(seat.job->step(nullptr, nullptr, 0).code(), Code::kInvalidArgument);
  EXPECT_EQ(seat.job->step(v, v + 1, 0.1).code(), Code::kInvalidArgument);
  EXPECT_EQ(seat.job->step(v, x.data(), NAN).code(), Code::kInvalidArgument);
  EXPECT_EQ(seat.job->steps(), 0u);
}

TEST(AveragingJob, WhoDoesNotFitIsNotLetIn) {
  Seat seat = first(1);
  const std::string address = seat.job->address();
  std::vector<double> x(kCount + 1, 1);
  const auto refused = [&](const std::string& to, const std::function<void(Job::Options*)>& spoil,
                           Code code, const std::string& part) {
    auto options = options_of_test();
    options.timeout = milliseconds(700);
    spoil(&options);
    expect_refused(Job::join(to, options, x.data()), code, part);
  };
  const auto as_it_is = [](Job::Options*) {};
  refused(
      address, [](auto* o) { o->key = "another"; }, Code::kTimeout, "same key");
  refused(
      address, [](auto* o) { o->name = "another"; }, Code::kTimeout, "same key");
  refused(
      address, [](auto* o) { o->count += 1; }, Code::kMismatch, "1000 elements of float64");
  refused(
      address, [](auto* o) { o->type = DataType::kFloat32; }, Code::kMismatch, "of float32");
  refused("127.0.0.1:9", as_it_is, Code::kTimeout, "check that one runs there");
  refused("nonsense", as_it_is, Code::kInvalidArgument, "nonsense");
  refused("[::1]:4000", as_it_is, Code::kInvalidArgument, "IP family");
  EXPECT_EQ(seat.job->weight(), 1);
  EXPECT_TRUE(seat.job->step(seat.x.data(), nullptr, 0).is_ok());
}

// The mass of a job is with those who have started it; nobody can give what is not there.
TEST(AveragingJob, NobodyGetsValuesFromOneThatIsGone) {
  std::vector<Seat> seats = group_of(2);
  ASSERT_TRUE(seats[0].job->leave(seconds(60)).is_ok());
  auto options = options_of_test();
  options.timeout = milliseconds(700);
  std::vector<double> x(kCount, 7);
  expect_refused(Job::join(seats[0].job->address(), options, x.data()), Code::kTimeout, "check");
  EXPECT_EQ(x[0], 7);
}

TEST(AveragingJob, AForkedChildDoesNothing) {
  std::vector<Seat> seats = group_of(2);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const bool refused =
        seats[0].job->step(seats[0].x.data(), nullptr, 0).code() == Code::kAborted &&
        seats[0].job->leave(seconds(1)).code() == Code::kAborted && seats[0].job->events().empty();
    seats.clear();
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(come_to(move_apart(&seats), &seats, 1e-11));
}

TEST(AveragingJob, IsIdleBetweenSteps) {
  auto options = options_of_test();
  options.probe_interval = milliseconds(1'000);
  constexpr int kMembers = 3;
  std::vector<Seat> seats = group_of(kMembers, options);
  constexpr int kSeconds = 3;
  double wakes = INFINITY;
  // Who has to be asked twice wakes more: on a busy machine it may take some times.
  for (int i = 0; i < 5 && wakes >= 8; ++i) {
    std::this_thread::sleep_for(milliseconds(500));
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_SELF, &before);
    std::this_thread::sleep_for(seconds(kSeconds));
    ::getrusage(RUSAGE_SELF, &after);
    wakes = static_cast<double>(after.ru_nvcsw - before.ru_nvcsw) / (kMembers * kSeconds);
  }
  std::printf("%.1f wake-ups per idle member and probe\n", wakes);
  EXPECT_LT(wakes, 8);  // the membership's
}

TEST(AveragingJob, LeavesNothingBehind) {
  { group_of(2); }  // what is made once stays
  const Holdings before = Holdings::now();
  {
    std::vector<Seat> seats = group_of(3);
    (void)seats[1].job->leave(seconds(5));
  }
  EXPECT_EQ(Holdings::settled(before), before);
}

}  // namespace
}  // namespace gossamer
