// The gradient hook with codecs and feedback: nothing is lost, every rank has the same bits, and an
// iteration that failed has not been.

#include <atomic>
#include <barrier>
#include <cmath>

#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Rule = GradientHook::Rule;
using Step = GradientHook::Step;

// --- nothing is lost -----------------------------------------------------------------------------

class HookWith : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Codecs, HookWith,
                         testing::Values("fp16", "int8:block=256", "int4:block=64", "sign",
                                         "topk:ratio=0.01", "randomk:ratio=0.05", "one_bit",
                                         "int8_shared", "thc", "dct:chunk=16,keep=8",
                                         "count_sketch:ratio=0.5,keep=0.05", "powersgd:rank=2"),
                         [](const auto& param) {
                           const std::string text = param.param;
                           return text.substr(0, text.find(':'));
                         });

Rule rule_of(const std::string& codec) {
  return {.codec = codec, .feedback = codec.starts_with("powersgd") ? "" : "ef14"};
}

// E16. Twenty iterations, one of them with a callback that fails, one with a NaN; in those that
// follow, where nothing of them may be left, a rank skips a matrix.
TEST_P(HookWith, ConservesGradientsThroughFailures) {
  const Model model = some_layers();
  std::vector<Seen> seen(kRanks);
  std::barrier turn(kRanks);
  RankGroup group(kRanks);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    Seen& mine = seen[static_cast<size_t>(rank)];
    std::atomic<bool> fail = false;
    Options options = with_rule(rule_of(GetParam()));
    options.callbacks = {fails_after_the_last_when(&fail)};
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 20; ++t) {
      mine.before(*hook, model, random_gradients(model, rank, t));
      const std::vector<std::byte> before = hook->save().value();
      fail = t == 7 && rank == 1;
      if (t == 11 && rank == 2) mine.result[4][5] = std::nanf("");
      const size_t skipped = t == 8 || t == 12 ? 4 : SIZE_MAX;
      Result<Step> step = iterate(*hook, &mine.result, rank, t, rank == 1 ? skipped : SIZE_MAX);
      mine.after(*hook, model);
      if (t == 7) {
        EXPECT_FALSE(step);
        EXPECT_EQ(hook->save().value(), before) << "a failed iteration left something";
      } else if (t == 11) {
        ASSERT_TRUE(step);
        EXPECT_FALSE(step->finite);
        EXPECT_EQ(step->rank, 2);
        EXPECT_EQ(mine.residual_after, mine.residual_before);
      } else {
        ASSERT_TRUE(step) << step.status().to_string();
      }
      if (rank == 1 && skipped < model.size()) {
        std::fill(mine.gradients[4].begin(), mine.gradients[4].end(), 0.0F);
        if (!std::string(GetParam()).starts_with("powersgd")) {
          EXPECT_EQ(mine.residual_after[4], mine.residual_before[4]);
        }
      }
      turn.arrive_and_wait();
      if (rank == 0 && t != 7 && t != 11) expect_conserved(model, seen, kRanks, skipped);
      turn.arrive_and_wait();
    }
    for (size_t p = 0; p < model.size(); ++p) {
      EXPECT_EQ(mine.residual_after[p].empty(), !compressed(model[p])) << model[p].key;
    }
  });
}

// An abort in the middle: what is kept is as it was, and goes on in another group.
TEST_P(HookWith, KeepsItsStateThroughAnAbort) {
  const Model model = some_layers();
  std::vector<Seen> seen(kRanks);
  std::barrier turn(kRanks);
  RankGroup group(kRanks), other(kRanks);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    Seen& mine = seen[static_cast<size_t>(rank)];
    auto hook = hook_of(comm, model, with_rule(rule_of(GetParam())));
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 3; ++t) {
      mine.result = random_gradients(model, rank, t);
      ASSERT_TRUE(iterate(*hook, &mine.result, rank, t));
    }
    turn.arrive_and_wait();
    const std::vector<std::byte> before = hook->save().value();
    mine.before(*hook, model, random_gradients(model, rank, 3));
    for (size_t p = model.size(); p-- > 0;) {
      if (rank == 2 && p == 1) comm.abort();
      (void)hook->ready_at(p, mine.result[p].data());
    }
    EXPECT_FALSE(hook->wait());
    ASSERT_TRUE(hook->rebind(other[rank]));
    EXPECT_EQ(hook->save().value(), before);
    mine.result = mine.gradients;
    ASSERT_TRUE(iterate(*hook, &mine.result, rank, 3));
    mine.after(*hook, model);
    turn.arrive_and_wait();
    if (rank == 0) expect_conserved(model, seen, kRanks);
  });
}

// Some ranks ended an iteration that others did not: the first go back to what they kept before.
TEST(HookCompression, TakesBackWhatNotAllRanksEnded) {
  const Model model = some_layers();
  RankGroup group(2), other(2), alone(1);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    auto hook = hook_of(comm, model, with_rule({.codec = "topk:ratio=0.01", .feedback = "ef14"}));
    Vectors gradients;
    for (uint64_t t = 0; t < 3; ++t) {
      gradients = random_gradients(model, rank, t);
      ASSERT_TRUE(iterate(*hook, &gradients, rank, t));
    }
    const std::vector<std::byte> before = hook->save().value();
    if (rank == 1) {
      ASSERT_TRUE(hook->rebind(alone[0]));
      gradients = random_gradients(model, rank, 3);
      ASSERT_TRUE(iterate(*hook, &gradients, rank, 3));
      EXPECT_EQ(hook->iteration(), 4U);
    }
    ASSERT_TRUE(hook->rebind(other[rank]));
    EXPECT_EQ(hook->iteration(), 3U);
    EXPECT_EQ(hook->save().value(), before);
    // What was saved is not taken back.
    if (rank == 1) {
      ASSERT_TRUE(hook->rebind(alone[0]));
      gradients = random_gradients(model, rank, 3);
      ASSERT_TRUE(iterate(*hook, &gradients, rank, 3));
      (void)hook->save();
    }
    expect_status(hook->rebind(group[rank]), Code::kMismatch, "load()");
    if (rank == 1) {
      ASSERT_TRUE(hook->load(before));
    }
    EXPECT_TRUE(hook->rebind(group[rank]));
  });
}

// --- the same again ------------------------------------------------------------------------------

// Draws are those of seed, iteration, parameter and rank: repeated they give the same bits, in the
// next iteration others.
TEST(HookCompression, IsReplayedBitForBitFromASavedState) {
  const Model model = some_layers();
  for (const char* codec : {"qsgd:levels=7", "randomk:ratio=0.05"}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      const bool feedback = std::string(codec).starts_with("randomk");
      const Options options = with_rule({.codec = codec, .feedback = feedback ? "ef14" : ""});
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      const Vectors same = random_gradients(model, rank, 1);
      Vectors first = same, second = same, third = same;
      ASSERT_TRUE(iterate(*hook, &first, rank, 0));
      const std::vector<std::byte> saved = hook->save().value();
      second = same;
      ASSERT_TRUE(iterate(*hook, &second, rank, 1));
      EXPECT_NE(first[4], second[4]);
      auto again = hook_of(comm, model, options);
      ASSERT_TRUE(again->load(saved));
      ASSERT_TRUE(iterate(*again, &third, rank, 2));
      EXPECT_EQ(third, second);
    });
  }
}

// Residuals are no estimates: what was saved would lie there and never be sent.
TEST(HookCompression, RefusesAStateOfOtherFeedback) {
  const Model model = some_layers();
  const std::string kinds[] = {"ef14", "ef21", "ef21_sgdm", "dgc"};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    const auto made_with = [&](const std::string& feedback) {
      return hook_of(comm, model, with_rule({.codec = "topk:ratio=0.1", .feedback = feedback}));
    };
    for (const std::string& saved_with : kinds) {
      auto hook = made_with(saved_with);
      Vectors gradients = random_gradients(model, comm.rank(), 0);
      ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), 0));
      const std::vector<std::byte> saved = hook->save().value();
      for (const std::string& kind : kinds) {
        auto other = made_with(kind);
        const std::vector<std::byte> before = other->save().value();
        if (kind == saved_with) {
          EXPECT_TRUE(other->load(saved));
        } else {
          expect_status(other->load(saved), Code::kInvalidArgument, "'" + kind + "'");
          EXPECT_EQ(other->save().value(), before);
        }
      }
    }
    // Another decay is the same rule.
    const auto saved = made_with("ef14")->save().value();
    EXPECT_TRUE(made_with("ef14:decay=0.9")->load(saved));
  });
}

// A rank that skips a parameter has no vote, and zeros would be votes; codes of one length, and of
// several. By kReduceScatter each rank gets its share of the count.
TEST(HookCompression, CountsTheVotesOfThoseThatContribute) {
  const Model model = some_layers();
  const size_t voted = 4;
  std::vector<Vectors> sent[3];  // by iteration and rank
  for (uint64_t t = 0; t < 3; ++t) {
    for (Rank r = 0; r < kRanks; ++r) sent[t].push_back(random_gradients(model, r, t));
  }
  const auto vote = [&](uint64_t t, size_t i, Rank without) {
    int votes = 0;
    for (Rank r = 0; r < kRanks; ++r) {
      if (r != without) votes += sent[t][static_cast<size_t>(r)][voted][i] < 0 ? -1 : 1;
    }
    return votes < 0 ? -1.0F : 1.0F;
  };
  for (const char* codec : {"majority", "zstd:of=majority"}) {
    for (const auto exchange :
         {GradientHook::Exchange::kAllReduce, GradientHook::Exchange::kReduceScatter}) {
      RankGroup group(kRanks);
      group.each([&](Communicator& comm) {
        Options options = with_rule({.codec = codec});
        options.exchange = exchange;
        auto hook = hook_of(comm, model, options);
        ASSERT_NE(hook, nullptr);
        for (uint64_t t = 0; t < 3; ++t) {
          const Rank without = t == 1 ? 1 : -1;
          Vectors gradients = random_gradients(model, comm.rank(), t);
          const size_t skipped = comm.rank() == without ? voted : SIZE_MAX;
          ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), t, skipped));
          GradientHook::Shard mine{0, gradients[voted].size()};
          if (exchange == GradientHook::Exchange::kReduceScatter) {
            mine = *hook->shard(model[voted].key);
            EXPECT_GT(mine.count, 0U);
          }
          for (size_t i = mine.first; i < mine.first + mine.count; ++i) {
            ASSERT_EQ(gradients[voted][i], vote(t, i, without)) << codec << " " << t << " " << i;
          }
        }
      });
    }
  }
}

// --- other types and exchanges -------------------------------------------------------------------

TEST(HookCompression, WorksOnAllTypesAndShards) {
  for (const DataType type : {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat64}) {
    const Model model = {{"w", {60, 50}, type}, {"v", {64, 100}, type}};
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      Options options = with_rule({.codec = "int8:block=256", .feedback = "ef14"});
      options.exchange = GradientHook::Exchange::kReduceScatter;
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      std::vector<Values> gradients = gradients_of(model, comm.rank(), 0);
      for (size_t p = 0; p < 2; ++p) ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
      ASSERT_TRUE(hook->wait());
      for (size_t p = 0; p < 2; ++p) {
        const auto shard = hook->shard(model[p].key);
        for (uint64_t i = shard->first; i < shard->first + shard->count; ++i) {
          ASSERT_NEAR(gradients[p].get(i), average_value(kRanks, p, 0, i), 0.3);
        }
      }
    });
  }
}

// --- in the collective ---------------------------------------------------------------------------

// The largest error that two roundings to 1 / 127 of the largest value make.
constexpr double kInt8Error = 2 * 24.0 / 127;

TEST(HookCompression, InTheCollectiveGivesAllRanksTheSameBits) {
  const Model model = {{"w", {60, 50}}, {"v", {64, 100}}, {"h", {40, 40}, DataType::kBfloat16}};
  for (const char* transport : {"loopback", "shm"}) {
    RankGroup group(4, transport);
    std::vector<std::vector<Values>> all(4);
    std::vector<uint64_t> bytes(4);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      auto hook = hook_of(comm, model, with_rule({.codec = "int8:block=256"}));
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 3; ++t) {
        std::vector<Values> gradients = gradients_of(model, rank, t);
        const uint64_t before = comm.counters().bytes_sent;
        for (size_t p = 0; p < model.size(); ++p) {
          const bool skips = p == 1 && rank == 2;
          ASSERT_TRUE(skips ? hook->skip_at(p, gradients[p].data())
                            : hook->ready_at(p, gradients[p].data()));
        }
        ASSERT_TRUE(hook->wait());
        bytes[static_cast<size_t>(rank)] = comm.counters().bytes_sent - before;
        for (size_t p = 0; p < model.size(); ++p) {
          const auto contributes = [&](Rank r) { return p != 1 || r != 2; };
          for (uint64_t i = 0; i < gradients[p].count(); ++i) {
            ASSERT_NEAR(gradients[p].get(i), average_value(4, p, t, i, contributes),
                        kInt8Error * 4 / 3 + 0.1);
          }
        }
        all[static_cast<size_t>(rank)] = std::move(gradients);
      }
    });
    for (size_t r = 1; r < 4; ++r) EXPECT_EQ(all[r], all[0]);
    // A gather would send three codes of 11,000 elements.
    EXPECT_LT(bytes[0], 2.5 * 11'000);
  }
}

TEST(HookCompression, WorksInTheCollectiveOnShardsAndWithNeighbors) {
  const Model model = {{"w", {60, 50}}, {"v", {64, 100}}};
  const auto graph = graph_of("complete", kRanks);
  for (const auto exchange :
       {GradientHook::Exchange::kReduceScatter, GradientHook::Exchange::kGossip}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      Options options = with_rule({.codec = "int8:block=256"});
      options.exchange = exchange;
      options.graph = graph.get();
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 3; ++t) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
        for (size_t p = 0; p < 2; ++p) ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
        ASSERT_TRUE(hook->wait());
        for (size_t p = 0; p < 2; ++p) {
          GradientHook::Shard shard{0, gradients[p].count()};
          if (exchange == GradientHook::Exchange::kReduceScatter)
            shard = *hook->shard(model[p].key);
          for (uint64_t i = shard.first; i < shard.first + shard.count; ++i) {
            ASSERT_NEAR(gradients[p].get(i), average_value(kRanks, p, t, i), kInt8Error);
          }
        }
      }
    });
  }
}

// What a code that mixes neighbors leaves of them between parameters.
uint64_t left_between(const GradientHook::BucketView& bucket) {
  const auto* const values = static_cast<const float*>(bucket.data);
  uint64_t left = 0;
  uint64_t at = 0;
  const auto look_until = [&](uint64_t end) {
    for (; at < end; ++at) left += values[at] != 0 ? 1 : 0;
  };
  for (const GradientHook::Part& part : bucket.parts) {
    look_until(part.first);
    at = part.first + part.count;
  }
  look_until(bucket.count);
  return left;
}

// A code that mixes neighbors leaves something of them between parameters, where nobody looks. It
// must not be summed in the next iteration, and the one after that.
TEST(HookBetweenParameters, NothingStaysFromIterationToIteration) {
  const Model model = {{"bias", {10}}, {"weight", {32, 10}}};
  RankGroup group(kRanks);
  group.each([&](Communicator& comm) {
    Options options = with_rule({.count_min = 1, .dimensions_min = 1, .codec = "thc"});
    auto hook = GradientHook::create(comm, model, options);
    ASSERT_TRUE(hook) << hook.status().to_string();
    for (uint64_t t = 0; t < 12; ++t) {
      Vectors mean = random_gradients(model, 0, t);
      for (Rank r = 1; r < kRanks; ++r) {
        const Vectors other = random_gradients(model, r, t);
        for (size_t p = 0; p < mean.size(); ++p) {
          for (size_t i = 0; i < mean[p].size(); ++i) mean[p][i] += other[p][i];
        }
      }
      Vectors gradients = random_gradients(model, comm.rank(), t);
      const auto step = iterate(**hook, &gradients, comm.rank(), t);
      ASSERT_TRUE(step) << step.status().to_string();
      double lost = 0;
      double all = 0;
      for (size_t p = 0; p < mean.size(); ++p) {
        for (size_t i = 0; i < mean[p].size(); ++i) {
          const double exact = mean[p][i] / kRanks;
          lost += std::pow(gradients[p][i] - exact, 2);
          all += exact * exact;
        }
      }
      EXPECT_LT(lost, 0.1 * all) << "iteration " << t;
    }
  });
}

// Callbacks are told that there are zeros.
TEST(HookBetweenParameters, CallbacksSeeNothing) {
  using View = GradientHook::BucketView;
  const Model model = {{"bias", {10}}, {"weight", {32, 10}}};
  const auto graph = graph_of("complete", kRanks);
  for (const auto exchange :
       {GradientHook::Exchange::kAllReduce, GradientHook::Exchange::kReduceScatter,
        GradientHook::Exchange::kGossip}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      uint64_t left = 0;
      const auto look = [](const View& bucket, void* context) {
        *static_cast<uint64_t*>(context) += left_between(bucket);
        return Status::ok();
      };
      Options options = with_rule({.count_min = 1, .dimensions_min = 1, .codec = "thc"});
      options.exchange = exchange;
      options.graph = graph.get();
      options.callbacks = {{look, look, &left}};
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 3; ++t) {
        Vectors gradients = random_gradients(model, comm.rank(), t);
        ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), t));
      }
      EXPECT_EQ(left, 0U);
    });
  }
}

}  // namespace
}  // namespace gossamer
