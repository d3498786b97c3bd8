// The gradient hook's rules: which parameters they choose, stages, what they refuse; skipped
// parameters, and codecs of the caller's.

#include <cstring>
#include <numeric>

#include "gossamer/gradient_hook.h"
#include "src/compress/hook/policy.h"
#include "tests/every_second.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Rule = GradientHook::Rule;

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
  Options gossip = with_rule({.codec = "int8", .feedback = "ef14"});
  const auto graph = graph_of("ring", 1);
  gossip.exchange = GradientHook::Exchange::kGossip;
  gossip.graph = graph.get();
  expect_status(GradientHook::create(group[0], some_layers(), gossip).status(),
                Code::kInvalidArgument, "choco");
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

// What nobody takes the average of stays in the residuals, with powersgd too; bit for bit.
TEST(HookRules, KeepWhatAllRanksSkip) {
  const Model model = {{"w", {60, 50}}, {"v", {64, 100}}};
  for (const char* codec : {"powersgd:rank=2", "sign", "topk:ratio=0.1"}) {
    std::vector<Vectors> ends(2 * kRanks);
    RankGroup group(kRanks), other(kRanks);
    const auto train = [&](Communicator& comm, bool skips, Vectors* end) {
      const bool power = std::string(codec).starts_with("powersgd");
      auto hook =
          hook_of(comm, model, with_rule({.codec = codec, .feedback = power ? "" : "ef14"}));
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 4; ++t) {
        Vectors gradients = random_gradients(model, comm.rank(), t);
        if (t == 2 && skips) {
          const Vectors before = residuals_of(*hook, model);
          ASSERT_TRUE(hook->skip_at(0));
          ASSERT_TRUE(hook->ready_at(1, gradients[1].data()));
          ASSERT_TRUE(hook->wait());
          EXPECT_EQ(residuals_of(*hook, model)[0], before[0]) << codec;
        } else if (t != 2) {
          ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), t));
        }
        *end = gradients;
      }
    };
    group.each([&](Communicator& c) { train(c, true, &ends[static_cast<size_t>(c.rank())]); });
    other.each(
        [&](Communicator& c) { train(c, false, &ends[static_cast<size_t>(c.rank() + kRanks)]); });
    EXPECT_EQ(ends[0][0], ends[kRanks][0]) << codec << ": it went on as if nothing had been";
  }
}

// What ranks kept of a parameter would make a mean of it: nobody has brought one.
TEST(HookRules, LeaveAloneWhatAllRanksSkip) {
  const Model model = {{"w", {60, 50}}, {"v", {64, 100}}, {"h", {60, 50}, DataType::kBfloat16}};
  for (const GradientHook::Rule& rule : {GradientHook::Rule{.codec = "powersgd:rank=2"},
                                         {.codec = "sign", .feedback = "ef14:sides=1"},
                                         {.codec = "sign", .feedback = "ef14:sides=2"},
                                         {.codec = "topk:ratio=0.1", .feedback = "ef21"}}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, model, with_rule(rule));
      ASSERT_NE(hook, nullptr);
      std::vector<Values> gradients;
      ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 0, &gradients));
      const std::vector<Values> before = gradients;
      ASSERT_TRUE(hook->skip_at(0, gradients[0].data()));
      ASSERT_TRUE(hook->ready_at(1, gradients[1].data()));
      ASSERT_TRUE(hook->skip_at(2, gradients[2].data()));
      ASSERT_TRUE(hook->wait());
      EXPECT_TRUE(gradients[0] == before[0]) << rule.codec;
      EXPECT_TRUE(gradients[2] == before[2]) << rule.codec;
    });
  }
}

// --- the caller's own codec ----------------------------------------------------------------------

TEST(HookRules, TakeACodecOfTheCallers) {
  const EverySecond codec("");
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

// Before anything is made for it.
TEST(HookRules, RefuseMoreElementsThanACodecEncodes) {
  const uint64_t many = uint64_t{1} << 17;
  RankGroup group(1);
  const auto refused = [&](uint64_t columns, GradientHook::Rule rule, const std::string& part) {
    const Model model = {{"w", {many, columns}}};
    const auto made = GradientHook::create(group[0], model, with_rule(std::move(rule)));
    expect_status(made.status(), Code::kInvalidArgument, part);
  };
  refused(many, {.codec = "topk", .feedback = "ef14"}, "up to 4294967295 elements");
  refused(many, {.codec = "zstd:of=randomk", .feedback = "ef14"}, "up to 4294967295 elements");
  // Lengths are told in 32 bits.
  refused(many / 8, {.codec = "threshold:index=u32", .feedback = "ef14"}, "4 GiB");
}

}  // namespace
}  // namespace gossamer