// What the gradient hook allocates after its second iteration: nothing, on any thread.

#include <barrier>

#include "gossamer/gradient_hook.h"
#include "tests/count_allocations.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

#if GOSSAMER_TEST_COUNTS_ALLOCATIONS

using Exchange = GradientHook::Exchange;
using Options = GradientHook::Options;
using Rule = GradientHook::Rule;

// The least that all threads together allocated in four iterations: a list within a transport may
// grow once more, when a socket is full for the first time.
uint64_t least_allocated(const Model& model, const Options& options, const char* transport) {
  uint64_t least = UINT64_MAX;
  RankGroup group(kRanks, transport);
  std::barrier turn(kRanks);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, options);
    std::vector<Values> gradients = gradients_of(model, comm.rank(), 0);
    const std::vector<size_t> order = shuffled(model.size(), 5);
    const auto iterate_once = [&] {
      for (const size_t p : order) (void)hook->ready(model[p].key, gradients[p].data());
      for (const auto& p : model) (void)hook->wait(p.key);
      return hook->wait().is_ok();
    };
    EXPECT_TRUE(iterate_once());
    EXPECT_TRUE(iterate_once());
    bool good = true;
    for (int batch = 0; batch < 5; ++batch) {
      turn.arrive_and_wait();
      const uint64_t before = all_allocations.load();
      turn.arrive_and_wait();
      for (int i = 0; i < 4; ++i) good &= iterate_once();
      turn.arrive_and_wait();
      if (comm.rank() == 0) least = std::min(least, all_allocations.load() - before);
    }
    turn.arrive_and_wait();
    EXPECT_TRUE(good);
  });
  return least;
}

class HookCosts : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, HookCosts, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(HookCosts, NothingIsAllocatedAfterTheSecondIteration) {
  const Model model = some_model(20, 2000, 3, {DataType::kFloat32, DataType::kBfloat16});
  for (const bool overlap : {false, true}) {
    Options options = hook_options();
    options.overlap = overlap;
    EXPECT_EQ(least_allocated(model, options, GetParam()), 0U) << "overlap " << overlap;
  }
}

TEST_P(HookCosts, ByOtherExchangesNeither) {
  const Model model = some_layers();
  const auto graph = graph_of("complete", kRanks);
  for (const auto exchange : {Exchange::kReduceScatter, Exchange::kGossip}) {
    for (const char* codec : {"", "int8:block=256"}) {
      Options options = with_rule({.codec = codec});
      if (*codec == '\0') options.rules.clear();
      options.exchange = exchange;
      options.graph = graph.get();
      EXPECT_EQ(least_allocated(model, options, GetParam()), 0U)
          << static_cast<int>(exchange) << " " << codec;
    }
  }
}

TEST_P(HookCosts, NorWithCodecs) {
  const Model model = some_layers();
  const std::vector<Rule> rules = {{.codec = "int8:block=256", .feedback = "ef14:sides=1"},
                                   {.codec = "sign", .feedback = "ef14:sides=2"},
                                   {.codec = "topk:ratio=0.01", .feedback = "ef14"},
                                   {.codec = "topk:ratio=0.01,index=rice", .feedback = "dgc"},
                                   {.codec = "int8:block=256"},
                                   {.codec = "powersgd:rank=2"}};
  for (const Rule& rule : rules) {
    for (const bool overlap : {false, true}) {
      Options options = with_rule(rule);
      options.overlap = overlap;
      EXPECT_EQ(least_allocated(model, options, GetParam()), 0U)
          << rule.codec << ", " << rule.feedback << ", overlap " << overlap;
    }
  }
}

#endif

}  // namespace
}  // namespace gossamer
