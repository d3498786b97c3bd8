// Gradient tracking, exact diffusion, D2, EXTRA and quasi-global momentum: the rules for all ranks
// at once, and E20: what bias is left where ranks have different losses.
// ctest: TIMEOUT 900

#include <gtest/gtest.h>

#include <cstring>

#include "gossamer/gossip_bias_corrected.h"
#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Tracking = GradientTracking;
using Form = ExactDiffusion::Form;
constexpr double kOptimumReached = 1e-9;

std::unique_ptr<Tracking> tracking(size_t width, Tracking::Order order) {
  return Tracking::create({.count = width, .type = DataType::kFloat64, .order = order}).value();
}
std::unique_ptr<ExactDiffusion> diffusion(size_t width, Form form, bool any = false) {
  return ExactDiffusion::create(
             {.count = width, .type = DataType::kFloat64, .form = form, .any_spectrum = any})
      .value();
}
std::unique_ptr<Extra> extra(size_t width) {
  return Extra::create({.count = width, .type = DataType::kFloat64}).value();
}
std::unique_ptr<QuasiGlobalMomentum> momentum(size_t width) {
  return QuasiGlobalMomentum::create({.count = width, .type = DataType::kFloat64}).value();
}

// Steps of the method that `make` makes on each rank; all ranks' values.
template <class Make>
std::vector<double> trained(RankGroup* group, const Quadratics& task, const Make& make,
                            const Graph& graph, double rate, int steps, std::vector<double> x) {
  group->each([&](Communicator& comm) {
    const auto method = make();
    double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
    std::vector<double> g(task.width);
    for (int t = 0; t < steps; ++t) {
      task.gradient(comm.rank(), mine, g.data());
      const Status done = method->step(comm, graph, mine, g.data(), rate);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    }
  });
  return x;
}

// Vectors of all ranks, one after another, in the arithmetic of the rules.
using Rows = std::vector<double>;
Rows sum(double a, const Rows& x, double b, const Rows& y) {
  Rows out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = a * x[i] + b * y[i];
  return out;
}

// The rules as the papers have them.
struct Dense {
  const Quadratics& task;
  const Graph& graph;
  double rate;
  Rows start;

  Rows gradients(const Rows& x) const {
    Rows g(x.size());
    for (Rank r = 0; r < task.n; ++r) {
      const size_t at = static_cast<size_t>(r) * task.width;
      task.gradient(r, x.data() + at, g.data() + at);
    }
    return g;
  }
  Rows mixed(const Rows& x, uint64_t round) const {
    Rows out(x.size());
    graph.mixing(round)->apply(x, out, task.width);
    return out;
  }
  Rows halved(const Rows& x) const { return sum(0.5, x, 0.5, mixed(x, 0)); }

  Rows tracking(Tracking::Order order, uint64_t steps) const {
    Rows x = start;
    Rows g = gradients(x);
    Rows y = g;
    for (uint64_t t = 0; t < steps; ++t) {
      const bool first = order == Tracking::Order::kAdaptThenCombine;
      x = first ? mixed(sum(1, x, -rate, y), t) : sum(1, mixed(x, t), -rate, y);
      const Rows now = gradients(x);
      const Rows change = sum(1, now, -1, g);
      // The next step's round: that is when it is averaged.
      y = first ? mixed(sum(1, y, 1, change), t + 1) : sum(1, mixed(y, t), 1, change);
      g = now;
    }
    return x;
  }
  Rows diffusion(Form form, uint64_t steps) const {
    const auto combine = [&](const Rows& x) { return form == Form::kD2 ? mixed(x, 0) : halved(x); };
    Rows last = start;
    Rows g_last = gradients(last);
    Rows x = combine(sum(1, last, -rate, g_last));
    for (uint64_t t = 1; t < steps; ++t) {
      const Rows g = gradients(x);
      const Rows change = sum(1, g, -1, g_last);
      const Rows next = combine(sum(1, sum(2, x, -1, last), -rate, change));
      last = x;
      x = next;
      g_last = g;
    }
    return x;
  }
  Rows extra(uint64_t steps) const {
    Rows last = start;
    Rows g_last = gradients(last);
    Rows x = sum(1, mixed(last, 0), -rate, g_last);
    for (uint64_t t = 1; t < steps; ++t) {
      const Rows g = gradients(x);
      const Rows change = sum(1, g, -1, g_last);
      const Rows next = sum(1, sum(2, halved(x), -1, halved(last)), -rate, change);
      last = x;
      x = next;
      g_last = g;
    }
    return x;
  }
  Rows momentum(double b, double u, uint64_t steps) const {
    Rows x = start;
    Rows m(x.size(), 0);
    for (uint64_t t = 0; t < steps; ++t) {
      const Rows next = mixed(sum(1, x, -rate, sum(b, m, 1, gradients(x))), t);
      m = sum(u, m, (1 - u) / rate, sum(1, x, -1, next));
      x = next;
    }
    return x;
  }
};

void expect_near(const Rows& x, const Rows& expected) {
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-12) << i;
}

TEST(BiasCorrected, StepsAreThoseOfTheDenseMatrix) {
  const Quadratics task{6, 17};
  const Rows start = gaussian_rows(task.n, task.width, 9);
  constexpr int kSteps = 25;
  constexpr double kRate = 0.15;
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(task.n, transport);
    for (const char* name : {"ring", "chain", "one_peer_exponential", "random_matching"}) {
      const auto graph = graph_of(name, task.n);
      const Dense dense{task, *graph, kRate, start};
      const auto run = [&](const auto& make) {
        return trained(&group, task, make, *graph, kRate, kSteps, start);
      };
      for (const auto order :
           {Tracking::Order::kAdaptThenCombine, Tracking::Order::kAdaptWhileCombine}) {
        expect_near(run([&] { return tracking(task.width, order); }),
                    dense.tracking(order, kSteps));
      }
      expect_near(run([&] { return momentum(task.width); }), dense.momentum(.9, .9, kSteps));
      if (graph->period() != 1) continue;
      for (const Form form : {Form::kExactDiffusion, Form::kD2}) {
        expect_near(run([&] { return diffusion(task.width, form, true); }),
                    dense.diffusion(form, kSteps));
      }
      expect_near(run([&] { return extra(task.width); }), dense.extra(kSteps));
    }
  }
}

// Distance from the optimum per rank and element, from Gaussian values.
template <class Make>
double error_of(RankGroup* group, const Quadratics& task, const Make& make, const Graph& graph,
                double rate, int steps) {
  const auto x =
      trained(group, task, make, graph, rate, steps, gaussian_rows(task.n, task.width, 2));
  return distance(x, task.optimum()) / std::sqrt(static_cast<double>(x.size()));
}

std::unique_ptr<DecentralizedSgd> plain(size_t width) {
  return DecentralizedSgd::create({.count = width, .type = DataType::kFloat64}).value();
}

TEST(BiasCorrected, E20TheOptimumItselfIsReachedAtAConstantRate) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  for (const char* name : {"ring", "hypercube"}) {
    const auto graph = graph_of(name, task.n);
    for (const double rate : {0.05, 0.2, 0.4}) {
      const auto error = [&](const auto& make) {
        return error_of(&group, task, make, *graph, rate, 2000);
      };
      const auto exact = [&] { return diffusion(task.width, Form::kExactDiffusion); };
      EXPECT_GT(error([&] { return plain(task.width); }), 1e-3) << "nothing to correct";
      EXPECT_LE(error(exact), kOptimumReached) << name << " " << rate;
      EXPECT_LE(error([&] { return extra(task.width); }), kOptimumReached) << name << " " << rate;
      if (rate > 0.2) continue;  // gradient tracking bears less: on the hypercube up to 0.3
      const auto combining = Tracking::Order::kAdaptThenCombine;
      EXPECT_LE(error([&] { return tracking(task.width, combining); }), kOptimumReached)
          << name << " " << rate;
    }
  }
}

TEST(BiasCorrected, E20ANegativeSpectrumIsTooMuchForD2AndForAdaptWhileCombine) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  const auto cube = graph_of("hypercube", task.n);
  for (const double rate : {0.05, 0.2, 0.4}) {
    // The refusal is lifted, and it grows; with (W + I) / 2, see above, it converges.
    const auto raw = [&] { return diffusion(task.width, Form::kD2, true); };
    EXPECT_GT(error_of(&group, task, raw, *cube, rate, 200), 1e6) << rate;
  }
  const auto order = Tracking::Order::kAdaptWhileCombine;
  const auto tracked = [&] { return tracking(task.width, order); };
  EXPECT_LE(error_of(&group, task, tracked, *graph_of("ring", task.n), 0.2, 2000), kOptimumReached);
  EXPECT_GT(error_of(&group, task, tracked, *cube, 0.2, 400), 1e6);

  // Of 15 ranks a ring's least eigenvalue is above -1/3.
  const Quadratics odd{15, 10};
  RankGroup fifteen(odd.n);
  const auto raw = [&] { return diffusion(odd.width, Form::kD2); };
  EXPECT_LE(error_of(&fifteen, odd, raw, *graph_of("ring", odd.n), 0.2, 2000), kOptimumReached);
}

TEST(BiasCorrected, E20TrackingBearsRoundsThatDiffer) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  for (const char* name : {"one_peer_exponential", "equi_dyn"}) {
    const auto make = [&] { return tracking(task.width, Tracking::Order::kAdaptThenCombine); };
    EXPECT_LE(error_of(&group, task, make, *graph_of(name, task.n), 0.1, 2000), kOptimumReached)
        << name;
  }
}

TEST(BiasCorrected, E20QuasiGlobalMomentumLeavesAFractionOfTheBias) {
  const Quadratics task{16, 10};
  RankGroup group(task.n);
  const auto ring = graph_of("ring", task.n);
  for (const double rate : {0.05, 0.1, 0.2}) {
    const double without = error_of(
        &group, task, [&] { return plain(task.width); }, *ring, rate, 2000);
    // The same effective step: momentum multiplies it by 1 / (1 - 0.9).
    const auto with = [&] { return momentum(task.width); };
    const double left = error_of(&group, task, with, *ring, rate * 0.1, 2000);
    EXPECT_GT(without / left, 4 * 0.8) << rate << ": " << without << " and " << left;
    EXPECT_LT(without / left, 8 * 1.2) << rate << ": " << without << " and " << left;
  }
}

// After reset() a step is a first one; without it, what a rank that left has put into the others'
// state stays there.
TEST(BiasCorrected, ResetBeginsAnewFromTheValues) {
  const Quadratics four{4, 5};
  const Quadratics three{3, 5};
  const Rows start = gaussian_rows(4, 5, 3);
  RankGroup before(4);
  RankGroup after(3);
  const auto ring_of_four = graph_of("ring", 4);
  const auto ring_of_three = graph_of("ring", 3);
  const auto check = [&](const auto& make) {
    std::vector<decltype(make())> methods;
    for (Rank r = 0; r < 3; ++r) methods.push_back(make());
    Rows x = start;
    const auto steps = [&](RankGroup* group, const Quadratics& task, const Graph& graph, int n) {
      group->each([&](Communicator& comm) {
        const auto last = make();  // of rank 3, which leaves
        auto& method = comm.rank() == 3 ? *last : *methods[static_cast<size_t>(comm.rank())];
        double* const mine = x.data() + static_cast<size_t>(comm.rank()) * task.width;
        std::vector<double> g(task.width);
        for (int t = 0; t < n; ++t) {
          task.gradient(comm.rank(), mine, g.data());
          ASSERT_TRUE(method.step(comm, graph, mine, g.data(), 0.2));
        }
      });
    };
    steps(&before, four, *ring_of_four, 50);
    for (auto& method : methods) {
      method->reset();
      EXPECT_EQ(method->round(), 0U);
    }
    const Rows middle(x.begin(), x.begin() + 15);
    steps(&after, three, *ring_of_three, 300);
    x.resize(15);
    EXPECT_EQ(x, trained(&after, three, make, *ring_of_three, 0.2, 300, middle));
    return distance(x, three.optimum());
  };
  const auto order = Tracking::Order::kAdaptThenCombine;
  EXPECT_LE(check([&] { return tracking(5, order); }), kOptimumReached);
  EXPECT_LE(check([&] { return diffusion(5, Form::kExactDiffusion); }), kOptimumReached);
  EXPECT_LE(check([&] { return extra(5); }), kOptimumReached);
  check([&] { return momentum(5); });
}

// Of each method: twelve steps are eight, and four by one that loaded what the first saved.
template <class Make>
void expect_saved_state_goes_on(const Make& make) {
  const Quadratics task{4, 6};
  RankGroup group(4);
  const auto ring = graph_of("ring", 4);
  group.each([&](Communicator& comm) {
    const auto one = make();
    std::vector<double> x(task.width, comm.rank());
    std::vector<double> g(task.width);
    const auto steps = [&](auto& method, std::vector<double>* values, int n) {
      for (int t = 0; t < n; ++t) {
        task.gradient(comm.rank(), values->data(), g.data());
        ASSERT_TRUE(method.step(comm, *ring, values->data(), g.data(), 0.2));
      }
    };
    steps(*one, &x, 8);
    const auto other = make();
    expect_damage_noticed(*other, one->save());
    std::vector<double> again = x;
    steps(*one, &x, 4);
    steps(*other, &again, 4);
    EXPECT_EQ(x, again);
    const uint64_t before = allocations;
    steps(*one, &x, 4);
    if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
      EXPECT_EQ(allocations - before, 0U);
    }
  });
}

TEST(BiasCorrected, SavedStateGoesOnAndStepsAllocateNothing) {
  for (const auto order :
       {Tracking::Order::kAdaptThenCombine, Tracking::Order::kAdaptWhileCombine}) {
    expect_saved_state_goes_on([&] { return tracking(6, order); });
  }
  for (const Form form : {Form::kExactDiffusion, Form::kD2}) {
    expect_saved_state_goes_on([&] { return diffusion(6, form, true); });
  }
  expect_saved_state_goes_on([] { return extra(6); });
  expect_saved_state_goes_on([] { return momentum(6); });
  expect_refused(diffusion(6, Form::kD2)->load(diffusion(6, Form::kExactDiffusion)->save()),
                 "form 0, this method has 1");
  auto slow = QuasiGlobalMomentum::create(
                  {.count = 6, .type = DataType::kFloat64, .momentum = 0.5, .decay = 0.9})
                  .value();
  expect_refused(slow->load(momentum(6)->save()), "momentum 0.9");
}

TEST(BiasCorrected, MessagesAreWhatTheHeaderSays) {
  const Quadratics task{4, 100};
  RankGroup group(4);
  const auto ring = graph_of("ring", 4);
  group.each([&](Communicator& comm) {
    std::vector<double> x(task.width, comm.rank());
    std::vector<double> g(task.width, 1.0);
    const auto expect_per_step = [&](const auto& method, uint64_t messages, uint64_t bytes) {
      for (int t = 0; t < 2; ++t) {
        const auto before = comm.counters();
        ASSERT_TRUE(method->step(comm, *ring, x.data(), g.data(), 0.1));
        const auto after = comm.counters();
        if (t == 0) continue;
        EXPECT_EQ(after.messages_sent - before.messages_sent, 2 * messages);
        EXPECT_EQ(after.bytes_sent - before.bytes_sent, 2 * bytes);
      }
    };
    expect_per_step(tracking(100, Tracking::Order::kAdaptThenCombine), 2, 1600);
    expect_per_step(tracking(100, Tracking::Order::kAdaptWhileCombine), 1, 1600);
    expect_per_step(diffusion(100, Form::kExactDiffusion), 1, 800);
    expect_per_step(extra(100), 1, 800);
    expect_per_step(momentum(100), 1, 800);
  });
}

TEST(BiasCorrected, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(Tracking::create({.count = 0}).status(), "no elements");
  expect_refused(Extra::create({.count = 1, .type = DataType::kFloat16}).status(), "float32");
  expect_refused(QuasiGlobalMomentum::create({.count = 1, .momentum = 1}).status(), "[0, 1)");
  expect_refused(QuasiGlobalMomentum::create({.count = 1, .decay = std::nan("")}).status(),
                 "[0, 1)");
  RankGroup group(4);
  const auto ring = graph_of("ring", 4);
  const auto chain = graph_of("chain", 4);
  const auto directed = graph_of("static_exponential", 4);
  const auto changing = graph_of("random_matching", 4);
  const double swaps[] = {0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0};
  const double cycle[] = {0, .5, 0, .5, .5, 0, .5, 0, 0, .5, 0, .5, .5, 0, .5, 0};
  EXPECT_FALSE(make_graph(4, swaps).is_ok()) << "it is not connected";
  const auto no_own = make_graph(4, cycle);
  ASSERT_TRUE(no_own.is_ok());
  group.each([&](Communicator& comm) {
    std::vector<double> x(10, comm.rank());
    const std::vector<double> before = x;
    const std::vector<double> g(10, 1.0);
    const uint64_t sent = comm.counters().messages_sent;
    const auto step = [&](const auto& method, const Graph& graph, const double* gradient,
                          double rate) {
      return method->step(comm, graph, x.data(), gradient, rate);
    };
    const auto first = [] { return tracking(10, Tracking::Order::kAdaptThenCombine); };
    const auto exact = [] { return diffusion(10, Form::kExactDiffusion); };
    const auto d2 = diffusion(10, Form::kD2);
    expect_refused(step(first(), *ring, nullptr, 0.1), "gradient buffer is null");
    expect_refused(step(exact(), *ring, x.data() + 1, 0.1), "overlap");
    expect_refused(step(extra(10), *ring, g.data(), std::nan("")), "finite");
    expect_refused(step(momentum(10), *ring, g.data(), 0), "positive");
    expect_refused(step(first(), *directed_graph(4), g.data(), 0.1), "row");
    expect_refused(step(exact(), *directed, g.data(), 0.1), "gives");
    expect_refused(step(extra(10), *changing, g.data(), 0.1), "rounds that differ");
    expect_refused(step(exact(), **no_own, g.data(), 0.1), "least eigenvalue");
    expect_refused(step(extra(10), **no_own, g.data(), 0.1), "own values");
    expect_refused(step(d2, *ring, g.data(), 0.1), "-0.3333 and must be above -0.3333");
    expect_refused(step(d2, *graph_of("ring", 5), g.data(), 0.1), "5 ranks");
    EXPECT_EQ(x, before);
    EXPECT_EQ(comm.counters().messages_sent, sent);
    const auto method = exact();
    EXPECT_TRUE(step(method, *ring, g.data(), 0.1));
    expect_refused(step(method, *chain, g.data(), 0.1), "reset()");
    method->reset();
    EXPECT_TRUE(step(method, *chain, g.data(), 0.1));
  });
}

}  // namespace
}  // namespace gossamer
