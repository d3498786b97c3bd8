// Epidemic learning and rotating partners: how fast they mix, how far the mean drifts, and that
// steps of ranks are those of the graphs.

#include <gtest/gtest.h>

#include <set>

#include "gossamer/gossip_groups.h"
#include "gossip/analysis.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Form = EpidemicPush::Form;

std::string epidemic(Rank peers, Form form) {
  return "epidemic:peers=" + std::to_string(peers) + (form == Form::kOracle ? ",oracle=1" : "");
}

std::unique_ptr<EpidemicPush> pushing(size_t width, Rank peers, Form form = Form::kLocal,
                                      uint64_t seed = 1) {
  return EpidemicPush::create({.count = width,
                               .type = DataType::kFloat64,
                               .peers = peers,
                               .form = form,
                               .seed = seed})
      .value();
}

struct Course {
  double rounds = 0;  // to 1e-6, on average
  double rate = 0;    // per round
  double drift = 0;   // of the mean, root mean square, in standard deviations of the first values
};

Course course_of(const std::string& graph, Rank n) {
  constexpr int kRuns = 60;
  constexpr size_t kWidth = 16;
  Course course;
  double squares = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto g = graph_of(graph, n, static_cast<uint64_t>(run) + 1);
    std::vector<double> x = gaussian_rows(n, kWidth, static_cast<uint64_t>(run) + 500);
    const std::vector<double> first = mean_of(x, kWidth);
    const double before = distance(x, first);
    const double spread = before / std::sqrt(static_cast<double>(x.size()));
    std::vector<double> next(x.size());
    int rounds = 0;
    double now = before;
    while (now > 1e-6 * before && rounds < 1000) {
      g->mixing(static_cast<uint64_t>(rounds++))->apply(x, next, kWidth);
      x.swap(next);
      now = distance(x, mean_of(x, kWidth));
    }
    course.rounds += static_cast<double>(rounds) / kRuns;
    course.rate += std::pow(now / before, 1.0 / rounds) / kRuns;
    const double off = distance(mean_of(x, kWidth), first) / spread;
    squares += off * off / kWidth / kRuns;
  }
  course.drift = std::sqrt(squares);
  return course;
}

TEST(Epidemic, RatesAreThoseThatWereMeasured) {
  const struct {
    Rank peers;
    double least, most, rounds, drift;
  } table[] = {{1, .76, .79, 58, .06}, {2, .59, .65, 32, .05}, {4, .41, .49, 19, .03}};
  for (const auto& row : table) {
    const Course local = course_of(epidemic(row.peers, Form::kLocal), 64);
    EXPECT_NEAR(local.rounds, row.rounds, row.rounds * .1) << row.peers;
    EXPECT_GE(local.rate, row.least - .01) << row.peers;
    EXPECT_LE(local.rate, row.most + .01) << row.peers;
    EXPECT_NEAR(local.drift, row.drift, row.drift * .2) << row.peers;
    const Course oracle = course_of(epidemic(row.peers, Form::kOracle), 64);
    EXPECT_LE(oracle.rounds, local.rounds) << row.peers;
    EXPECT_LE(oracle.drift, 1e-13) << row.peers;
  }
}

TEST(Epidemic, EachPushesToSoManyOthersAndAllKnowIt) {
  for (const Rank n : {2, 3, 8, 64}) {
    for (const Rank peers : {1, 2, 4}) {
      if (peers >= n) continue;
      for (const Form form : {Form::kLocal, Form::kOracle}) {
        const auto graph = graph_of(epidemic(peers, form), n);
        for (uint64_t t = 0; t < 20; ++t) {
          const auto mixing = graph->mixing(t);
          EXPECT_EQ(*mixing, *graph->mixing(t));
          ASSERT_TRUE(check_sums(*mixing, Stochastic::kRow));
          EXPECT_EQ(check_sums(*mixing, Stochastic::kDouble).is_ok() || form == Form::kLocal, true);
          for (Rank r = 0; r < n; ++r) {
            const size_t sent_to = mixing->targets(r).size();
            if (form == Form::kLocal) {
              ASSERT_EQ(sent_to, static_cast<size_t>(peers));
            }
            ASSERT_LE(sent_to, static_cast<size_t>(peers));
            const double own = 1.0 / static_cast<double>(mixing->sources(r).size() + 1);
            if (form == Form::kLocal) {
              ASSERT_NEAR(mixing->weight(r, r), own, 1e-15);
            }
          }
        }
      }
    }
  }
}

TEST(Epidemic, StepsAreThoseOfTheGraph) {
  const Quadratics task{6, 9};
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(task.n, transport);
    for (const Form form : {Form::kLocal, Form::kOracle}) {
      const auto graph = graph_of(epidemic(2, form), task.n, 11);
      std::vector<double> expected = gaussian_rows(task.n, task.width, 9);
      std::vector<double> x = expected;
      for (uint64_t t = 0; t < 20; ++t) {
        std::vector<double> g(x.size());
        for (Rank r = 0; r < task.n; ++r) {
          const size_t at = static_cast<size_t>(r) * task.width;
          task.gradient(r, expected.data() + at, g.data() + at);
        }
        for (size_t i = 0; i < g.size(); ++i) g[i] = expected[i] - 0.3 * g[i];
        graph->mixing(t)->apply(g, expected, task.width);
      }
      group.each([&](Communicator& comm) {
        auto method = pushing(task.width, 2, form, 11);
        double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
        std::vector<double> g(task.width);
        for (int t = 0; t < 20; ++t) {
          task.gradient(comm.rank(), mine, g.data());
          const Status done = method->step(comm, mine, g.data(), 0.3);
          ASSERT_TRUE(done.is_ok()) << done.to_string();
        }
      });
      for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-13);
    }
  }
}

TEST(Epidemic, ASavedRoundGoesOn) {
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto one = pushing(3, 1);
    std::vector<double> x(3, comm.rank());
    for (int t = 0; t < 5; ++t) ASSERT_TRUE(one->step(comm, x.data(), nullptr, 0));
    auto other = pushing(3, 1);
    expect_damage_noticed(*other, one->save());
    expect_refused(pushing(3, 2)->load(one->save()), "peers 1, this method has 2");
    expect_refused(pushing(3, 1, Form::kOracle)->load(one->save()), "form");
    expect_refused(pushing(3, 1, Form::kLocal, 2)->load(one->save()), "seed");
    EXPECT_EQ(other->round(), 5U);
    std::vector<double> again = x;
    for (int t = 0; t < 5; ++t) ASSERT_TRUE(one->step(comm, x.data(), nullptr, 0));
    for (int t = 0; t < 5; ++t) ASSERT_TRUE(other->step(comm, again.data(), nullptr, 0));
    EXPECT_EQ(x, again);
  });
}

TEST(Epidemic, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(EpidemicPush::create({.count = 4, .type = DataType::kInt32}).status(), "float");
  expect_refused(EpidemicPush::create({.count = 4, .peers = 0}).status(), "1 to 64");
  expect_refused(EpidemicPush::create({.count = 4, .peers = 65}).status(), "1 to 64");
  expect_refused(make_graph("epidemic:peers=3", 3).status(), "there are 2");
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    auto method = pushing(4, 3);
    std::vector<double> x(4, comm.rank());
    const uint64_t sent = comm.counters().messages_sent;
    expect_refused(method->step(comm, x.data(), nullptr, 0), "there are 2");
    expect_refused(method->step(comm, nullptr, nullptr, 0), "null");
    expect_refused(method->step(comm, x.data(), x.data(), 0.1), "overlap");
    // Only methods that bear a mean that drifts take such a graph.
    auto exact = DecentralizedSgd::create({.count = 4, .type = DataType::kFloat64}).value();
    expect_refused(exact->step(comm, *graph_of("epidemic", 3), x.data(), nullptr, 0), "column");
    EXPECT_EQ(comm.counters().messages_sent, sent);
  });
}

TEST(Rotating, IsExactInEverySequenceAndEverybodyMeetsEverybody) {
  for (const Rank n : {2, 4, 8, 64}) {
    const auto graph = graph_of("rotating", n, 3);
    uint64_t rounds = 0;
    while (Rank{1} << rounds < n) ++rounds;
    std::set<std::pair<Rank, Rank>> met;
    for (uint64_t sequence = 0; sequence < 200; ++sequence) {
      std::vector<double> x = gaussian_rows(n, 2, sequence);
      const std::vector<double> mean = mean_of(x, 2);
      std::vector<double> next(x.size());
      for (uint64_t t = sequence * rounds; t < (sequence + 1) * rounds; ++t) {
        const auto mixing = graph->mixing(t);
        ASSERT_TRUE(check_symmetry(*mixing));
        ASSERT_EQ(mixing->degree_max(), 1);
        mixing->apply(x, next, 2);
        x.swap(next);
        for (Rank r = 0; r < n; ++r) met.insert({r, mixing->targets(r)[0]});
      }
      ASSERT_LE(distance(x, mean), 1e-13) << n;
    }
    EXPECT_EQ(met.size(), static_cast<size_t>(n) * static_cast<size_t>(n - 1)) << n;
  }
  EXPECT_NE(*graph_of("rotating", 8, 1)->mixing(0), *graph_of("rotating", 8, 2)->mixing(0));
}

TEST(Rotating, FitsEveryNumberOfRanks) {
  for (const Rank n : {3, 5, 6, 12, 25, 100}) {
    const auto graph = graph_of("rotating", n);
    for (uint64_t t = 0; t < 30; ++t) {
      ASSERT_TRUE(check_sums(*graph->mixing(t), Stochastic::kDouble));
      ASSERT_EQ(graph->mixing(t)->degree_max(), 1);
    }
    EXPECT_LE(analyse(*graph).rounds_simulated, 70U) << n;
    EXPECT_GT(analyse(*graph).rounds_simulated, 0U) << n;
  }
}

// GossipGraD is D-PSGD over it.
TEST(Rotating, TrainsByDecentralizedSgd) {
  const Quadratics task{8, 6};
  RankGroup group(task.n);
  const auto graph = graph_of("rotating", task.n);
  std::vector<double> x = gaussian_rows(task.n, task.width, 1);
  group.each([&](Communicator& comm) {
    auto method =
        DecentralizedSgd::create({.count = task.width, .type = DataType::kFloat64}).value();
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
    std::vector<double> g(task.width);
    for (int t = 0; t < 3000; ++t) {
      task.gradient(comm.rank(), mine, g.data());
      ASSERT_TRUE(method->step(comm, *graph, mine, g.data(), 0.3 / (1 + 0.02 * t)));
    }
  });
  EXPECT_LE(distance(x, task.optimum()) / std::sqrt(static_cast<double>(x.size())), 0.02);
}

}  // namespace
}  // namespace gossamer
