// PowerSGD: what it sends, how good its products are, and what it keeps.

#include "gossamer/power_sgd.h"

#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <cstring>
#include <random>

#include "perf/model_shapes.h"
#include "src/compress/low_rank.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Floats = std::vector<float>;

Floats gaussian(size_t count, uint64_t seed) {
  const std::vector<double> wide = gaussian_rows(1, count, seed);
  return {wide.begin(), wide.end()};
}

double norm_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

std::unique_ptr<PowerSgd> power_sgd(const PowerSgd::Options& options,
                                    const std::vector<MatrixShape>& shapes) {
  auto made = PowerSgd::create(options, shapes);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

struct ExpectedSizes {
  const char* model;
  ModelShapes shapes;
  uint64_t elements;
  size_t tensors;     // 0: not told
  uint64_t bytes[4];  // of rank 1, 2, 4, 8
};

TEST(PowerSgd, E13SendsAsManyBytesAsTold) {
  const std::vector<ExpectedSizes> all = {
      {"ResNet-18 CIFAR-10", resnet18(3, 10), 11173962, 62, {183740, 329040, 619640, 1204616}},
      {"ResNet-18", resnet18(7, 1000), 11689512, 62, {192140, 341880, 641360, 1240320}},
      {"ResNet-50", resnet50(), 25557032, 161, {546444, 876408, 1536336, 2856192}},
      {"VGG-19",
       vgg({2, 2, 4, 4, 4}, false, false),
       143667240,
       38,
       {430508, 802232, 1545680, 3032576}},
      {"VGG-19-BN",
       vgg({2, 2, 4, 4, 4}, true, false),
       143678248,
       70,
       {474540, 846264, 1589712, 3076608}},
      {"VGG-16",
       vgg({2, 2, 3, 3, 3}, false, false),
       138357544,
       32,
       {374188, 694712, 1335760, 2617856}},
      {"VGG-19-BN CIFAR",
       vgg({2, 2, 4, 4, 4}, true, true),
       20040522,
       0,
       {270012, 473936, 881784, 1701256}},
      {"LSTM WikiText-2", lstm_wikitext(), 28949319, 0, {373952, 570028, 962180, 1746484}},
      {"GPT-2 small", gpt2_small(), 124439808, 148, {1286468, 2087560, 3689744, 6894112}},
  };
  for (const ExpectedSizes& one : all) {
    EXPECT_EQ(one.shapes.elements(), one.elements) << one.model;
    if (one.tensors > 0) {
      EXPECT_EQ(one.shapes.all().size(), one.tensors) << one.model;
    }
    for (int k = 0; k < 4; ++k) {
      const PowerSgd::Options options = {.rank = uint64_t{1} << k};
      EXPECT_EQ(PowerSgd::wire_bytes(options, one.shapes.all()), one.bytes[k])
          << one.model << ", rank " << (1 << k);
    }
  }
  EXPECT_EQ(power_sgd({.rank = 4}, resnet18(3, 10).all())->wire_bytes(), 619640U);
}

TEST(PowerSgd, RatiosChooseRanks) {
  const std::vector<MatrixShape> shapes = {
      {1, 512, 4608}, {2, 256, 2304}, {3, 64, 576}, {4, 768, 2304}};
  const auto made = power_sgd({.ratio = 5}, shapes);
  EXPECT_EQ(made->rank_of(0), 92U);
  EXPECT_EQ(made->rank_of(1), 46U);
  EXPECT_EQ(made->rank_of(2), 11U);
  EXPECT_EQ(made->rank_of(3), 115U);
}

TEST(PowerSgd, OnlyTheTwoFactorsTravel) {
  RankGroup group(2);
  group.each([](Communicator& comm) {
    const std::vector<MatrixShape> shapes = {{1, 200, 300}, {2, 200, 1}, {3, 4, 4}};
    const auto made = power_sgd({.rank = 2}, shapes);
    EXPECT_EQ(made->wire_bytes(), 4 * (2 * 500 + 200 + 16U));
    const Floats gradient = gaussian(made->count(), static_cast<uint64_t>(comm.rank()));
    Floats mean(gradient.size());
    ASSERT_TRUE(made->step(comm, gradient, mean));
    const uint64_t before = comm.counters().bytes_sent;
    ASSERT_TRUE(made->step(comm, gradient, mean));
    // Of two ranks each sends as much as there is, in whatever order.
    EXPECT_EQ(comm.counters().bytes_sent - before, made->wire_bytes());
  });
}

// Products of all sizes that kernels treat differently, against plain loops.
TEST(LowRank, ProductsAreThoseOfPlainLoops) {
  for (const uint64_t rows : {1, 2, 5, 13, 24}) {
    for (const uint64_t columns : {1, 7, 16, 33, 100}) {
      for (const uint64_t rank : {1, 2, 3, 4, 5, 11}) {
        const LowRank size{rows, columns, rank};
        const Floats m = gaussian(rows * columns, rows + columns);
        const Floats q = gaussian(columns * rank, 2);
        const Floats p = gaussian(rows * rank, 3);
        Floats right(rows * rank);
        times_right(size, {0, rows / 2}, m.data(), q.data(), right.data());
        times_right(size, {rows / 2, rows - rows / 2}, m.data(), q.data(), right.data());
        Floats left(columns * rank, 7);
        times_left(size, m.data(), p.data(), left.data());
        Floats product(rows * columns, 7);
        rebuild(size, p.data(), q.data(), product.data());
        Floats rest = m;
        subtract_rebuilt(size, p.data(), q.data(), rest.data());
        for (uint64_t k = 0; k < rank; ++k) {
          for (uint64_t i = 0; i < rows; ++i) {
            float sum = 0;
            for (uint64_t j = 0; j < columns; ++j) sum += m[i * columns + j] * q[k * columns + j];
            ASSERT_NEAR(right[k * rows + i], sum, 1e-4);
          }
          for (uint64_t j = 0; j < columns; ++j) {
            float sum = 0;
            for (uint64_t i = 0; i < rows; ++i) sum += m[i * columns + j] * p[k * rows + i];
            ASSERT_NEAR(left[k * columns + j], sum, 1e-4);
          }
        }
        for (uint64_t i = 0; i < rows; ++i) {
          for (uint64_t j = 0; j < columns; ++j) {
            float sum = 0;
            for (uint64_t k = 0; k < rank; ++k) sum += p[k * rows + i] * q[k * columns + j];
            ASSERT_NEAR(product[i * columns + j], sum, 1e-4);
            ASSERT_NEAR(rest[i * columns + j], m[i * columns + j] - sum, 1e-4);
          }
        }
      }
    }
  }
}

void no_draw(uint64_t, uint64_t, std::span<float>) {
  ADD_FAILURE() << "a column was replaced";
}

TEST(LowRank, ColumnsBecomeOrthonormalWhateverTheyWere) {
  const uint64_t rows = 50;
  int draws = 0;
  const auto draw = [&](uint64_t, uint64_t, std::span<float> into) {
    const Floats fresh = gaussian(into.size(), static_cast<uint64_t>(++draws));
    std::copy(fresh.begin(), fresh.end(), into.begin());
  };
  Floats p = gaussian(rows * 6, 1);
  std::fill(p.begin() + 50, p.begin() + 100, 0.0F);                               // a dead one
  std::copy(p.begin(), p.begin() + 50, p.begin() + 150);                          // a copy
  for (int i = 0; i < 50; ++i) p[200 + i] = p[i] * 1e-30F + p[100 + i] * 1e-30F;  // tiny
  orthonormalise(p, rows, 1e-8, draw);
  EXPECT_GE(draws, 1);
  for (int a = 0; a < 6; ++a) {
    for (int b = 0; b <= a; ++b) {
      double dot = 0;
      for (int i = 0; i < 50; ++i)
        dot += static_cast<double>(p[a * 50 + i]) * static_cast<double>(p[b * 50 + i]);
      EXPECT_NEAR(dot, a == b ? 1 : 0, 1e-6) << a << " " << b;
    }
  }
}

// The relative squared error of the product after `iterations` with a warm start, for a matrix
// whose singular values are 1, 1/2, 1/3, ...
TEST(LowRank, WarmStartsReachTheBestProduct) {
  const uint64_t rows = 256;
  const uint64_t columns = 512;
  Floats u = gaussian(rows * rows, 1);
  Floats v = gaussian(columns * rows, 2);
  orthonormalise(u, rows, 1e-8, no_draw);
  orthonormalise(v, columns, 1e-8, no_draw);
  for (uint64_t k = 0; k < rows; ++k) {
    for (uint64_t i = 0; i < rows; ++i) u[k * rows + i] /= static_cast<float>(k + 1);
  }
  Floats m(rows * columns);
  rebuild({rows, columns, rows}, u.data(), v.data(), m.data());
  const double whole = std::pow(norm_of(m), 2);
  for (const auto& [rank, best] : {std::pair{1, 0.391}, {2, 0.238}, {4, 0.133}}) {
    const LowRank size{rows, columns, static_cast<uint64_t>(rank)};
    Floats q = gaussian(columns * size.rank, 3);
    Floats p(rows * size.rank);
    for (int iteration = 1; iteration <= 30; ++iteration) {
      times_right(size, {0, rows}, m.data(), q.data(), p.data());
      orthonormalise(p, rows, 1e-8, no_draw);
      times_left(size, m.data(), p.data(), q.data());
    }
    Floats rest = m;
    subtract_rebuilt(size, p.data(), q.data(), rest.data());
    EXPECT_NEAR(std::pow(norm_of(rest), 2) / whole, best, 0.002) << rank;
  }
}

// E16: what all take and what each keeps is what all had, and all take the same bits.
TEST(PowerSgd, E16MeansAndResidualsAreWhatWasCompensated) {
  const Rank ranks = 3;
  const std::vector<MatrixShape> shapes = {{7, 40, 60}, {8, 33, 1}, {9, 20, 90}};
  RankGroup group(ranks);
  const size_t count = 40 * 60 + 33 + 20 * 90;
  std::vector<double> given(count, 0);
  std::vector<std::vector<double>> taken(ranks, std::vector<double>(count, 0));
  std::vector<Floats> means(ranks);
  std::vector<Floats> kept(ranks);
  for (Rank r = 0; r < ranks; ++r) {
    for (uint64_t t = 0; t < 10; ++t) {
      const Floats g = gaussian(count, t * 10 + static_cast<uint64_t>(r));
      for (size_t i = 0; i < count; ++i) given[i] += static_cast<double>(g[i]);
    }
  }
  group.each([&](Communicator& comm) {
    const auto r = static_cast<size_t>(comm.rank());
    const auto made = power_sgd({.rank = 2}, shapes);
    Floats mean(count);
    for (uint64_t t = 0; t < 10; ++t) {
      const Floats g = gaussian(count, t * 10 + r);
      const Status done = made->step(comm, g, mean);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
      for (size_t i = 0; i < count; ++i) taken[r][i] += ranks * static_cast<double>(mean[i]);
    }
    means[r] = mean;
    kept[r].assign(count, 0);
    const auto first = made->store().of(Role::kSender, 7);
    const auto last = made->store().of(Role::kSender, 9);
    std::copy(first.begin(), first.end(), kept[r].begin());
    std::copy(last.begin(), last.end(), kept[r].begin() + 40 * 60 + 33);
  });
  double scale = 0;
  for (const double one : given) scale = std::max(scale, std::abs(one));
  for (size_t i = 0; i < count; ++i) {
    double sum = taken[0][i];
    for (const Floats& one : kept) sum += static_cast<double>(one[i]);
    ASSERT_NEAR(sum, given[i], 1e-6 * 10 * scale) << i;
  }
  for (Rank r = 1; r < ranks; ++r) {
    EXPECT_EQ(std::memcmp(means[0].data(), means[static_cast<size_t>(r)].data(),
                          means[0].size() * sizeof(float)),
              0);
  }
}

// E14: four workers with targets W + D_i, where all D_i sum to zero.
struct Outcome {
  std::vector<Floats> trajectory;
  std::vector<double> residuals;  // the first rank's, after 10, 100 and 1000 steps
};

Outcome run_workers(PowerSgd::Residual form, int steps) {
  const size_t count = 20 * 30;
  const std::vector<double> w = gaussian_rows(1, count, 1);
  std::vector<double> d = gaussian_rows(4, count, 2);
  const std::vector<double> middle = mean_of(d, count);
  for (size_t i = 0; i < d.size(); ++i) d[i] -= middle[i % count];
  Outcome run;
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const auto made = power_sgd({.rank = 2, .residual = form}, {{1, 20, 30}});
    std::vector<double> x(count, 0);
    Floats gradient(count);
    Floats mean(count);
    for (int t = 1; t <= steps; ++t) {
      for (size_t i = 0; i < count; ++i) {
        gradient[i] =
            static_cast<float>(x[i] - w[i] - d[static_cast<size_t>(comm.rank()) * count + i]);
      }
      ASSERT_TRUE(made->step(comm, gradient, mean));
      for (size_t i = 0; i < count; ++i) x[i] -= 0.1 * static_cast<double>(mean[i]);
      if (comm.rank() != 0) continue;
      if (t <= 100) run.trajectory.emplace_back(x.begin(), x.end());
      if (t == 10 || t == 100 || t == 1000) {
        run.residuals.push_back(norm_of(made->store().committed(Role::kSender, 0)));
      }
    }
  });
  return run;
}

TEST(PowerSgd, E14LocalResidualsStayBoundedAndAggregateOnesDoNot) {
  const Outcome local = run_workers(PowerSgd::Residual::kLocal, 1000);
  const Outcome aggregate = run_workers(PowerSgd::Residual::kAggregate, 1000);
  ASSERT_EQ(local.residuals.size(), 3U);
  const double expected_local[] = {179, 162, 222};
  const double expected_aggregate[] = {236, 2.1e3, 2.1e4};
  for (int k = 0; k < 3; ++k) {
    EXPECT_LT(local.residuals[k], 2 * expected_local[k]) << k;
    EXPECT_GT(local.residuals[k], expected_local[k] / 2) << k;
    EXPECT_LT(aggregate.residuals[k], 2 * expected_aggregate[k]) << k;
    EXPECT_GT(aggregate.residuals[k], expected_aggregate[k] / 2) << k;
  }
  // In exact arithmetic the same; what remains is fp32's rounding of residuals that grow.
  for (size_t t = 0; t < 100; ++t) {
    Floats apart(local.trajectory[t]);
    for (size_t i = 0; i < apart.size(); ++i) apart[i] -= aggregate.trajectory[t][i];
    ASSERT_LT(norm_of(apart), 1e-3 * norm_of(local.trajectory[t])) << t;
  }
}

TEST(PowerSgd, AnAbortedStepChangesNoBit) {
  RankGroup group(2);
  std::barrier both(2);
  group.each([&](Communicator& comm) {
    const auto made = power_sgd({.rank = 2}, {{1, 60, 50}, {2, 10, 1}});
    const Floats gradient = gaussian(made->count(), 1);
    Floats mean(gradient.size());
    EXPECT_TRUE(made->step(comm, gradient, mean));
    both.arrive_and_wait();
    const std::vector<std::byte> before = made->store().save();
    comm.abort();
    EXPECT_FALSE(made->step(comm, gradient, mean).is_ok());
    EXPECT_EQ(made->store().save(), before);
  });
}

TEST(PowerSgd, SavedStateGoesOn) {
  RankGroup group(1);
  group.each([](Communicator& comm) {
    const std::vector<MatrixShape> shapes = {{1, 60, 50}, {2, 10, 1}};
    const auto one = power_sgd({.rank = 2}, shapes);
    const auto other = power_sgd({.rank = 2, .seed = 9}, shapes);
    Floats mean(one->count());
    for (uint64_t t = 0; t < 4; ++t) ASSERT_TRUE(one->step(comm, gaussian(mean.size(), t), mean));
    ASSERT_TRUE(other->store().load(one->store().save()));
    Floats again(mean.size());
    ASSERT_TRUE(one->step(comm, gaussian(mean.size(), 5), mean));
    ASSERT_TRUE(other->step(comm, gaussian(mean.size(), 5), again));
    EXPECT_EQ(mean, again);
  });
}

TEST(PowerSgd, DeadLayersComeBackToLife) {
  RankGroup group(1);
  for (const bool warm : {true, false}) {
    group.each([warm](Communicator& comm) {
      const auto made = power_sgd({.rank = 3, .warm_start = warm}, {{1, 40, 50}});
      Floats mean(2000, 1);
      const Floats dead(2000, 0);
      for (int t = 0; t < 3; ++t) {
        ASSERT_TRUE(made->step(comm, dead, mean));
        EXPECT_EQ(norm_of(mean), 0);
        EXPECT_EQ(norm_of(made->store().committed(Role::kSender, 0)), 0);
      }
      Floats alive(2000);
      const Floats column = gaussian(40, 1);
      const Floats row = gaussian(50, 2);
      rebuild({40, 50, 1}, column.data(), row.data(), alive.data());
      // Of rank 1: whatever Q was, what is sent is all there is.
      ASSERT_TRUE(made->step(comm, alive, mean));
      ASSERT_TRUE(made->step(comm, alive, mean));
      EXPECT_LT(norm_of(made->store().committed(Role::kSender, 0)), 1e-4 * norm_of(alive));
    });
  }
}

TEST(PowerSgd, BadInputIsRefused) {
  const auto made = [](const PowerSgd::Options& options, const std::vector<MatrixShape>& shapes) {
    return PowerSgd::create(options, shapes).status();
  };
  expect_refused(made({.rank = 0}, {}), "at least 1");
  expect_refused(made({.ratio = -1}, {}), "negative");
  expect_refused(made({.epsilon = std::nan("")}, {}), "epsilon");
  expect_refused(made({}, {{1, 3, 0}}), "3 rows of 0");
  expect_refused(made({}, {{1, 3, 3}, {1, 4, 4}}), "twice");
  expect_refused(PowerSgd::options("powersgd:rank=0").status(), "rank");
  expect_refused(PowerSgd::options("powersgd:ranks=1").status(), "min_rate");
  expect_refused(PowerSgd::options("topk").status(), "not powersgd");
  const auto options = PowerSgd::options("powersgd:rank=2,residual=aggregate,warm_start=off");
  ASSERT_TRUE(options.is_ok());
  EXPECT_EQ(options->rank, 2U);
  EXPECT_FALSE(options->warm_start);
  EXPECT_EQ(options->residual, PowerSgd::Residual::kAggregate);
  EXPECT_EQ(options->rate_min, 2);
  RankGroup group(1);
  group.each([&](Communicator& comm) {
    const auto power = power_sgd({}, {{1, 40, 40}});
    Floats few(7);
    expect_refused(power->step(comm, few, few), "1600 elements");
  });
}

}  // namespace
}  // namespace gossamer
