// AD-PSGD: exchanges under loss, repetition, reorder and death by a seed, and over communicators.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>

#include "src/fd.h"
#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr size_t kWidth = 3;

struct Faults {
  double loss = 0;
  double repeat = 0;
  bool reorder = false;
};

// All ranks in one thread, and the packets between them.
class Swarm {
 public:
  Swarm(Rank n, const Faults& faults, uint64_t seed) : n_(n), faults_(faults), generator_(seed) {
    x_ = gaussian_rows(n, kWidth, seed + 1);
    start_ = x_;
    for (Rank r = 0; r < n; ++r) {
      methods_.push_back(
          PairwiseSgd::create({.rank = r, .size = n, .count = kWidth, .type = DataType::kFloat64})
              .value());
    }
  }

  // One event: somebody asks, or a packet arrives.
  void event() {
    const bool asks = mail_.empty() || chance() < 0.4;
    if (!asks) return arrive();
    const Rank i = any_rank();
    const Rank j = any_rank();
    if (i != j && i != dead_ && j != dead_) ask(i, j);
  }
  // Asks again where no answer has come, until none is missing; how many events it took.
  int settle() {
    int events = 0;
    for (bool open = true; open && events < 100'000;) {
      open = false;
      for (Rank i = 0; i < n_; ++i) {
        for (Rank j = 0; j < n_; ++j) {
          if (i == dead_ || j == dead_ || !method(i).open(j)) continue;
          open = true;
          ask(i, j);
        }
      }
      while (!mail_.empty()) {
        arrive();
        ++events;
      }
    }
    return events;
  }
  // Its packets that are under way may still arrive; nothing reaches it any more.
  void kill(Rank rank) { dead_ = rank; }

  bool any_open() const {
    for (Rank i = 0; i < n_; ++i) {
      for (Rank j = 0; j < n_ && i != dead_; ++j) {
        if (j != dead_ && methods_[static_cast<size_t>(i)]->open(j)) return true;
      }
    }
    return false;
  }
  // Of the survivors, but for what exchanges with the dead rank have moved: 0 if every exchange
  // between survivors is on both sides or on neither.
  double imbalance() const {
    double worst = 0;
    for (size_t k = 0; k < kWidth; ++k) {
      double sum = 0;
      for (Rank r = 0; r < n_; ++r) {
        if (r == dead_) continue;
        const size_t at = static_cast<size_t>(r) * kWidth + k;
        sum += x_[at] - start_[at] - (with_dead_.empty() ? 0 : with_dead_[at]);
      }
      worst = std::max(worst, std::abs(sum));
    }
    return worst;
  }
  // As if `rank` were to die: keeps what each survivor's exchanges with it moved.
  void watch(Rank rank) {
    watched_ = rank;
    with_dead_.assign(x_.size(), 0);
  }
  // The communicator is gone and what was under way in it; the survivors have new numbers.
  void shrink() {
    mail_.clear();
    for (Rank r = 0; r < n_; ++r) {
      if (r == dead_) continue;
      const Status done = method(r).shrink(std::vector<Rank>{dead_});
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    }
    methods_.erase(methods_.begin() + dead_);
    for (std::vector<double>* rows : {&x_, &start_, &with_dead_}) {
      const auto row = rows->begin() + dead_ * static_cast<ptrdiff_t>(kWidth);
      rows->erase(row, row + static_cast<ptrdiff_t>(kWidth));
    }
    --n_;
    dead_ = watched_ = -1;
  }
  double spread() const { return distance(x_, mean_of(x_, kWidth)); }

 private:
  struct Message {
    Rank from, to;
    std::vector<std::byte> packet;
  };

  PairwiseSgd& method(Rank r) { return *methods_[static_cast<size_t>(r)]; }
  double* x_of(Rank r) { return x_.data() + static_cast<size_t>(r) * kWidth; }
  double chance() { return std::uniform_real_distribution<>()(generator_); }
  Rank any_rank() { return static_cast<Rank>(generator_() % static_cast<uint64_t>(n_)); }
  void ask(Rank i, Rank j) {
    const auto packet = method(i).request(j, x_of(i));
    ASSERT_TRUE(packet.is_ok());
    post(i, j, *packet);
  }
  void post(Rank from, Rank to, std::span<const std::byte> packet) {
    const int copies = chance() < faults_.loss ? 0 : chance() < faults_.repeat ? 2 : 1;
    for (int c = 0; c < copies; ++c) {
      mail_.push_back({from, to, {packet.begin(), packet.end()}});
    }
  }
  void arrive() {
    const size_t at = faults_.reorder ? generator_() % mail_.size() : 0;
    const Message message = mail_[at];
    mail_.erase(mail_.begin() + static_cast<ptrdiff_t>(at));
    if (message.to == dead_) return;
    const std::vector<double> before(x_of(message.to), x_of(message.to) + kWidth);
    const auto back = method(message.to).take(message.from, message.packet, x_of(message.to));
    ASSERT_TRUE(back.is_ok()) << back.status().to_string();
    if (message.from == watched_) {
      for (size_t k = 0; k < kWidth; ++k) {
        with_dead_[static_cast<size_t>(message.to) * kWidth + k] += x_of(message.to)[k] - before[k];
      }
    }
    if (!back->empty()) post(message.to, message.from, *back);
  }

  Rank n_;
  Faults faults_;
  std::mt19937_64 generator_;
  std::vector<std::unique_ptr<PairwiseSgd>> methods_;
  std::vector<double> x_;
  std::vector<double> start_;
  std::vector<double> with_dead_;
  std::vector<Message> mail_;
  Rank dead_ = -1;
  Rank watched_ = -1;
};

TEST(Pairwise, AnExchangeIsTheMeanOnBothSides) {
  auto one = PairwiseSgd::create({.rank = 0, .size = 2, .count = 2}).value();
  auto other = PairwiseSgd::create({.rank = 1, .size = 2, .count = 2}).value();
  float x[] = {1, 2};
  float y[] = {3, 8};
  const auto request = one->request(1, x);
  EXPECT_TRUE(one->open(1));
  const auto answer = other->take(0, *request, y);
  x[0] += 10;  // a gradient meanwhile
  EXPECT_TRUE(one->take(1, *answer, x)->empty());
  EXPECT_FALSE(one->open(1));
  EXPECT_EQ(x[0], 12);
  EXPECT_EQ(x[1], 5);
  EXPECT_EQ(y[0], 2);
  EXPECT_EQ(y[1], 5);
}

TEST(Pairwise, RequestsThatCrossAreOneExchange) {
  auto one = PairwiseSgd::create({.rank = 0, .size = 2, .count = 1}).value();
  auto other = PairwiseSgd::create({.rank = 1, .size = 2, .count = 1}).value();
  float x = 1;
  float y = 3;
  const auto mine = one->request(1, &x);
  const auto theirs = other->request(0, &y);
  EXPECT_TRUE(one->take(1, *theirs, &x)->empty());
  const auto answer = other->take(0, *mine, &y);
  EXPECT_FALSE(other->open(0));
  EXPECT_TRUE(one->take(1, *answer, &x)->empty());
  EXPECT_EQ(x, 2);
  EXPECT_EQ(y, 2);
  EXPECT_EQ(one->exchanges(), 1U);
  EXPECT_EQ(other->exchanges(), 1U);
}

TEST(Pairwise, E24BothOrNeitherInAThousandFaultyRuns) {
  double spread = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Swarm swarm(8, {.loss = 0.2, .repeat = 0.2, .reorder = true}, seed);
    const double first = swarm.spread();
    for (int e = 0; e < 1500; ++e) swarm.event();
    ASSERT_LT(swarm.settle(), 100'000) << "never ends";
    ASSERT_FALSE(swarm.any_open());
    ASSERT_LT(swarm.imbalance(), 1e-12);
    spread += swarm.spread() / first / 1000;
  }
  EXPECT_LT(spread, 0.1) << "they do not average";
}

TEST(Pairwise, E24ARankThatDiesCostsOnlyItsOwnExchanges) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Swarm swarm(8, {.loss = 0.1, .repeat = 0.1, .reorder = true}, seed);
    swarm.watch(3);
    const int until = static_cast<int>(seed % 200);
    for (int e = 0; e < until; ++e) swarm.event();
    swarm.kill(3);
    for (int e = 0; e < 200; ++e) swarm.event();
    ASSERT_LT(swarm.settle(), 100'000) << "never ends";
    ASSERT_FALSE(swarm.any_open());
    ASSERT_LT(swarm.imbalance(), 1e-12);
  }
}

TEST(Pairwise, E24SurvivorsEndWhatWasUnderWayAmongThem) {
  int open = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Swarm swarm(8, {.loss = 0.1, .repeat = 0.1, .reorder = true}, seed);
    const auto victim = static_cast<Rank>(seed % 8);
    swarm.watch(victim);
    const int until = static_cast<int>(seed % 200);
    for (int e = 0; e < until; ++e) swarm.event();
    swarm.kill(victim);
    swarm.shrink();
    open += swarm.any_open() ? 1 : 0;
    for (int e = 0; e < 200; ++e) swarm.event();
    ASSERT_LT(swarm.settle(), 100'000) << "never ends";
    ASSERT_FALSE(swarm.any_open());
    ASSERT_LT(swarm.imbalance(), 1e-12);
  }
  EXPECT_GT(open, 500) << "nothing was under way";
}

TEST(Pairwise, ShrinkRefusesRanksThatCannotBeLost) {
  auto one = PairwiseSgd::create({.rank = 1, .size = 4, .count = 1}).value();
  const auto shrink = [&](std::vector<Rank> lost) { return one->shrink(lost); };
  expect_refused(shrink({}), "no rank is lost");
  expect_refused(shrink({1}), "rank 1 cannot be lost");
  expect_refused(shrink({4}), "rank 4 cannot be lost");
  expect_refused(shrink({0, 0}), "rank 0 cannot be lost");
  float x = 1;
  ASSERT_TRUE(one->request(3, &x).is_ok());
  EXPECT_TRUE(shrink({0}));
  EXPECT_TRUE(one->open(2));  // who was 3
  expect_refused(one->request(3, &x).status(), "no other rank of 3");
}

// Ranks of different speed, over real transports.
void expect_mean_kept(const std::string& transport, const std::string& name, Rank n, size_t width) {
  const std::vector<double> start = gaussian_rows(n, width, 4);
  const std::vector<double> mean = mean_of(start, width);
  std::vector<double> x = start;
  RankGroup group(n, transport, "", std::chrono::seconds(20));
  const auto graph = graph_of(name, n);
  std::atomic<uint64_t> total{0};
  group.each([&](Communicator& comm) {
    const auto method =
        PairwiseSgd::create(
            {.rank = comm.rank(), .size = n, .count = width, .type = DataType::kFloat64})
            .value();
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * width;
    std::mt19937_64 generator(static_cast<uint64_t>(comm.rank()));
    for (int part = 0; part < 2; ++part) {  // goes on after finish()
      // All go on until there were enough of all together.
      const uint64_t enough = static_cast<uint64_t>(n) * 60 * static_cast<uint64_t>(part + 1);
      for (uint64_t mine_before = method->exchanges(); total.load() < enough;) {
        const Status done = method->step(comm, *graph, mine, nullptr, 0);
        ASSERT_TRUE(done.is_ok()) << done.to_string();
        total += method->exchanges() - mine_before;
        mine_before = method->exchanges();
        if (generator() % 4 == 0) {
          std::this_thread::sleep_for(std::chrono::microseconds(generator() % 200));
        }
      }
      const Status done = method->finish(comm, *graph, mine);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    }
  });
  const std::vector<double> now = mean_of(x, width);
  for (size_t k = 0; k < width; ++k) EXPECT_NEAR(now[k], mean[k], 1e-12);
  EXPECT_LT(distance(x, mean), 0.05 * distance(start, mean)) << transport << " " << name;
}

TEST(Pairwise, E24KeepsTheMeanOverThreadsOfAnySpeed) {
  for (const char* transport : {"loopback", "shm", "tcp"}) {
    expect_mean_kept(transport, "ring", 4, 50);
    expect_mean_kept(transport, "complete", 8, 50);
    expect_mean_kept(transport, "ring", 4, 50'000);
  }
}

TEST(Pairwise, ARankThatGivesUpIsAnErrorAndNoHang) {
  for (const char* transport : {"loopback", "shm", "tcp"}) {
    RankGroup group(4, transport, "", std::chrono::seconds(30));
    const auto graph = graph_of("ring", 4);
    const auto begin = std::chrono::steady_clock::now();
    group.each([&](Communicator& comm) {
      const auto method =
          PairwiseSgd::create({.rank = comm.rank(), .size = 4, .count = 100}).value();
      std::vector<float> x(100, 1.0F);
      Status status;
      for (int t = 0; status && t < 20; ++t) {
        status = method->step(comm, *graph, x.data(), nullptr, 0);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      if (comm.rank() == 3) return comm.abort();  // and leaves without finish()
      if (status) status = method->finish(comm, *graph, x.data());
      // Rank 1 is no neighbor of it, and may have been done.
      if (status && comm.rank() == 1) return;
      EXPECT_EQ(status.code(), Code::kAborted) << status.to_string();
    });
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10)) << transport;
  }
}

// Two steps of one rank, and between them all that the others want to do.
TEST(Pairwise, ASlowRankSlowsNobodyDown) {
  RankGroup group(4);
  const auto graph = graph_of("ring", 4);
  std::atomic<int> quick_done{0};
  group.each([&](Communicator& comm) {
    const auto method = PairwiseSgd::create({.rank = comm.rank(), .size = 4, .count = 100}).value();
    std::vector<float> x(100, static_cast<float>(comm.rank()));
    const bool slow = comm.rank() == 0;
    for (int t = 0; t < (slow ? 2 : 40); ++t) {
      ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
      const Deadline deadline(std::chrono::seconds(30));
      while (slow && quick_done.load() < 3 && !deadline.expired()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      if (slow) {
        EXPECT_EQ(quick_done.load(), 3) << "they wait for the slow rank";
      }
    }
    if (!slow) ++quick_done;
    ASSERT_TRUE(method->finish(comm, *graph, x.data()));
  });
}

TEST(Pairwise, NothingIsAllocatedOnceAllNeighborsHaveMet) {
  RankGroup group(2);
  const auto graph = graph_of("ring", 2);
  group.each([&](Communicator& comm) {
    const auto method =
        PairwiseSgd::create({.rank = comm.rank(), .size = 2, .count = 1000}).value();
    std::vector<float> x(1000, 1.0F);
    const auto steps_until = [&](uint64_t exchanges) {
      while (method->exchanges() < exchanges) {
        ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    };
    steps_until(20);
    // The communicator's lists grow to the most messages that ever were under way, which chance may
    // first bring later on.
    int windows = 0;
    for (int w = 0; w < 10; ++w) {
      const uint64_t before = allocations;
      for (int t = 0; t < 25; ++t) {
        ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
      if (allocations != before) ++windows;
    }
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_LE(windows, 2);
    }
    ASSERT_TRUE(method->finish(comm, *graph, x.data()));
  });
}

TEST(Pairwise, SavedNumbersGoOn) {
  const PairwiseSgd::Options options{.rank = 0, .size = 2, .count = 1};
  auto one = PairwiseSgd::create(options).value();
  auto peer = PairwiseSgd::create({.rank = 1, .size = 2, .count = 1}).value();
  float x = 1;
  float y = 3;
  const auto request = one->request(1, &x);
  expect_refused(one->save().status(), "finish()");
  const auto answer = peer->take(0, *request, &y);
  ASSERT_TRUE(one->take(1, *answer, &x).is_ok());
  const std::vector<std::byte> saved = one->save().value();
  auto other = PairwiseSgd::create(options).value();
  for (size_t at = 0; at < saved.size(); ++at) {
    std::vector<std::byte> damaged = saved;
    damaged[at] ^= std::byte{1};
    EXPECT_EQ(other->load(damaged).code(), Code::kInvalidArgument);
    EXPECT_EQ(other->load(std::span(saved).first(at)).code(), Code::kInvalidArgument);
  }
  EXPECT_EQ(other->exchanges(), 0U);
  ASSERT_TRUE(other->load(saved));
  EXPECT_EQ(other->exchanges(), 1U);
  // The next exchange has the next number on both sides.
  y = 4;
  const auto next = peer->request(0, &y);
  const auto back = other->take(1, *next, &x);
  EXPECT_FALSE(back->empty());
  EXPECT_EQ(x, 3);
}

TEST(Pairwise, BadInputIsRefused) {
  expect_refused(PairwiseSgd::create({.rank = 0, .size = 0, .count = 1}).status(), "no rank 0");
  auto one = PairwiseSgd::create({.rank = 0, .size = 2, .count = 1}).value();
  float x = 1;
  std::vector<std::byte> packet(20);
  expect_refused(one->request(0, &x).status(), "no other rank");
  expect_refused(one->request(2, &x).status(), "no other rank");
  expect_refused(one->request(1, nullptr).status(), "null");
  expect_refused(one->take(1, std::span(packet).first(19), &x).status(), "19 bytes from rank 1");
  expect_refused(one->take(1, packet, &x).status(), "unknown kind");
  expect_refused(one->take(-1, packet, &x).status(), "no other rank");
  EXPECT_EQ(x, 1);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const auto method = PairwiseSgd::create({.rank = comm.rank(), .size = 4, .count = 1}).value();
    float mine = 1;
    const float g = 1;
    const uint64_t sent = comm.counters().messages_sent;
    const auto step = [&](const std::string& graph, double rate) {
      return method->step(comm, *graph_of(graph, 4), &mine, &g, rate);
    };
    expect_refused(step("static_exponential", 1), "symmetric");
    expect_refused(step("random_matching", 1), "rounds that differ");
    expect_refused(step("ring", std::numeric_limits<double>::infinity()), "finite");
    expect_refused(method->step(comm, *graph_of("ring", 3), &mine, &g, 1), "3 ranks");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_EQ(mine, 1);
    EXPECT_TRUE(step("ring", 0.5));
    ASSERT_TRUE(method->finish(comm, *graph_of("ring", 4), &mine));
  });
}

}  // namespace
}  // namespace gossamer
