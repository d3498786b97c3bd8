// The gradient hook with rules over the whole field: every kind of codec and feedback, every type,
// odd sizes down to one element, group sizes that are no powers of two, one rank, a rank that
// skips.

#include <algorithm>
#include <cmath>

#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Exchange = GradientHook::Exchange;

// How far off an average may be, beside the largest gradient, 24, in the first iteration. What
// loses everything but the largest, or signs alone, says nothing about single elements.
struct Kind {
  const char* codec;
  const char* feedback;
  double off;
};
constexpr double kAnything = 4;
constexpr Kind kKinds[] = {
    {"fp16", "", 0.002},
    {"bf16", "ef14", 0.02},
    {"fp8_e4m3", "", 0.15},
    {"int8:block=64", "", 0.02},
    {"int8:block=64,rounding=stochastic", "ef14:sides=2", 0.04},
    {"int4:block=32,mode=minmax", "ef14:sides=1", 0.2},
    {"natural", "", 0.8},
    {"qsgd:levels=127,block=64", "", 0.2},
    {"thc:bits=4,block=64", "", kAnything},
    {"int8_shared:block=64", "", 0.02},
    {"int8_shared:block=64", "ef21", 0.02},
    {"majority", "", kAnything},
    {"sign:block=0", "ef14:sides=2", kAnything},
    {"one_bit:column=32", "ef14", kAnything},
    {"topk:ratio=0.3,index=rice", "ef14", kAnything},
    {"topk:ratio=1,index=elias", "dgc", 0.0},
    {"topk:ratio=0.2,index=u16", "ef21_sgdm", kAnything},
    {"threshold:least=0.5", "ef14", 0.03},
    {"randomk:ratio=0.5", "ef14", kAnything},
    {"block_sparse:ratio=1", "ef14", 0.0},
    {"dct:chunk=8,keep=64", "ef14", 0.001},
    {"count_sketch:rows=3,ratio=1,keep=0.2", "ef14", kAnything},
    {"zstd:of=int8", "ef14", 0.02},
    {"powersgd:rank=64,min_rate=0", "", 0.01},
};

Model odd_model(DataType type) {
  return {{"one", {1}, type},        {"none", {}, type},      {"row", {1, 65}, type},
          {"column", {63, 1}, type}, {"small", {3, 5}, type}, {"large", {37, 29}, type}};
}

void run_one(Communicator& comm, const Kind& kind, DataType type, Exchange exchange) {
  const Model model = odd_model(type);
  GradientHook::Options options = with_rule(
      {.count_min = 1, .dimensions_min = 0, .codec = kind.codec, .feedback = kind.feedback});
  options.exchange = exchange;
  options.bucket_bytes_max = 700;
  options.first_bucket_bytes_max = 100;
  auto hook = hook_of(comm, model, options);
  ASSERT_NE(hook, nullptr) << kind.codec;
  const Rank size = comm.size();
  const size_t skipped = 5;
  for (uint64_t t = 0; t < 2; ++t) {
    std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
    const auto contributes = [&](size_t p, Rank r) { return p != skipped || r != 1; };
    for (const size_t p : shuffled(model.size(), t * 31 + static_cast<uint64_t>(comm.rank()))) {
      const bool skips = !contributes(p, comm.rank());
      ASSERT_TRUE(skips ? hook->skip_at(p, gradients[p].data())
                        : hook->ready_at(p, gradients[p].data()));
    }
    const auto step = hook->wait();
    ASSERT_TRUE(step) << kind.codec << ": " << step.status().to_string();
    EXPECT_TRUE(step->finite) << kind.codec;
    for (size_t p = 0; p < model.size() && t == 0; ++p) {
      GradientHook::Shard mine{0, gradients[p].count()};
      if (exchange == Exchange::kReduceScatter) mine = *hook->shard(model[p].key);
      const double rounding = type == DataType::kFloat8E5M2   ? 0.13
                              : type == DataType::kFloat8E4M3 ? 0.07
                                                              : 0.005;
      // Who skips has an estimate that stays, and counts.
      const bool estimates = std::string_view(kind.feedback).starts_with("ef21");
      if (estimates && p == skipped) mine.count = 0;
      for (uint64_t i = mine.first; i < mine.first + mine.count; ++i) {
        const double exact =
            average_value(size, p, t, i, [&](Rank r) { return contributes(p, r); });
        ASSERT_NEAR(gradients[p].get(i), exact, 24 * (kind.off + rounding) + 1e-5)
            << kind.codec << " " << kind.feedback << " " << name_of(type) << " of " << size << " "
            << model[p].key << " at " << i;
      }
    }
  }
}

void run_all(Rank size, DataType type, Exchange exchange) {
  for (const Kind& kind : kKinds) {
    RankGroup group(size);
    group.each([&](Communicator& comm) { run_one(comm, kind, type, exchange); });
  }
}

TEST(HookMatrix, EveryKindAveragesAmongAnyNumberOfRanks) {
  for (const Rank size : {1, 2, 3, 5}) {
    run_all(size, DataType::kFloat32, Exchange::kAllReduce);
    run_all(size, DataType::kFloat32, Exchange::kReduceScatter);
  }
}

TEST(HookMatrix, EveryKindAveragesEveryType) {
  for (const DataType type : {DataType::kFloat64, DataType::kFloat16, DataType::kBfloat16,
                              DataType::kFloat8E4M3, DataType::kFloat8E5M2}) {
    run_all(3, type, Exchange::kAllReduce);
  }
  run_all(3, DataType::kBfloat16, Exchange::kReduceScatter);
}

}  // namespace
}  // namespace gossamer
