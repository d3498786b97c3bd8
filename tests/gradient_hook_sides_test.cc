// The gradient hook with feedback on two sides: what owners of parts lose is kept as well, stays
// through failures, and goes to other owners when ranks are others.

#include <atomic>
#include <barrier>
#include <cmath>

#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Step = GradientHook::Step;

Options two_sided(const std::string& codec) {
  return with_rule({.codec = codec, .feedback = "ef14:sides=2"});
}

// All ranks' owned residuals in one, each element being one rank's.
Vectors in_sum(const std::vector<Vectors>& ranks) {
  Vectors sum = ranks[0];
  for (size_t r = 1; r < ranks.size(); ++r) {
    for (size_t p = 0; p < sum.size(); ++p) {
      for (size_t i = 0; i < sum[p].size(); ++i) sum[p][i] += ranks[r][p][i];
    }
  }
  return sum;
}

// --- nothing is lost -----------------------------------------------------------------------------

class HookSides : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Codecs, HookSides,
                         testing::Values("fp16", "int8:block=256", "int4:block=64", "sign",
                                         "sign:block=0", "one_bit:column=100", "two_bit"),
                         [](const auto& param) { return "of" + std::to_string(param.index); });

// E16, with what owners keep. In iteration 5 a callback fails, in 7 there is a NaN, in 8 one rank
// skips a matrix, in 9 all of them do.
TEST_P(HookSides, E16_ConserveGradientsThroughFailures) {
  const Model model = some_layers();
  for (const Rank ranks : {2, 3, 5}) {
    std::vector<Seen> seen(static_cast<size_t>(ranks));
    std::barrier turn(ranks);
    RankGroup group(ranks);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      Seen& mine = seen[static_cast<size_t>(rank)];
      std::atomic<bool> fail = false;
      Options options = two_sided(GetParam());
      options.callbacks = {fails_after_the_last_when(&fail)};
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 12; ++t) {
        mine.before(*hook, model, random_gradients(model, rank, t));
        const std::vector<std::byte> before = hook->save().value();
        fail = t == 5 && rank == 1;
        if (t == 7 && rank == 1) mine.result[4][5] = std::nanf("");
        const bool skips = t == 9 || (t == 8 && rank == 1);
        Result<Step> step = iterate(*hook, &mine.result, rank, t, skips ? 4 : SIZE_MAX);
        mine.after(*hook, model);
        if (t == 5) {
          EXPECT_FALSE(step);
          EXPECT_EQ(hook->save().value(), before) << "a failed iteration left something";
        } else {
          ASSERT_TRUE(step) << step.status().to_string();
          EXPECT_EQ(step->finite, t != 7);
        }
        if (skips || t == 7) {
          EXPECT_EQ(mine.residual_after[4], mine.residual_before[4]);
        }
        if (t == 9 || t == 7) {
          EXPECT_EQ(mine.owned_after[4], mine.owned_before[4]);
        }
        if (t == 9) {
          EXPECT_EQ(mine.result[4], mine.gradients[4]) << "nobody brought an average";
        }
        if (skips) std::fill(mine.gradients[4].begin(), mine.gradients[4].end(), 0.0F);
        if (t == 9) std::fill(mine.result[4].begin(), mine.result[4].end(), 0.0F);
        turn.arrive_and_wait();
        if (rank == 0 && t != 5 && t != 7) {
          expect_conserved(model, seen, ranks, t == 8 ? 4 : SIZE_MAX);
        }
        turn.arrive_and_wait();
      }
      const auto kept = hook->owner_residual("fc2.weight");
      ASSERT_TRUE(kept);
      EXPECT_LT(kept->values.size(), 6400U);
      EXPECT_EQ(hook->owner_residual("norm.weight")->values.size(), 0U);
      expect_status(hook->owner_residual("none").status(), Code::kInvalidArgument, "'none'");
    });
  }
}

// What is lost comes later: the mean over iterations of equal gradients' averages is their average.
TEST_P(HookSides, MakeUpOverIterationsForWhatEachLoses) {
  const Model model = {{"w", {60, 50}}};
  const int iterations = 300;
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, two_sided(GetParam()));
    ASSERT_NE(hook, nullptr);
    std::vector<float> exact = random_gradients(model, comm.rank(), 0)[0];
    ASSERT_TRUE(comm.all_reduce(std::span(exact), ReduceOp::kAvg));
    std::vector<double> sum(exact.size());
    for (int t = 0; t < iterations; ++t) {
      Vectors gradients = random_gradients(model, comm.rank(), 0);
      ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), 0));
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += gradients[0][i];
    }
    double off = 0;
    for (size_t i = 0; i < sum.size(); ++i) off += std::pow(sum[i] / iterations - exact[i], 2);
    // Of the mean square, which is 1/4.
    EXPECT_LT(off / static_cast<double>(sum.size()), 2e-3);
  });
}

// --- other types and exchanges -------------------------------------------------------------------

TEST(HookSides, AllTypesShardsAndOddSizes) {
  using Exchange = GradientHook::Exchange;
  for (const DataType type :
       {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16, DataType::kFloat64}) {
    const Model model = {{"w", {61, 53}, type}, {"v", {1, 1024}, type}, {"u", {97, 89}, type}};
    for (const auto exchange : {Exchange::kAllReduce, Exchange::kReduceScatter}) {
      RankGroup group(kRanks);
      std::vector<std::vector<Values>> all(kRanks);
      std::vector<uint64_t> bytes(kRanks);
      group.each([&](Communicator& comm) {
        Options options = two_sided("int8:block=256");
        options.exchange = exchange;
        auto hook = hook_of(comm, model, options);
        ASSERT_NE(hook, nullptr);
        for (uint64_t t = 0; t < 3; ++t) {
          std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
          const uint64_t before = comm.counters().bytes_sent;
          for (size_t p = 0; p < model.size(); ++p) {
            ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
          }
          ASSERT_TRUE(hook->wait());
          bytes[static_cast<size_t>(comm.rank())] = comm.counters().bytes_sent - before;
          for (size_t p = 0; p < model.size(); ++p) {
            GradientHook::Shard shard{0, gradients[p].count()};
            if (exchange == Exchange::kReduceScatter) shard = *hook->shard(model[p].key);
            for (uint64_t i = shard.first; i < shard.first + shard.count; ++i) {
              ASSERT_NEAR(gradients[p].get(i), average_value(kRanks, p, t, i), 0.9);
            }
          }
          all[static_cast<size_t>(comm.rank())] = std::move(gradients);
        }
      });
      if (exchange == Exchange::kAllReduce) {
        EXPECT_EQ(all[1], all[0]);
        EXPECT_EQ(all[2], all[0]);
      }
      // A gather would send two codes of 12,890 bytes; here it is 4/3, or 2/3, of one.
      EXPECT_LT(bytes[0], exchange == Exchange::kAllReduce ? 19'500U : 10'500U);
    }
  }
}

// --- what is sent --------------------------------------------------------------------------------

uint64_t bytes_of(const std::string& feedback, Rank ranks, const Model& model) {
  std::atomic<uint64_t> bytes = 0;
  RankGroup group(ranks);
  group.each([&](Communicator& comm) {
    Options options = with_rule({.codec = "sign:block=0", .feedback = feedback});
    options.bucket_bytes_max = uint64_t{25} << 20;
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 3; ++t) {
      Vectors gradients = random_gradients(model, comm.rank(), t);
      const uint64_t before = comm.counters().bytes_sent;
      ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), t));
      if (comm.rank() == 0) bytes = comm.counters().bytes_sent - before;
    }
  });
  return bytes;
}

TEST(HookSides, SendTwoNthsOfTheCodePerOtherRank) {
  const Model model = {{"w", {256, 256}}, {"v", {300, 77}}};
  const double code = (256 * 256 + 300 * 77) / 8.0;
  const double votes = 1000;
  for (const Rank n : {2, 4}) {
    const auto gathered = static_cast<double>(bytes_of("ef14:sides=1", n, model));
    const auto owned = static_cast<double>(bytes_of("ef14:sides=2", n, model));
    EXPECT_NEAR(gathered, (n - 1) * code, 0.03 * gathered + votes * n);
    EXPECT_NEAR(owned, 2.0 * (n - 1) / n * code, 0.03 * owned + votes * n);
  }
  // Owners work less and send less.
  const auto by_price = static_cast<double>(bytes_of("ef14", 8, model));
  EXPECT_NEAR(by_price, 2.0 * 7 / 8 * code, 0.03 * by_price + votes * 8);
}

// --- other ranks ---------------------------------------------------------------------------------

// The same ranks in another order, then fewer, then one: what was kept of sums has other owners,
// and in the end none, and is the same in sum.
TEST(HookSides, HandOverWhatOwnersKeepToOtherRanks) {
  const Model model = some_layers();
  std::vector<Vectors> owned(4), sent(4);
  std::barrier turn(4);
  RankGroup group(4), turned(4), three(3), alone(1);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    auto hook = hook_of(comm, model, two_sided("sign"));
    ASSERT_NE(hook, nullptr);
    const auto look = [&] {
      turn.arrive_and_wait();
      owned[static_cast<size_t>(rank)] = owned_of(*hook, model);
      sent[static_cast<size_t>(rank)] = residuals_of(*hook, model);
      turn.arrive_and_wait();
    };
    Vectors gradients;
    for (uint64_t t = 0; t < 3; ++t) {
      gradients = random_gradients(model, rank, t);
      ASSERT_TRUE(iterate(*hook, &gradients, rank, t));
    }
    look();
    const Vectors before = in_sum(owned);
    const Vectors own_before = owned[static_cast<size_t>(rank)];
    ASSERT_NE(before[4], std::vector<float>(before[4].size(), 0.0F));
    ASSERT_TRUE(hook->rebind(turned[3 - rank]));
    look();
    EXPECT_NE(owned[static_cast<size_t>(rank)], own_before);
    EXPECT_EQ(in_sum(owned), before);
    gradients = random_gradients(model, rank, 3);
    ASSERT_TRUE(iterate(*hook, &gradients, rank, 3));
    look();
    Vectors lost = owned[3];
    const Vectors then = in_sum(owned);
    turn.arrive_and_wait();
    if (rank < 3) {
      ASSERT_TRUE(hook->rebind(three[rank]));
    }
    look();
    if (rank == 0) {
      owned.pop_back();
      const Vectors now = in_sum(owned);
      for (size_t p = 0; p < model.size(); ++p) {
        for (size_t i = 0; i < now[p].size(); ++i) {
          ASSERT_EQ(now[p][i], then[p][i] - lost[p][i]) << model[p].key << " at " << i;
        }
      }
      owned.push_back(lost);
    }
    turn.arrive_and_wait();
    if (rank == 0) {
      const Vectors own = owned_of(*hook, model), kept = residuals_of(*hook, model);
      ASSERT_TRUE(hook->rebind(alone[0]));
      const Vectors now = residuals_of(*hook, model);
      for (size_t i = 0; i < now[4].size(); ++i) ASSERT_EQ(now[4][i], kept[4][i] + own[4][i]);
      EXPECT_EQ(hook->owner_residual("fc2.weight")->values.size(), 0U);
    }
  });
}

// What a rank that leaves kept of its gradients, and of sums that it owned, enters the sums of
// those who stay.
TEST(HookLeaving, WhatIsKeptStaysInTheSum) {
  const Model model = some_layers();
  for (const GradientHook::Rule& rule :
       {GradientHook::Rule{.codec = "sign", .feedback = "ef14:sides=2"},
        {.codec = "topk:ratio=0.1", .feedback = "ef14"},
        {.codec = "topk:ratio=0.1", .feedback = "dgc"},
        {.codec = "powersgd:rank=2"}}) {
    std::vector<Vectors> kept(3);
    std::barrier turn(3);
    RankGroup group(3), fewer(2);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      auto hook = hook_of(comm, model, with_rule(rule));
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 3; ++t) {
        Vectors gradients = random_gradients(model, rank, t);
        ASSERT_TRUE(iterate(*hook, &gradients, rank, t));
      }
      const auto sum_of_all = [&] {
        Vectors& mine = kept[static_cast<size_t>(rank)];
        mine = owned_of(*hook, model);
        const Vectors sent = residuals_of(*hook, model);
        for (size_t p = 0; p < mine.size(); ++p) {
          for (size_t i = 0; i < sent[p].size(); ++i) mine[p][i] += sent[p][i];
        }
        turn.arrive_and_wait();
        Vectors sum = in_sum(kept);
        turn.arrive_and_wait();
        return sum;
      };
      const Vectors before = sum_of_all();
      EXPECT_TRUE(hook->hand_over(2, 0));
      if (rank < 2) {
        EXPECT_TRUE(hook->rebind(fewer[rank]));
      }
      const Vectors after = sum_of_all();
      if (rank == 2) {
        for (const auto& values : kept[2]) EXPECT_EQ(values, std::vector<float>(values.size()));
      }
      float most = 0;
      for (size_t p = 0; p < before.size(); ++p) {
        for (size_t i = 0; i < before[p].size(); ++i) {
          most = std::max(most, std::abs(before[p][i]));
          ASSERT_NEAR(after[p][i], before[p][i], 1e-5) << rule.codec << " " << model[p].key;
        }
      }
      EXPECT_GT(most, 0.1F);
      expect_status(hook->hand_over(0, 0), Code::kInvalidArgument, "hand over");
      expect_status(hook->hand_over(0, 3), Code::kInvalidArgument, "hand over");
    });
  }
}

// A meeting that is aborted has not been, wherever each rank was in it.
TEST(HookSides, KeepWhatTheyHadWhenAMeetingFails) {
  const Model model = some_layers();
  std::vector<Vectors> owned(3);
  std::barrier turn(3);
  for (int attempt = 0; attempt < 6; ++attempt) {
    RankGroup group(3), broken(3), other(3);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      auto hook = hook_of(comm, model, two_sided("int4:block=64"));
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 2; ++t) {
        Vectors gradients = random_gradients(model, rank, t);
        ASSERT_TRUE(iterate(*hook, &gradients, rank, t));
      }
      const std::vector<std::byte> before = hook->save().value();
      owned[static_cast<size_t>(rank)] = owned_of(*hook, model);
      turn.arrive_and_wait();
      const Vectors sum = in_sum(owned);
      turn.arrive_and_wait();
      Communicator& next = broken[(rank + 1) % 3];
      if (rank == 0) {
        std::thread late([&] {
          std::this_thread::sleep_for(std::chrono::microseconds(50 << 2 * attempt));
          next.abort();
        });
        (void)hook->rebind(next);
        late.join();
      } else {
        (void)hook->rebind(next);
      }
      turn.arrive_and_wait();
      ASSERT_TRUE(hook->rebind(other[rank]));
      owned[static_cast<size_t>(rank)] = owned_of(*hook, model);
      turn.arrive_and_wait();
      EXPECT_EQ(in_sum(owned), sum);
      EXPECT_EQ(hook->save().value(), before);
    });
  }
}

TEST(HookSides, AreSavedAndGoOnBitForBit) {
  const Model model = some_layers();
  RankGroup group(kRanks);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    const Options options = two_sided("sign");
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    Vectors gradients = random_gradients(model, rank, 0);
    ASSERT_TRUE(iterate(*hook, &gradients, rank, 0));
    const std::vector<std::byte> saved = hook->save().value();
    Vectors first = random_gradients(model, rank, 1), second = first;
    ASSERT_TRUE(iterate(*hook, &first, rank, 1));
    auto again = hook_of(comm, model, options);
    ASSERT_TRUE(again->load(saved));
    ASSERT_TRUE(iterate(*again, &second, rank, 2));
    EXPECT_EQ(first, second);
    EXPECT_EQ(again->save().value(), hook->save().value());
  });
}

TEST(HookSides, AreForDenseCodes) {
  RankGroup group(1);
  for (const char* codec : {"topk:ratio=0.01", "zstd:of=int8"}) {
    const auto refused = GradientHook::create(group[0], some_layers(), two_sided(codec));
    expect_status(refused.status(), Code::kInvalidArgument, "two sides");
  }
  const auto refused = GradientHook::create(
      group[0], some_layers(), with_rule({.codec = "sign", .feedback = "ef14:sides=3"}));
  expect_status(refused.status(), Code::kInvalidArgument, "sides");
}

}  // namespace
}  // namespace gossamer
