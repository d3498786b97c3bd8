// Membership over UDP on loopback: in one process, and between processes that are killed and
// started all the time. GOSSAMER_SOAK=1 does the latter for 60 seconds instead of 10.
//
// ctest: TIMEOUT 400 RUN_SERIAL TRUE

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <bitset>
#include <random>
#include <set>

#include "gossip/membership/membership.h"
#include "tests/ports.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

using std::chrono::seconds;

Membership::Options options_of_test(const std::string& metadata = "") {
  Membership::Options options;
  options.key.fill(std::byte{3});
  options.interfaces = "=lo";
  options.metadata = metadata;
  options.timing.probe_interval = milliseconds(200);
  options.timing.probe_timeout = milliseconds(80);
  options.timing.sync_interval = milliseconds(2'000);
  return options;
}

std::unique_ptr<Membership> started(const Membership::Options& options) {
  auto member = Membership::start(options);
  EXPECT_TRUE(member.is_ok()) << member.status().to_string();
  return member.is_ok() ? std::move(*member) : nullptr;
}

bool holds_within(milliseconds limit, const std::function<bool()>& condition) {
  const Deadline deadline(limit);
  while (!condition()) {
    if (deadline.expired()) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return true;
}

// `count` members of which each joined through the one before.
std::vector<std::unique_ptr<Membership>> group_of(int count, const Membership::Options& options) {
  std::vector<std::unique_ptr<Membership>> group;
  for (int i = 0; i < count; ++i) {
    auto own = options;
    own.metadata = std::to_string(i);
    group.push_back(started(own));
    if (i == 0) continue;
    const Status joined =
        group.back()->join(group[static_cast<size_t>(i) - 1]->address(), seconds(60));
    EXPECT_TRUE(joined.is_ok()) << joined.to_string();
  }
  EXPECT_TRUE(holds_within(seconds(60), [&] {
    return std::all_of(group.begin(), group.end(), [&](const auto& member) {
      return member->members().size() == static_cast<size_t>(count);
    });
  }));
  return group;
}

// Waits for this event about the member whose metadata that is.
bool sees(Membership* member, MemberEventKind kind, const std::string& metadata,
          milliseconds limit = seconds(60)) {
  const Deadline deadline(limit);
  while (!deadline.expired()) {
    for (const MemberEvent& event : member->events(milliseconds(100))) {
      if (event.kind == kind && event.member.metadata == metadata) return true;
    }
  }
  return false;
}

TEST(Membership, TellsWhoJoinedChangedLeftAndDied) {
  auto group = group_of(5, options_of_test());
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kJoined, "4"));
  EXPECT_TRUE(group[1]->set_metadata("one").is_ok());
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kUpdated, "one"));
  EXPECT_TRUE(group[2]->leave(seconds(60)).is_ok());
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kLeft, "2"));
  group[3].reset();  // without a word
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kDied, "3"));
  EXPECT_TRUE(holds_within(seconds(60), [&] {
    return group[0]->members().size() == 3 && group[1]->members().size() == 3 &&
           group[4]->members().size() == 3;
  }));
}

TEST(Membership, TellsByCallbackToo) {
  std::mutex m;
  std::set<std::string> joined;
  Membership* self = nullptr;
  std::atomic<bool> ready{false};
  auto options = options_of_test("a");
  options.on_event = [&](const MemberEvent& event) {
    while (!ready) std::this_thread::yield();
    EXPECT_FALSE(self->leave(milliseconds(1)).is_ok());  // refused here, and no deadlock
    EXPECT_GE(self->members().size(), 1u);
    const std::lock_guard lock(m);
    if (event.kind == MemberEventKind::kJoined) joined.insert(event.member.metadata);
  };
  auto a = started(options);
  self = a.get();
  ready = true;
  auto b = started(options_of_test("b"));
  ASSERT_TRUE(b->join(a->address(), seconds(60)).is_ok());
  EXPECT_TRUE(holds_within(seconds(60), [&] {
    const std::lock_guard lock(m);
    return joined.contains("b");
  }));
  EXPECT_TRUE(a->events().empty());
}

TEST(Membership, ReportsAStuckMember) {
  auto options = options_of_test();
  options.timing.progress_limit = milliseconds(1'000);
  auto group = group_of(4, options);
  std::atomic<bool> end{false};
  std::atomic<bool> stand_still{true};
  std::thread application([&] {
    for (auto& member : group) member->advance_progress();
    while (!end) {
      for (size_t i = 0; i < group.size(); ++i) {
        if (i != 2 || !stand_still) group[i]->advance_progress();
      }
      std::this_thread::sleep_for(milliseconds(10));
    }
  });
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kStuck, "2"));
  EXPECT_TRUE(sees(group[2].get(), MemberEventKind::kStuck, "2"));  // itself as well
  stand_still = false;
  EXPECT_TRUE(sees(group[0].get(), MemberEventKind::kMoving, "2"));
  end = true;
  application.join();
}

TEST(Membership, RefusesWhatCannotWorkAndSaysWhatToDo) {
  const auto refused = [](const std::function<void(Membership::Options*)>& spoil,
                          const std::string& part) {
    auto options = options_of_test();
    spoil(&options);
    const auto member = Membership::start(options);
    ASSERT_FALSE(member.is_ok()) << part;
    EXPECT_EQ(member.status().code(), Code::kInvalidArgument);
    EXPECT_NE(member.status().message().find(part), std::string::npos) << member.status().message();
  };
  refused([](auto* o) { o->key.fill(std::byte{0}); }, "all zeros");
  refused([](auto* o) { o->metadata.assign(129, 'x'); }, "129 bytes of metadata");
  refused([](auto* o) { o->timing.probe_timeout = o->timing.probe_interval; }, "probe_timeout");
  refused([](auto* o) { o->timing.suspicion_spread = 0.5; }, "suspicion_spread");
  refused([](auto* o) { o->interfaces = "=nosuch0"; }, "nosuch0");
  refused([](auto* o) { o->port_range = "9-1"; }, "port range");
  EXPECT_FALSE(Membership::Options::of(UniqueId{}).is_ok());

  auto member = started(options_of_test());
  const auto join_refused = [&](const std::string& address, Code code, const std::string& part) {
    const Status status = member->join(address, milliseconds(300));
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  join_refused("nonsense", Code::kInvalidArgument, "nonsense");
  join_refused(member->address(), Code::kInvalidArgument, "own address");
  join_refused("[::1]:4000", Code::kInvalidArgument, "IP family");
  join_refused("127.0.0.1:9", Code::kTimeout, "check that one runs there");
  EXPECT_FALSE(member->set_metadata(std::string(129, 'x')).is_ok());
  EXPECT_TRUE(member->leave(seconds(1)).is_ok());
  join_refused("127.0.0.1:9", Code::kAborted, "left");
}

TEST(Membership, AnotherKeyOrSessionKeepsOut) {
  auto a = started(options_of_test());
  auto other_key = options_of_test();
  other_key.key.fill(std::byte{4});
  auto other_session = options_of_test();
  other_session.session = 1;
  for (const auto& options : {other_key, other_session}) {
    auto stranger = started(options);
    const Status status = stranger->join(a->address(), milliseconds(500));
    EXPECT_EQ(status.code(), Code::kTimeout);
    EXPECT_EQ(stranger->members().size(), 1u);
  }
  EXPECT_EQ(a->members().size(), 1u);
  EXPECT_TRUE(a->events().empty());
}

TEST(Membership, TakesAPortOfTheRange) {
  const uint16_t first = free_ports(2);
  const std::string range = std::to_string(first) + "-" + std::to_string(first + 1);
  auto options = options_of_test();
  options.port_range = range;
  const auto a = started(options);
  const auto b = started(options);
  const std::set<std::string> addresses{a->address(), b->address()};
  EXPECT_EQ(addresses, (std::set<std::string>{"127.0.0.1:" + std::to_string(first),
                                              "127.0.0.1:" + std::to_string(first + 1)}));
  const auto c = Membership::start(options);
  EXPECT_EQ(c.status().code(), Code::kSystem);
  EXPECT_NE(c.status().message().find("no port of " + range), std::string::npos);
}

// Over a loopback that has no IPv4 address, in a network of the test's own.
TEST(Membership, WorksOverIpv6) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0 ||
        std::system("ip link set lo up && ip addr del 127.0.0.1/8 dev lo") != 0) {  // NOLINT
      ::_exit(77);
    }
    auto group = group_of(3, options_of_test());
    if (!group[0] || group[0]->address().substr(0, 6) != "[::1]:") ::_exit(77);
    group[1].reset();
    const bool died = sees(group[0].get(), MemberEventKind::kDied, "1");
    group.clear();
    ::_exit(died && !::testing::Test::HasFailure() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "skipped: a network of our own needs root";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Membership, IsIdleBetweenProbes) {
  auto options = options_of_test();
  options.timing.probe_interval = milliseconds(1'000);
  constexpr int kMembers = 3;
  auto group = group_of(kMembers, options);
  constexpr int kSeconds = 4;
  const auto cpu_us = [](const rusage& u) {
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1'000'000L + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
  };
  double share = 1;
  double wakes = 1e9;
  // Who has to be asked twice wakes more: on a busy machine it may take some times.
  for (int i = 0; i < 5 && (share >= 0.01 || wakes >= 8); ++i) {
    std::this_thread::sleep_for(milliseconds(500));
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_SELF, &before);
    std::this_thread::sleep_for(seconds(kSeconds));
    ::getrusage(RUSAGE_SELF, &after);
    share = static_cast<double>(cpu_us(after) - cpu_us(before)) / (kSeconds * 1e6);
    wakes = static_cast<double>(after.ru_nvcsw - before.ru_nvcsw) / (kMembers * kSeconds);
  }
  std::printf("%d idle members: %.3f %% of a core in all, %.1f wake-ups per member and probe\n",
              kMembers, share * 100, wakes);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(share, 0.01);
#endif
  EXPECT_LT(wakes, 8);  // its own probe, its ack, others' pings, now and then a comparison
}

TEST(Membership, LeavesNothingBehind) {
  { group_of(2, options_of_test()); }  // what is made once stays
  const Holdings before = Holdings::now();
  {
    auto group = group_of(3, options_of_test());
    (void)group[1]->leave(seconds(5));
  }
  EXPECT_EQ(Holdings::settled(before), before);
}

// Slots of all processes that a test ever starts, in memory that they share.
constexpr size_t kSlots = 192;
struct Slot {
  std::atomic<bool> ready{false};  // has joined
  std::array<char, 64> address{};
  std::array<std::atomic<uint64_t>, kSlots / 64> members{};  // bit s: slot s is one
  std::array<std::atomic<uint64_t>, kSlots / 64> died{};     // bit s: was told so
  std::atomic<bool> failed{false};
};
using Slots = std::bitset<kSlots>;
Slots read(const std::array<std::atomic<uint64_t>, kSlots / 64>& words) {
  Slots slots;
  for (size_t s = 0; s < kSlots; ++s) slots[s] = (words[s / 64].load() >> (s % 64) & 1) != 0;
  return slots;
}

class Processes {
 public:
  Processes() {
    void* const memory = ::mmap(nullptr, sizeof(Slot) * kSlots, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    slots_ = static_cast<Slot*>(memory);
    for (size_t s = 0; s < kSlots; ++s) new (&slots_[s]) Slot;
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    for (size_t s = 0; s < pids_.size(); ++s) kill(s);
    ::munmap(slots_, sizeof(Slot) * kSlots);
  }

  // Starts a process that joins through any of those that are up, in random order.
  size_t start() {
    const size_t slot = pids_.size();
    EXPECT_LT(slot, kSlots);
    const Slots others = up_;
    pids_.push_back(forked(380, [&] { live(slot, others); }));
    up_.set(slot);
    return slot;
  }
  void kill(size_t slot) {
    if (!up_[slot]) return;
    ::kill(pids_[slot], SIGKILL);
    ::waitpid(pids_[slot], nullptr, 0);
    up_.reset(slot);
  }
  void signal(size_t slot, int number) { ::kill(pids_[slot], number); }
  const Slots& up() const { return up_; }
  const Slot& operator[](size_t slot) const { return slots_[slot]; }
  size_t any(std::mt19937_64* random) const {
    size_t skip = (*random)() % up_.count();
    for (size_t s = 0;; ++s) {
      if (up_[s] && skip-- == 0) return s;
    }
  }
  bool all_agree() const {
    for (size_t s = 0; s < pids_.size(); ++s) {
      if (up_[s] && (!slots_[s].ready || read(slots_[s].members) != up_)) return false;
    }
    return true;
  }
  std::string views() const {
    std::string text = "up " + shown(up_);
    for (size_t s = 0; s < pids_.size(); ++s) {
      if (up_[s]) text += "\n" + std::to_string(s) + " sees " + shown(read(slots_[s].members));
    }
    return text;
  }

 private:
  std::string shown(const Slots& slots) const {
    std::string text;
    for (size_t s = 0; s < pids_.size(); ++s) {
      if (slots[s]) text += " " + std::to_string(s);
    }
    return text;
  }

  void live(size_t slot, const Slots& others) {
    Slot& own = slots_[slot];
    auto member = Membership::start(options_of_test(std::to_string(slot)));
    if (!member) {
      own.failed = true;
      return;
    }
    std::snprintf(own.address.data(), own.address.size(), "%s", (*member)->address().c_str());
    join(member->get(), slot, others);
    own.ready = true;
    for (;;) {
      for (const MemberEvent& event : (*member)->events(milliseconds(20))) {
        const size_t about = std::strtoul(event.member.metadata.c_str(), nullptr, 10);
        if (event.kind != MemberEventKind::kDied) continue;
        own.died[about / 64].fetch_or(uint64_t{1} << (about % 64));
      }
      std::array<uint64_t, kSlots / 64> view{};
      for (const Member& m : (*member)->members()) {
        const size_t about = std::strtoul(m.metadata.c_str(), nullptr, 10);
        view[about / 64] |= uint64_t{1} << (about % 64);
      }
      for (size_t i = 0; i < view.size(); ++i) own.members[i] = view[i];
    }
  }
  void join(Membership* member, size_t slot, const Slots& others) {
    std::mt19937_64 random(slot);
    for (bool joined = others.none(); !joined;) {
      const size_t through = random() % kSlots;
      const std::string address = slots_[through].address.data();
      if (others[through] && !address.empty()) {
        joined = member->join(address, milliseconds(1'000)).is_ok();
      }
    }
  }

  Slot* slots_ = nullptr;
  std::vector<pid_t> pids_;
  Slots up_;
};

// One is killed every second, the first member first, and one joins every two. When only three are
// left, one joins for each that is killed.
TEST(MembershipProcesses, SurvivorsAgreeWhileOthersAreKilledAndJoin) {
  Processes processes;
  std::mt19937_64 random(1);
  for (int i = 0; i < 8; ++i) processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  struct Kill {
    size_t slot;
    Slots present;  // who was in the group by then
  };
  std::vector<Kill> kills;
  const int seconds_of_churn = times(10, 60);
  for (int second = 0; second < seconds_of_churn; ++second) {
    const int64_t end = now_us() + 1'000'000;
    const size_t victim = second == 0 ? 0 : processes.any(&random);
    Slots present;
    for (size_t s = 0; s < kSlots; ++s) {
      present[s] = processes.up()[s] && processes[s].ready && read(processes[s].members)[victim];
    }
    processes.kill(victim);
    kills.push_back({victim, present});
    if (second % 2 == 1 || processes.up().count() < 3) processes.start();
    std::this_thread::sleep_for(std::chrono::microseconds(std::max<int64_t>(0, end - now_us())));
  }
  const int64_t stopped = now_us();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  std::printf("%zu killed; %zu survivors agreed %.1f s after the last\n", kills.size(),
              processes.up().count(), static_cast<double>(now_us() - stopped) / 1e6);
  for (const Kill& kill : kills) {
    for (size_t s = 0; s < kSlots; ++s) {
      if (!processes.up()[s] || !kill.present[s] || s == kill.slot) continue;
      EXPECT_TRUE(read(processes[s].died)[kill.slot])
          << s << " was not told that " << kill.slot << " died";
    }
  }
}

// Stopped until the others take it for dead, and then let run again.
TEST(MembershipProcesses, OneThatWasOnlyStoppedReturns) {
  Processes processes;
  for (int i = 0; i < 5; ++i) processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  processes.signal(3, SIGSTOP);
  ASSERT_TRUE(holds_within(seconds(60), [&] {
    return read(processes[0].died)[3] && read(processes[4].died)[3];
  })) << processes.views();
  std::this_thread::sleep_for(seconds(1));
  processes.signal(3, SIGCONT);
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  EXPECT_EQ(read(processes[3].died), Slots(0));  // who was away blames nobody
}

TEST(MembershipProcesses, KillingTheFirstMemberChangesNothing) {
  Processes processes;
  for (int i = 0; i < 4; ++i) processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  processes.kill(0);
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
  for (size_t s = 1; s < 4; ++s) EXPECT_TRUE(read(processes[s].died)[0]);
  processes.start();
  ASSERT_TRUE(holds_within(seconds(60), [&] { return processes.all_agree(); }))
      << processes.views();
}

}  // namespace
}  // namespace gossamer
