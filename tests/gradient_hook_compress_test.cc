// The gradient hook with codecs and feedback: nothing is lost, every rank has the same bits, and an
// iteration that failed has not been.

#include <atomic>
#include <barrier>
#include <cmath>
#include <numeric>

#include "gossamer/gradient_hook.h"
#include "src/compress/hook/policy.h"
#include "tests/count_allocations.h"
#include "tests/hook_model.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Rule = GradientHook::Rule;
using Step = GradientHook::Step;
using Vectors = std::vector<std::vector<float>>;

constexpr Rank kRanks = 3;

// A vector, which stays dense, a small matrix, and matrices of awkward sizes.
Model some_layers() {
  return {{"norm.weight", {700}}, {"small.weight", {10, 20}}, {"fc1.weight", {37, 61}},
          {"fc1.bias", {61}},     {"fc2.weight", {64, 100}},  {"conv.weight", {8, 3, 5, 7, 3}}};
}

bool compressed(const GradientHook::Parameter& p) {
  return p.shape.size() >= 2 && count_of(p) >= 1024;
}

Options with_rule(Rule rule) {
  Options options;
  options.bucket_bytes_max = 30'000;
  options.first_bucket_bytes_max = 3000;
  options.rules = {std::move(rule)};
  return options;
}

Vectors random_gradients(const Model& model, Rank rank, uint64_t t) {
  Vectors all;
  for (size_t p = 0; p < model.size(); ++p) {
    const auto row =
        gaussian_rows(1, count_of(model[p]), 1 + t * 1000 + p * 10 + static_cast<uint64_t>(rank));
    all.emplace_back(row.begin(), row.end());
  }
  return all;
}

Result<Step> iterate(GradientHook& hook, Vectors* gradients, Rank rank, uint64_t t) {
  for (const size_t p : shuffled(gradients->size(), t * 31 + static_cast<uint64_t>(rank))) {
    if (Status ready = hook.ready_at(p, (*gradients)[p].data()); !ready) return ready;
  }
  return hook.wait();
}

Vectors residuals_of(GradientHook& hook, const Model& model) {
  Vectors all;
  for (const auto& p : model) {
    const auto residual = hook.residual(p.key);
    EXPECT_TRUE(residual) << residual.status().to_string();
    all.emplace_back(residual->begin(), residual->end());
  }
  return all;
}

// --- nothing is lost -----------------------------------------------------------------------------

struct Seen {
  Vectors gradients, residual_before, residual_after, result;
};

// Sum over ranks of what was decoded and what is kept now, is that of gradients and what was kept.
void expect_conserved(const Model& model, const std::vector<Seen>& ranks, double contributors) {
  for (size_t p = 0; p < model.size(); ++p) {
    for (uint64_t i = 0; i < count_of(model[p]); ++i) {
      double in = 0, out = contributors * ranks[0].result[p][i], scale = 0;
      for (const Seen& rank : ranks) {
        ASSERT_EQ(rank.result[p][i], ranks[0].result[p][i]) << "ranks have different bits";
        const bool keeps = !rank.residual_before[p].empty();
        in += rank.gradients[p][i] + (keeps ? rank.residual_before[p][i] : 0);
        out += keeps ? rank.residual_after[p][i] : 0;
        scale +=
            std::abs(rank.gradients[p][i]) + (keeps ? std::abs(rank.residual_before[p][i]) : 0);
      }
      ASSERT_NEAR(in, out, 1e-6 * (scale + 1)) << model[p].key << " at " << i;
    }
  }
}

class HookWith : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Codecs, HookWith,
                         testing::Values("fp16", "int8:block=256", "int4:block=64", "sign",
                                         "topk:ratio=0.01", "randomk:ratio=0.05", "one_bit",
                                         "powersgd:rank=2"),
                         [](const auto& param) {
                           const std::string text = param.param;
                           return text.substr(0, text.find(':'));
                         });

Rule rule_of(const std::string& codec) {
  return {.codec = codec, .feedback = codec.starts_with("powersgd") ? "" : "ef14"};
}

// E16. Twenty iterations, one of them with a callback that fails, one with a NaN.
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
    options.callbacks = {{nullptr,
                          [](const GradientHook::BucketView& bucket, void* context) {
                            const bool now = static_cast<std::atomic<bool>*>(context)->load() &&
                                             bucket.index + 1 == bucket.bucket_count;
                            return now ? Status::error(Code::kSystem, "enough") : Status::ok();
                          },
                          &fail}};
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 20; ++t) {
      mine.gradients = random_gradients(model, rank, t);
      mine.residual_before = residuals_of(*hook, model);
      mine.result = mine.gradients;
      const std::vector<std::byte> before = hook->save().value();
      fail = t == 7 && rank == 1;
      if (t == 11 && rank == 2) mine.result[4][5] = std::nanf("");
      Result<Step> step = iterate(*hook, &mine.result, rank, t);
      mine.residual_after = residuals_of(*hook, model);
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
      turn.arrive_and_wait();
      if (rank == 0 && t != 7 && t != 11) expect_conserved(model, seen, kRanks);
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
    mine.residual_before = residuals_of(*hook, model);
    mine.result = random_gradients(model, rank, 3);
    for (size_t p = model.size(); p-- > 0;) {
      if (rank == 2 && p == 1) comm.abort();
      (void)hook->ready_at(p, mine.result[p].data());
    }
    EXPECT_FALSE(hook->wait());
    ASSERT_TRUE(hook->rebind(other[rank]));
    EXPECT_EQ(hook->save().value(), before);
    mine.gradients = random_gradients(model, rank, 3);
    mine.result = mine.gradients;
    ASSERT_TRUE(iterate(*hook, &mine.result, rank, 3));
    mine.residual_after = residuals_of(*hook, model);
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

// --- rules ---------------------------------------------------------------------------------------

TEST(HookRules, MatchPatterns) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("", "a"));
  EXPECT_TRUE(matches("layer*.weight", "layer3.conv.weight"));
  EXPECT_FALSE(matches("layer*.weight", "layer3.conv.weights"));
  EXPECT_TRUE(matches("*.w?", "a.b.w1"));
  EXPECT_FALSE(matches("*.w?", "a.b.w"));
  EXPECT_TRUE(matches("*a*b*", "xxaxxbxaxx"));
  EXPECT_FALSE(matches("*a*b*c", "xxaxxbxaxx"));
  EXPECT_TRUE(matches("a**b", "ab"));
}

TEST(HookRules, DecideByTheFirstThatFits) {
  Result<ParameterList> list = ParameterList::make(some_layers());
  ASSERT_TRUE(list);
  const std::vector<Rule> rules = {{.keys = "fc?.*", .count_min = 1, .codec = "fp16"},
                                   {.count_min = 2000, .codec = "int8"},
                                   {.keys = "norm*", .dimensions_min = 1, .codec = "bf16"}};
  Result<Policy> policy = Policy::make(rules, 1, *list);
  ASSERT_TRUE(policy) << policy.status().to_string();
  const auto groups = policy->groups();
  EXPECT_EQ(std::vector<uint32_t>(groups.begin(), groups.end()),
            (std::vector<uint32_t>{0, 0, 1, 0, 1, 2}));  // norm has 700 elements, the least is 1024
}

TEST(HookRules, AreRefusedWithTheReason) {
  RankGroup group(1);
  const auto refused = [&](Rule rule, const std::string& part) {
    expect_status(
        GradientHook::create(group[0], some_layers(), with_rule(std::move(rule))).status(),
        Code::kInvalidArgument, part);
  };
  refused({.keys = "fc*"}, "the rule for 'fc*'");
  refused({.codec = "nonsense"}, "nonsense");
  refused({.codec = "int8", .feedback = "nonsense"}, "nonsense");
  refused({.codec = "powersgd:rank=0"}, "rank");
  refused({.codec = "powersgd", .feedback = "ef14"}, "residual of its own");
  refused({.codec = "int8", .from_iteration = 5, .warm_up = {{5, "fp16"}}}, "ascend");
  Options gossip = with_rule({.codec = "int8"});
  const auto graph = graph_of("ring", 1);
  gossip.exchange = GradientHook::Exchange::kGossip;
  gossip.graph = graph.get();
  expect_status(GradientHook::create(group[0], some_layers(), gossip).status(),
                Code::kInvalidArgument, "ChocoSgd");
}

// Dense, then two milder stages, then what was asked for.
TEST(HookRules, WarmUpInStages) {
  const Model model = {{"w", {100, 100}}};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model,
                        with_rule({.codec = "topk:ratio=0.001",
                                   .from_iteration = 4,
                                   .warm_up = {{2, "topk:ratio=0.1"}, {3, "topk:ratio=0.01"}}}));
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 6; ++t) {
      std::vector<float> values(10'000);
      std::iota(values.begin(), values.end(), 1.0F);  // the same on both ranks
      ASSERT_TRUE(hook->ready("w", values.data()));
      ASSERT_TRUE(hook->wait());
      const auto kept = 10'000 - std::count(values.begin(), values.end(), 0.0F);
      EXPECT_EQ(kept, t < 2 ? 10'000 : t == 2 ? 1000 : t == 3 ? 100 : 10) << t;
    }
  });
}

// A rank that skips neither sends nor loses what it keeps; EF21's mean is over all estimates.
TEST(HookRules, GoWithSkippedParameters) {
  const Model model = {{"w", {50, 50}}};
  for (const char* feedback : {"ef14", "dgc:momentum=0", "ef21"}) {
    RankGroup group(kRanks);
    std::vector<Seen> seen(kRanks);
    group.each([&](Communicator& comm) {
      const Rank rank = comm.rank();
      Seen& mine = seen[static_cast<size_t>(rank)];
      auto hook =
          hook_of(comm, model, with_rule({.codec = "topk:ratio=0.1", .feedback = feedback}));
      for (uint64_t t = 0; t < 4; ++t) {
        mine.gradients = random_gradients(model, rank, t);
        mine.result = mine.gradients;
        mine.residual_before = residuals_of(*hook, model);
        const bool skips = t == 3 && rank == 1;
        ASSERT_TRUE(skips ? hook->skip_at(0, mine.result[0].data())
                          : hook->ready_at(0, mine.result[0].data()));
        ASSERT_TRUE(hook->wait());
        mine.residual_after = residuals_of(*hook, model);
        if (skips) {
          EXPECT_EQ(mine.residual_after, mine.residual_before);
          std::fill(mine.gradients[0].begin(), mine.gradients[0].end(), 0.0F);
        }
      }
    });
    if (std::string(feedback) == "ef21") {
      EXPECT_EQ(seen[0].result, seen[1].result);
    } else {
      expect_conserved(model, seen, kRanks - 1);
    }
  }
}

// --- the caller's own codec ----------------------------------------------------------------------

// Sends half of the elements, as they are.
class EverySecond final : public Codec {
 public:
  CodecTraits traits() const override { return {}; }
  uint64_t bytes_max(uint64_t count) const override { return (count + 1) / 2 * sizeof(float); }
  double error_max(uint64_t /*count*/) const override { return 1; }
  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    for (size_t i = 0; i < values.size(); i += 2) std::memcpy(&code[i * 2], &values[i], 4);
    return {bytes_max(values.size()), 0};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (code.size() == bytes_max(count)) return Status::ok();
    return Status::error(Code::kMismatch, "of another length");
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    add(code, 1, into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    for (size_t i = 0; i < into.size(); i += 2) {
      float value = 0;
      std::memcpy(&value, &code[i * 2], 4);
      into[i] += factor * value;
    }
  }
};

TEST(HookRules, TakeACodecOfTheCallers) {
  const EverySecond codec;
  const Model model = {{"w", {51, 51}}};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, with_rule({.feedback = "ef14", .own = &codec}));
    ASSERT_NE(hook, nullptr);
    std::vector<float> values(51 * 51, 2.0F);
    ASSERT_TRUE(hook->ready("w", values.data()));
    ASSERT_TRUE(hook->wait());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], i % 2 == 0 ? 2.0F : 0.0F);
    EXPECT_EQ((*hook->residual("w"))[1], 2.0F);
  });
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

// --- what it costs -------------------------------------------------------------------------------

#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
TEST(HookCosts, CodecsAllocateNothingAfterTheSecondIteration) {
  const Model model = some_layers();
  for (const char* codec : {"int8:block=256", "topk:ratio=0.01"}) {
    for (const char* transport : {"loopback", "shm", "tcp"}) {
      RankGroup group(kRanks, transport);
      group.each([&](Communicator& comm) {
        Options options = with_rule({.codec = codec, .feedback = "ef14"});
        options.overlap = false;
        auto hook = hook_of(comm, model, options);
        Vectors gradients = random_gradients(model, comm.rank(), 0);
        const auto iterate_once = [&] {
          for (size_t p = 0; p < model.size(); ++p) (void)hook->ready_at(p, gradients[p].data());
          return hook->wait().is_ok();
        };
        ASSERT_TRUE(iterate_once());
        ASSERT_TRUE(iterate_once());
        uint64_t least = UINT64_MAX;
        for (int batch = 0; batch < 5; ++batch) {
          const uint64_t before = allocations;
          for (int i = 0; i < 4; ++i) ASSERT_TRUE(iterate_once());
          least = std::min(least, allocations - before);
        }
        EXPECT_EQ(least, 0U) << codec << " over " << transport;
      });
    }
  }
}
#endif

}  // namespace
}  // namespace gossamer
