// Push-sum with running sums, through a layer that loses, delays, repeats and reorders by a seed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

struct Faults {
  double loss = 0;
  double repeat = 0;
  uint64_t delay_max = 0;  // rounds
};

// All ranks of a group in one thread, and the messages between them.
class Swarm {
 public:
  Swarm(const Graph& graph, size_t width, const Faults& faults, uint64_t seed)
      : graph_(graph), width_(width), faults_(faults), generator_(seed) {
    const std::vector<double> start = gaussian_rows(graph.size(), width, seed + 1000);
    mean_ = mean_of(start, width);
    z_ = start;
    for (Rank r = 0; r < graph.size(); ++r) {
      methods_.push_back(
          RunningPushSum::create(
              {.rank = r, .size = graph.size(), .count = width, .type = DataType::kFloat64})
              .value());
      EXPECT_TRUE(methods_.back()->start(z_of(r)));
    }
  }

  void round() {
    for (Rank r = 0; r < graph_.size(); ++r) {
      EXPECT_TRUE(methods_[static_cast<size_t>(r)]->push(graph_, nullptr, 0));
      for (const Rank to : graph_.mixing(now_)->targets(r)) {
        if (chance() >= faults_.loss) post(r, to);
        if (chance() < faults_.repeat) post(r, to);
      }
    }
    deliver();
    ++now_;
  }
  // The last packet of every edge arrives.
  void settle() {
    mail_.clear();
    for (Rank r = 0; r < graph_.size(); ++r) {
      for (Rank to = 0; to < graph_.size(); ++to) {
        if (methods_[static_cast<size_t>(r)]->pushed(to) > 0) post(r, to);
      }
    }
    now_ += faults_.delay_max;
    deliver();
  }

  double error() const { return distance(z_, mean_) / std::sqrt(static_cast<double>(z_.size())); }
  const std::vector<double>& mean() const { return mean_; }
  // Total weight, held and pushed but not taken.
  double weight() const {
    double sum = 0;
    for (const auto& method : methods_) sum += method->weight();
    for (Rank i = 0; i < graph_.size(); ++i) {
      for (Rank j = 0; j < graph_.size(); ++j) {
        sum += methods_[static_cast<size_t>(i)]->pushed(j) -
               methods_[static_cast<size_t>(j)]->taken(i);
      }
    }
    return sum;
  }
  // Total of one element over all ranks, after settle().
  double total(size_t k) const {
    double sum = 0;
    for (Rank r = 0; r < graph_.size(); ++r) {
      sum += methods_[static_cast<size_t>(r)]->weight() * z_[static_cast<size_t>(r) * width_ + k];
    }
    return sum;
  }

 private:
  struct Message {
    Rank from, to;
    std::vector<std::byte> packet;
  };

  double* z_of(Rank r) { return z_.data() + static_cast<size_t>(r) * width_; }
  double chance() { return std::uniform_real_distribution<>()(generator_); }
  void post(Rank from, Rank to) {
    const std::span<const std::byte> packet = methods_[static_cast<size_t>(from)]->packet(to);
    const uint64_t delay = generator_() % (faults_.delay_max + 1);
    mail_.emplace(now_ + delay, Message{from, to, {packet.begin(), packet.end()}});
  }
  // What is due, in any order.
  void deliver() {
    std::vector<Message> due;
    while (!mail_.empty() && mail_.begin()->first <= now_) {
      due.push_back(std::move(mail_.begin()->second));
      mail_.erase(mail_.begin());
    }
    std::shuffle(due.begin(), due.end(), generator_);
    for (const Message& message : due) {
      RunningPushSum& method = *methods_[static_cast<size_t>(message.to)];
      EXPECT_TRUE(method.take(message.from, message.packet).is_ok());
    }
    for (Rank r = 0; r < graph_.size(); ++r) {
      EXPECT_TRUE(methods_[static_cast<size_t>(r)]->value(z_of(r)));
    }
  }

  const Graph& graph_;
  size_t width_;
  Faults faults_;
  std::mt19937_64 generator_;
  std::vector<std::unique_ptr<RunningPushSum>> methods_;
  std::vector<double> mean_;
  std::vector<double> z_;
  std::multimap<uint64_t, Message> mail_;
  uint64_t now_ = 0;
};

// Rounds to 1e-6 of the first distance, over some seeds; mass is looked at in every round.
double rounds_to_a_millionth(const Graph& graph, const Faults& faults) {
  const int seeds = 12;
  double sum = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Swarm swarm(graph, 8, faults, static_cast<uint64_t>(seed));
    const double least = 1e-6 * swarm.error();
    int t = 0;
    while (swarm.error() > least && t < 1000) {
      swarm.round();
      EXPECT_NEAR(swarm.weight(), graph.size(), 1e-12) << "round " << t;
      ++t;
    }
    sum += t;
    for (int more = 0; more < 400; ++more) swarm.round();
    swarm.settle();
    EXPECT_LT(swarm.error(), 1e-13) << "the limit is not the mean";
    EXPECT_NEAR(swarm.weight(), graph.size(), 1e-12);
    for (size_t k = 0; k < 8; ++k) {
      EXPECT_NEAR(swarm.total(k), swarm.mean()[k] * graph.size(), 1e-12);
    }
  }
  return sum / seeds;
}

TEST(RunningPushSum, E9WithoutFaultsItIsExactAfterOnePeriod) {
  EXPECT_EQ(rounds_to_a_millionth(*graph_of("one_peer_exponential", 16), {}), 4);
}

TEST(RunningPushSum, E9DelaysLoseNothing) {
  const auto graph = graph_of("one_peer_exponential", 16);
  EXPECT_NEAR(rounds_to_a_millionth(*graph, {.delay_max = 4}), 91, 18);
}

TEST(RunningPushSum, E9LossIsMadeUpForByTheNextMessage) {
  const auto graph = graph_of("one_peer_exponential", 16);
  EXPECT_NEAR(rounds_to_a_millionth(*graph, {.loss = 0.2}), 82, 16);
}

TEST(RunningPushSum, E9LossDelayRepetitionAndReorderTogether) {
  const auto graph = graph_of("one_peer_exponential", 16);
  const double rounds = rounds_to_a_millionth(*graph, {.loss = 0.2, .repeat = 0.1, .delay_max = 4});
  EXPECT_NEAR(rounds, 135, 27);
}

// The control: without sums, what is lost is lost.
TEST(RunningPushSum, E9SharesThatAreLostSilentlyBiasTheLimit) {
  const Rank n = 16;
  const auto graph = graph_of("one_peer_exponential", n);
  double bias = 0;
  double left = 0;
  const int seeds = 20;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    std::mt19937_64 generator(seed);
    const std::vector<double> start = gaussian_rows(n, 2, seed);
    std::vector<double> all = start;  // x, w
    for (Rank r = 0; r < n; ++r) all[static_cast<size_t>(r) * 2 + 1] = 1;
    for (uint64_t t = 0; t < 100; ++t) {
      const auto mixing = graph->mixing(t);
      std::vector<double> next(all.size(), 0);
      for (Rank i = 0; i < n; ++i) {
        for (const Weight& w : mixing->row(i)) {
          if (w.rank != i && std::uniform_real_distribution<>()(generator) < 0.05) continue;
          for (size_t k = 0; k < 2; ++k) {
            next[static_cast<size_t>(i) * 2 + k] +=
                w.value * all[static_cast<size_t>(w.rank) * 2 + k];
          }
        }
      }
      all = next;
    }
    double mean = 0;
    for (Rank r = 0; r < n; ++r) {
      mean += start[static_cast<size_t>(r) * 2] / n;
      left += all[static_cast<size_t>(r) * 2 + 1] / seeds;
    }
    // Relative to what the mean of 16 numbers of deviation 1 is away from 0.
    bias += std::abs(all[0] / all[1] - mean) / 0.25 / seeds;
  }
  EXPECT_GT(bias, 0.03);
  EXPECT_NEAR(left, 1.4, 0.5);
}

TEST(RunningPushSum, OverACommunicatorItIsPushSum) {
  const Rank n = 5;
  const size_t width = 100;
  const std::vector<double> start = gaussian_rows(n, width, 2);
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(n, transport);
    const auto graph = graph_of("static_exponential", n);
    group.each([&](Communicator& comm) {
      std::vector<double> plain = row_of(start, comm.rank(), width);
      std::vector<double> running = plain;
      const std::vector<double> g(width, 0.25);
      auto one = PushSum::create({.count = width, .type = DataType::kFloat64});
      auto other = RunningPushSum::create(
          {.rank = comm.rank(), .size = n, .count = width, .type = DataType::kFloat64});
      const auto steps = [&](int count) {
        for (int t = 0; t < count; ++t) {
          const Status done = (*other)->step(comm, *graph, running.data(), g.data(), 0.1);
          ASSERT_TRUE(done.is_ok()) << done.to_string();
        }
      };
      for (int t = 0; t < 40; ++t) {
        ASSERT_TRUE((*one)->step(comm, *graph, plain.data(), g.data(), 0.1));
      }
      steps(2);
      const uint64_t before = allocations;
      steps(38);
      if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
        EXPECT_EQ(allocations - before, 0U);
      }
      for (size_t k = 0; k < width; ++k) ASSERT_NEAR(running[k], plain[k], 1e-12);
    });
  }
}

TEST(RunningPushSum, SavedSumsGoOn) {
  const auto graph = graph_of("one_peer_exponential", 2);
  const RunningPushSum::Options options{.rank = 0, .size = 2, .count = 3};
  auto one = RunningPushSum::create(options);
  auto peer = RunningPushSum::create({.rank = 1, .size = 2, .count = 3});
  const float z[] = {1, 2, 3};
  ASSERT_TRUE((*one)->start(z));
  ASSERT_TRUE((*peer)->start(z));
  for (int t = 0; t < 3; ++t) {
    ASSERT_TRUE((*one)->push(*graph, nullptr, 0));
    ASSERT_TRUE((*peer)->push(*graph, nullptr, 0));
    ASSERT_TRUE((*one)->take(1, (*peer)->packet(0)).value());
  }
  auto other = RunningPushSum::create(options);
  expect_damage_noticed(**other, (*one)->save());
  EXPECT_EQ((*other)->round(), 3U);
  EXPECT_EQ((*other)->pushed(1), (*one)->pushed(1));
  EXPECT_FALSE((*other)->take(1, (*peer)->packet(0)).value()) << "it was taken before the save";
}

TEST(RunningPushSum, ForeignPacketsAreRefused) {
  const auto graph = graph_of("one_peer_exponential", 2);
  auto one = RunningPushSum::create({.rank = 0, .size = 2, .count = 3});
  auto peer = RunningPushSum::create({.rank = 1, .size = 2, .count = 3});
  const float z[] = {1, 2, 3};
  expect_refused((*one)->push(*graph, nullptr, 0), "start()");
  ASSERT_TRUE((*one)->start(z));
  ASSERT_TRUE((*peer)->start(z));
  expect_refused((*one)->start(z), "once");
  ASSERT_TRUE((*peer)->push(*graph, nullptr, 0));
  const std::span<const std::byte> packet = (*peer)->packet(0);
  expect_refused((*one)->take(1, packet.first(8)).status(), "8 bytes from rank 1");
  expect_refused((*one)->take(0, packet).status(), "no other rank");
  expect_refused((*one)->take(7, packet).status(), "no other rank");
  for (const double weight : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    std::vector<std::byte> forged(packet.begin(), packet.end());
    std::memcpy(forged.data() + 8, &weight, sizeof weight);
    expect_refused((*one)->take(1, forged).status(), "weights in a packet from rank 1");
  }
  EXPECT_EQ((*one)->weight(), 1);
  EXPECT_TRUE((*one)->take(1, packet).value());
  EXPECT_FALSE((*one)->take(1, packet).value());
  EXPECT_EQ((*one)->weight(), 1.5);
}

TEST(RunningPushSum, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(RunningPushSum::create({.rank = 2, .size = 2, .count = 1}).status(), "no rank 2");
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto method = RunningPushSum::create({.rank = comm.rank(), .size = 2, .count = 3});
    auto other = RunningPushSum::create({.rank = 1 - comm.rank(), .size = 2, .count = 3});
    std::vector<float> z(3, 1.0F);
    const auto graph = graph_of("ring", 2);
    const uint64_t sent = comm.counters().messages_sent;
    expect_refused((*method)->step(comm, *graph, nullptr, nullptr, 0), "null");
    expect_refused((*method)->step(comm, *graph, z.data(), z.data(), 1), "overlap");
    expect_refused((*method)->step(comm, *graph_of("ring", 3), z.data(), nullptr, 0), "3 ranks");
    expect_refused((*other)->step(comm, *graph, z.data(), nullptr, 0), "this communicator rank");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_TRUE((*method)->step(comm, *graph, z.data(), nullptr, 0));
  });
}

}  // namespace
}  // namespace gossamer
