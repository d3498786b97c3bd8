// The gradient hook with neighbors and CHOCO: ranks come together whatever the codec loses, where
// averages of what codes say do not; and what neighbors have of each other is right after failures.

#include <atomic>
#include <barrier>
#include <cmath>

#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Step = GradientHook::Step;

Options gossip_with(const Graph& graph, const std::string& codec, const std::string& feedback) {
  Options options = with_rule({.codec = codec, .feedback = feedback});
  options.exchange = GradientHook::Exchange::kGossip;
  options.graph = &graph;
  return options;
}

// The distance of all ranks' values from their mean, beside what it was at first; and how far the
// mean has moved.
struct Come {
  double distance = 0;
  double moved = 0;
};
double square_of(const std::vector<Vectors>& x, const std::vector<double>& mean) {
  double sum = 0;
  for (const Vectors& one : x) {
    size_t at = 0;
    for (const auto& values : one) {
      for (const float value : values) sum += std::pow(static_cast<double>(value) - mean[at++], 2);
    }
  }
  return sum;
}
std::vector<double> mean_of(const std::vector<Vectors>& x) {
  std::vector<double> mean;
  for (size_t p = 0; p < x[0].size(); ++p) {
    for (size_t i = 0; i < x[0][p].size(); ++i) {
      double sum = 0;
      for (const Vectors& one : x) sum += static_cast<double>(one[p][i]);
      mean.push_back(sum / static_cast<double>(x.size()));
    }
  }
  return mean;
}

Come gossip(const Model& model, Rank ranks, const Options& options, int rounds) {
  std::vector<Vectors> x(static_cast<size_t>(ranks));
  for (Rank r = 0; r < ranks; ++r) x[static_cast<size_t>(r)] = random_gradients(model, r, 0);
  const std::vector<double> before = mean_of(x);
  const double far = square_of(x, before);
  RankGroup group(ranks);
  group.each([&](Communicator& comm) {
    Vectors& mine = x[static_cast<size_t>(comm.rank())];
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    for (int t = 0; t < rounds; ++t) {
      for (size_t p = 0; p < model.size(); ++p) ASSERT_TRUE(hook->ready_at(p, mine[p].data()));
      const auto step = hook->wait();
      ASSERT_TRUE(step) << step.status().to_string();
    }
  });
  const std::vector<double> after = mean_of(x);
  Come come{std::sqrt(square_of(x, after) / far), 0};
  for (size_t i = 0; i < after.size(); ++i) {
    come.moved = std::max(come.moved, std::abs(after[i] - before[i]));
  }
  return come;
}

// E10 through the hook: 1e-6 of the distance after 307 rounds of top-10 %, at a rate of
// 0.2 on a ring of 8.
TEST(HookChoco, E10_ComesTogetherAsFastAsTheMethod) {
  const Model model = {{"w", {40, 50}}};
  const auto ring = graph_of("ring", 8);
  const Options options = gossip_with(*ring, "topk:ratio=0.1,select=exact", "choco:rate=0.2");
  const Come come = gossip(model, 8, options, 322);
  EXPECT_LT(come.distance, 1e-6) << come.distance;
  EXPECT_LT(come.moved, 1e-5);
}

// The control: codes of values, not of differences, stay at .4 of the distance; the same code of
// differences comes to 1e-6.
TEST(HookChoco, E11_ComesTogetherWherePlainCodesDoNot) {
  const Model model = {{"w", {40, 50}}, {"odd", {37, 31}}};
  const Rank ranks = 8;
  const int rounds = 250;
  const auto ring = graph_of("ring", ranks);
  const auto come = [&](const char* codec, const char* feedback) {
    Options options = gossip_with(*ring, codec, feedback);
    options.overlap = false;  // fewer threads
    return gossip(model, ranks, options, rounds);
  };
  const Come plain = come("qsgd:levels=4", "");
  EXPECT_FALSE(plain.distance < 0.1) << plain.distance;
  struct Row {
    const char* codec;
    const char* feedback;
  };
  for (const Row& row :
       {Row{"qsgd:levels=4", "choco:rate=0.2"}, Row{"int4:block=64", "choco:rate=0.5"},
        Row{"sign:block=64", "choco:rate=0.2"},
        Row{"topk:ratio=0.1,index=rice", "choco:rate=0.2"}}) {
    const Come choco = come(row.codec, row.feedback);
    EXPECT_LT(choco.distance, 1e-3) << row.codec;
    EXPECT_LT(choco.moved, 1e-5) << row.codec;
  }
}

// A rank without a parameter in an iteration: its neighbors' copies stay, and all come together
// afterwards. Types that are not fp32.
TEST(HookChoco, GoesOnAfterSkippedParametersInAllTypes) {
  const auto graph = graph_of("complete", kRanks);
  for (const DataType type : {DataType::kFloat64, DataType::kBfloat16, DataType::kFloat16}) {
    for (const char* codec : {"int8:block=256", "topk:ratio=0.3,index=rice"}) {
      const Model model = {{"w", {61, 53}, type}, {"v", {29, 47}, type}};
      RankGroup group(kRanks);
      group.each([&](Communicator& comm) {
        const Rank rank = comm.rank();
        auto hook = hook_of(comm, model, gossip_with(*graph, codec, "choco:rate=0.3"));
        ASSERT_NE(hook, nullptr);
        std::vector<Values> x = gradients_of(model, rank, 0);
        for (int t = 0; t < 60; ++t) {
          const std::vector<Values> before = x;
          for (size_t p = 0; p < model.size(); ++p) {
            const bool skips = p == 1 && rank == 1 && t % 7 == 2;
            ASSERT_TRUE(skips ? hook->skip_at(p, x[p].data()) : hook->ready_at(p, x[p].data()));
          }
          ASSERT_TRUE(hook->wait());
          if (rank == 1 && t % 7 == 2) {
            ASSERT_EQ(x[1], before[1]);
          }
        }
        for (size_t i = 0; i < x[0].count(); ++i) {
          ASSERT_NEAR(x[0].get(i), average_value(kRanks, 0, 0, i), 2) << codec;
        }
      });
    }
  }
}

// --- what is kept --------------------------------------------------------------------------------

TEST(HookChoco, IsSavedAndGoesOnBitForBit) {
  const Model model = some_layers();
  const auto ring = graph_of("ring", 4);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    const Options options = gossip_with(*ring, "topk:ratio=0.1", "choco:rate=0.2");
    auto hook = hook_of(comm, model, options);
    Vectors x = random_gradients(model, rank, 0);
    for (uint64_t t = 0; t < 3; ++t) ASSERT_TRUE(iterate(*hook, &x, rank, t));
    const std::vector<std::byte> saved = hook->save().value();
    Vectors same = x;
    ASSERT_TRUE(iterate(*hook, &x, rank, 3));
    auto again = hook_of(comm, model, options);
    ASSERT_TRUE(again->load(saved));
    ASSERT_TRUE(iterate(*again, &same, rank, 3));
    EXPECT_EQ(x, same);
    EXPECT_EQ(hook->save().value(), again->save().value());
  });
}

// There would be no copies of those who were no neighbors.
TEST(HookChoco, RefusesAStateOfAnotherGraph) {
  const Model model = some_layers();
  const auto ring = graph_of("ring", 4);
  const auto complete = graph_of("complete", 4);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const auto made_on = [&](const Graph& graph) {
      return hook_of(comm, model, gossip_with(graph, "topk:ratio=0.1", "choco:rate=0.2"));
    };
    auto hook = made_on(*ring);
    Vectors x = random_gradients(model, comm.rank(), 0);
    ASSERT_TRUE(iterate(*hook, &x, comm.rank(), 0));
    const std::vector<std::byte> saved = hook->save().value();
    expect_status(made_on(*complete)->load(saved), Code::kInvalidArgument, "graph");
    EXPECT_TRUE(made_on(*ring)->load(saved));
  });
}

// A callback that fails concerns its rank alone, and the iteration counts; an abort ends the group,
// and in another one, of fewer ranks too, all come together.
TEST(HookChoco, ComesTogetherAfterFailures) {
  const Model model = {{"w", {40, 50}}};
  const auto ring = graph_of("ring", 5);
  const auto smaller = graph_of("ring", 4);
  std::barrier turn(5);
  RankGroup group(5), other(4);
  std::vector<Vectors> x(5);
  group.each([&](Communicator& comm) {
    const Rank rank = comm.rank();
    Vectors& mine = x[static_cast<size_t>(rank)];
    std::atomic<bool> fail = false;
    Options options = gossip_with(*ring, "int4:block=64", "choco:rate=0.3");
    options.callbacks = {{nullptr,
                          [](const GradientHook::BucketView&, void* context) {
                            return static_cast<std::atomic<bool>*>(context)->load()
                                       ? Status::error(Code::kSystem, "enough")
                                       : Status::ok();
                          },
                          &fail}};
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    mine = random_gradients(model, rank, 0);
    for (uint64_t t = 0; t < 5; ++t) {
      fail = t == 2 && rank == 1;
      EXPECT_EQ(iterate(*hook, &mine, rank, t).is_ok(), !fail);
    }
    turn.arrive_and_wait();
    if (rank == 4) {
      comm.abort();
      return;
    }
    Result<Step> step = Step{};
    for (uint64_t t = 5; step && t < 100; ++t) step = iterate(*hook, &mine, rank, t);
    EXPECT_FALSE(step);
    EXPECT_FALSE(hook->ready("w", mine[0].data()));
    const Status bound = hook->rebind(other[rank], smaller.get());
    ASSERT_TRUE(bound) << bound.to_string();
    for (uint64_t t = 0; t < 150; ++t) {
      step = iterate(*hook, &mine, rank, t);
      ASSERT_TRUE(step) << step.status().to_string();
    }
  });
  x.pop_back();
  const std::vector<double> mean = mean_of(x);
  EXPECT_LT(std::sqrt(square_of(x, mean) / (4 * 2000.0)), 1e-4);
}

TEST(HookChoco, IsRefusedWhereItCannotWork) {
  RankGroup group(4);
  const auto ring = graph_of("ring", 4);
  const auto turns = graph_of("one_peer_exponential", 4);
  const auto refused = [&](const Options& options, const std::string& part) {
    expect_status(GradientHook::create(group[0], some_layers(), options).status(),
                  Code::kInvalidArgument, part);
  };
  refused(gossip_with(*ring, "sign", "choco"), "rate");
  refused(gossip_with(*ring, "sign", "choco:rate=2"), "(0, 1]");
  refused(gossip_with(*ring, "sign", "choco:speed=1"), "speed");
  refused(gossip_with(*turns, "sign", "choco:rate=0.1"), "neighbors that stay");
  Options reduces = gossip_with(*ring, "sign", "choco:rate=0.1");
  reduces.exchange = GradientHook::Exchange::kAllReduce;
  refused(reduces, "kGossip");
}

}  // namespace
}  // namespace gossamer
