// Moshpit averaging: E22, what is left of the variance where ranks drop out and where groups are
// drawn; and the same steps over communicators.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "gossamer/gossip_groups.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Grouping = MoshpitAverage::Grouping;

std::unique_ptr<MoshpitAverage> moshpit(size_t width, Rank group,
                                        Grouping grouping = Grouping::kGrid, uint64_t seed = 1) {
  return MoshpitAverage::create({.count = width,
                                 .type = DataType::kFloat64,
                                 .group = group,
                                 .grouping = grouping,
                                 .seed = seed})
      .value();
}

bool contains(const std::vector<Rank>& ranks, Rank r) {
  return std::find(ranks.begin(), ranks.end(), r) != ranks.end();
}

// One step of all ranks, by the groups that the method names.
void dense_step(const MoshpitAverage& method, uint64_t round, const std::vector<Rank>& absent,
                size_t width, std::vector<double>* x) {
  const auto n = static_cast<Rank>(x->size() / width);
  std::vector<bool> done(static_cast<size_t>(n));
  for (Rank r = 0; r < n; ++r) {
    if (done[static_cast<size_t>(r)]) continue;
    std::vector<Rank> members = method.group(r, n, round);
    for (const Rank member : members) {
      ASSERT_EQ(method.group(member, n, round), members) << "they disagree on their group";
      done[static_cast<size_t>(member)] = true;
    }
    std::erase_if(members, [&](Rank member) { return contains(absent, member); });
    for (size_t k = 0; k < width; ++k) {
      double sum = 0;
      for (const Rank m : members) sum += (*x)[static_cast<size_t>(m) * width + k];
      const double mean = sum / static_cast<double>(members.size());
      for (const Rank m : members) (*x)[static_cast<size_t>(m) * width + k] = mean;
    }
  }
}

double variance(const std::vector<double>& x, size_t width) {
  const double off = distance(x, mean_of(x, width));
  return off * off;
}

// What two steps on a grid of 8 by 8 leave of the variance, on average, where each rank is absent
// with this probability, anew in each step.
double left_with_absences(double probability) {
  constexpr Rank kRanks = 64;
  constexpr size_t kWidth = 16;
  constexpr int kRuns = 400;
  const auto method = moshpit(kWidth, 8);
  std::mt19937_64 generator(7);
  std::uniform_real_distribution<double> chance;
  double sum = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> x = gaussian_rows(kRanks, kWidth, static_cast<uint64_t>(run));
    const double before = variance(x, kWidth);
    for (uint64_t round = 0; round < 2; ++round) {
      std::vector<Rank> absent;
      for (Rank r = 0; r < kRanks; ++r) {
        if (chance(generator) < probability) absent.push_back(r);
      }
      dense_step(*method, round, absent, kWidth, &x);
    }
    sum += variance(x, kWidth) / before;
  }
  return sum / kRuns;
}

TEST(Moshpit, E22AbsentRanksLeaveALittleVariance) {
  EXPECT_LE(left_with_absences(0), 1e-28);
  EXPECT_NEAR(left_with_absences(0.01), .0033, .0033 * .2);
  EXPECT_NEAR(left_with_absences(0.05), .016, .016 * .2);
  EXPECT_NEAR(left_with_absences(0.1), .036, .036 * .2);
  EXPECT_NEAR(left_with_absences(0.2), .086, .086 * .2);
}

TEST(Moshpit, E22RandomGroupsLeaveTheSameShareInEveryStep) {
  constexpr size_t kWidth = 16;
  double left = 0;
  constexpr int kRuns = 50;
  for (int run = 0; run < kRuns; ++run) {
    const auto method = moshpit(kWidth, 8, Grouping::kRandom, static_cast<uint64_t>(run));
    std::vector<double> x = gaussian_rows(64, kWidth, static_cast<uint64_t>(run) + 1000);
    const double before = variance(x, kWidth);
    for (uint64_t round = 0; round < 6; ++round) dense_step(*method, round, {}, kWidth, &x);
    left += std::log(variance(x, kWidth) / before) / 6 / kRuns;
  }
  EXPECT_NEAR(std::exp(left), (64.0 / 8 - 1) / 63, .111 * .2);
}

TEST(Moshpit, AFullGridIsExactAfterAsManyStepsAsItHasDirections) {
  const std::pair<Rank, Rank> grids[] = {{8, 64}, {4, 64}, {2, 32}, {3, 27}, {5, 5}, {7, 49}};
  for (const auto& [group, n] : grids) {
    const auto method = moshpit(4, group);
    std::vector<double> x = gaussian_rows(n, 4, 1);
    const std::vector<double> mean = mean_of(x, 4);
    uint64_t directions = 0;
    for (Rank places = 1; places < n; places *= group) ++directions;
    for (uint64_t round = 0; round < directions; ++round) {
      EXPECT_GT(distance(x, mean), 1e-3);
      dense_step(*method, round, {}, 4, &x);
    }
    EXPECT_LE(distance(x, mean), 1e-13) << group << " of " << n;
  }
}

TEST(Moshpit, AGridThatIsNotFullApproachesTheMean) {
  for (const Rank n : {2, 3, 5, 6, 13, 50, 63, 65}) {
    for (const Rank group : {2, 3, 8}) {
      for (const Grouping grouping : {Grouping::kGrid, Grouping::kRandom}) {
        const auto method = moshpit(4, group, grouping);
        std::vector<double> x = gaussian_rows(n, 4, 1);
        const std::vector<double> mean = mean_of(x, 4);
        const double before = distance(x, mean);
        for (uint64_t round = 0; round < 200; ++round) {
          const size_t most = method->group(n / 2, n, round).size();
          ASSERT_LE(most, static_cast<size_t>(group));
          dense_step(*method, round, {}, 4, &x);
        }
        EXPECT_LE(distance(x, mean), 1e-6 * before) << group << " of " << n;
      }
    }
  }
}

// Steps of a group of ranks, with absences that all know of, against dense_step().
void expect_dense(Rank n, Rank group, Grouping grouping, size_t width, const char* transport) {
  RankGroup ranks(n, transport);
  const auto dense = moshpit(width, group, grouping);
  std::vector<double> expected = gaussian_rows(n, width, 5);
  std::vector<double> x = expected;
  std::mt19937_64 generator(3);
  std::vector<std::unique_ptr<MoshpitAverage>> methods;
  for (Rank r = 0; r < n; ++r) methods.push_back(moshpit(width, group, grouping));
  const std::vector<double> gradient(width, 0.5);
  for (uint64_t round = 0; round < 6; ++round) {
    std::vector<Rank> absent;
    for (Rank r = 0; r < n && round > 1; ++r) {
      if (generator() % 5 == 0) absent.push_back(r);
    }
    for (double& value : expected) value -= 0.1 * 0.5;
    dense_step(*dense, round, absent, width, &expected);
    ranks.each([&](Communicator& comm) {
      const auto r = static_cast<size_t>(comm.rank());
      const Status done =
          methods[r]->step(comm, x.data() + r * width, gradient.data(), 0.1, absent);
      ASSERT_TRUE(done.is_ok()) << done.to_string();
    });
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], expected[i], 1e-13) << round;
    for (Rank r = 0; r < n; ++r) {
      if (contains(absent, r)) continue;
      for (const Rank member : dense->group(r, n, round)) {
        if (contains(absent, member)) continue;
        ASSERT_EQ(
            std::memcmp(x.data() + static_cast<size_t>(r) * width,
                        x.data() + static_cast<size_t>(member) * width, width * sizeof(double)),
            0)
            << "not the same bits";
      }
    }
  }
}

TEST(Moshpit, E22StepsOfRanksAreThoseOfTheGroups) {
  for (const char* transport : {"loopback", "shm"}) {
    for (const size_t width : {1, 5, 100}) {
      expect_dense(9, 3, Grouping::kGrid, width, transport);
      expect_dense(7, 3, Grouping::kGrid, width, transport);
      expect_dense(7, 3, Grouping::kRandom, width, transport);
    }
  }
  expect_dense(64, 8, Grouping::kGrid, 24, "loopback");
}

TEST(Moshpit, SendsTwiceAShareToEachOfItsGroup) {
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto method = MoshpitAverage::create({.count = 4000, .group = 4}).value();
    std::vector<float> x(4000, static_cast<float>(comm.rank()));
    const auto before = comm.counters();
    ASSERT_TRUE(method->step(comm, x.data(), nullptr, 0));
    const auto after = comm.counters();
    EXPECT_EQ(after.messages_sent - before.messages_sent, 6U);
    EXPECT_EQ(after.bytes_sent - before.bytes_sent, 2U * 3 * 4000);
    for (const float value : x) ASSERT_EQ(value, 1.5F);
  });
}

TEST(Moshpit, ASavedRoundGoesOnAndBringsAnAbsentRankBack) {
  RankGroup group(4);
  std::vector<std::byte> saved;
  group.each([&](Communicator& comm) {
    auto one = moshpit(3, 2);
    std::vector<double> x(3, comm.rank());
    ASSERT_TRUE(one->step(comm, x.data(), nullptr, 0));
    auto other = moshpit(3, 2);
    expect_damage_noticed(*other, one->save());
    expect_refused(moshpit(3, 4)->load(one->save()), "ranks of a group 2, this method has 4");
    expect_refused(moshpit(3, 2, Grouping::kRandom)->load(one->save()), "grouping");
    EXPECT_EQ(other->round(), 1U);
    ASSERT_TRUE(other->step(comm, x.data(), nullptr, 0));
    for (const double value : x) EXPECT_EQ(value, 1.5);
    if (comm.rank() == 0) saved = other->save();
  });
  // Rank 3 does not call at all while it is absent.
  std::vector<std::unique_ptr<MoshpitAverage>> methods;
  for (Rank r = 0; r < 4; ++r) methods.push_back(moshpit(3, 2));
  group.each([&](Communicator& comm) {
    std::vector<double> x(3, comm.rank());
    auto& mine = *methods[static_cast<size_t>(comm.rank())];
    const Rank absent[] = {3};
    if (comm.rank() != 3) {
      ASSERT_TRUE(mine.step(comm, x.data(), nullptr, 0, absent));
      ASSERT_TRUE(mine.step(comm, x.data(), nullptr, 0, absent));
    } else {
      ASSERT_TRUE(mine.load(saved));
    }
    EXPECT_EQ(mine.round(), 2U);
    ASSERT_TRUE(mine.step(comm, x.data(), nullptr, 0));
  });
}

TEST(Moshpit, BadInputIsRefusedBeforeAnythingIsSent) {
  expect_refused(MoshpitAverage::create({.count = 4, .type = DataType::kFloat16}).status(),
                 "float32 or float64");
  expect_refused(MoshpitAverage::create({.count = 4, .group = 1}).status(), "2 is the least");
  expect_refused(MoshpitAverage::create({.count = 4, .group = -3}).status(), "2 is the least");
  EXPECT_TRUE(moshpit(1, 4)->group(4, 4, 0).empty());
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto method = moshpit(4, 2);
    std::vector<double> x(4, comm.rank());
    const uint64_t sent = comm.counters().messages_sent;
    const Rank none[] = {2};
    expect_refused(method->step(comm, x.data(), nullptr, 0, none), "rank 2 cannot be absent");
    expect_refused(method->step(comm, nullptr, nullptr, 0), "null");
    expect_refused(method->step(comm, x.data(), x.data(), 0.1), "overlap");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_EQ(method->round(), 0U);
    EXPECT_TRUE(method->step(comm, x.data(), nullptr, 0));
    for (const double value : x) EXPECT_EQ(value, 0.5);
  });
}

}  // namespace
}  // namespace gossamer
