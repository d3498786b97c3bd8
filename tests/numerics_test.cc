// How the rounding of 16-bit floats adds up over ranks.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "gossamer/types.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

using Bytes = std::vector<std::byte>;

// Acceptance experiment E18: relative RMS error of sums of p vectors of N(0,1).
struct Errors {
  double ring = 0;  // rounded at each hop, in ring order
  double tree = 0;  // rounded at each level of a binary tree
  double wide = 0;  // accumulated in fp32, rounded once
};

Errors accumulate(DataType type, int ranks) {
  constexpr size_t kCount = 20000;
  const size_t bytes = kCount * size_of(type);
  std::mt19937_64 random(18);
  std::normal_distribution<float> normal;
  std::vector<Bytes> inputs(static_cast<size_t>(ranks), Bytes(bytes));
  std::vector<double> exact(kCount);
  for (Bytes& input : inputs) {
    // The error is that of summation: the inputs are what the type can hold.
    std::vector<float> values(kCount);
    for (float& value : values) value = normal(random);
    narrow_kernel(type)(input.data(), reinterpret_cast<std::byte*>(values.data()), kCount, 1);
    for (size_t i = 0; i < kCount; ++i) exact[i] += widen_one(type, &input[i * size_of(type)]);
  }
  const auto error = [&](const Bytes& sum) {
    double wrong = 0, right = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const double got = widen_one(type, &sum[i * size_of(type)]);
      wrong += (got - exact[i]) * (got - exact[i]);
      right += exact[i] * exact[i];
    }
    return std::sqrt(wrong / right);
  };
  const FoldKernel fold = fold_kernel(type, ReduceOp::kSum);
  const FoldKernel fold_wide = fold_wide_kernel(type, ReduceOp::kSum);
  Bytes ring = inputs[0];
  std::vector<float> accumulator(kCount);
  auto* const wide = reinterpret_cast<std::byte*>(accumulator.data());
  widen_kernel(type)(wide, inputs[0].data(), kCount, 0);
  for (size_t r = 1; r < inputs.size(); ++r) {
    fold(ring.data(), ring.data(), inputs[r].data(), kCount);
    fold_wide(wide, wide, inputs[r].data(), kCount);
  }
  Bytes once(bytes);
  narrow_kernel(type)(once.data(), wide, kCount, 1);
  for (size_t step = 1; step < inputs.size(); step *= 2) {
    for (size_t r = 0; r + step < inputs.size(); r += 2 * step) {
      fold(inputs[r].data(), inputs[r].data(), inputs[r + step].data(), kCount);
    }
  }
  return {error(ring), error(inputs[0]), error(once)};
}

TEST(Numerics, E18_SixteenBitAccumulation) {
  struct Row {
    DataType type;
    int ranks;
    Errors expected;
  };
  for (const Row& row : {Row{DataType::kBfloat16, 8, {3.7e-3, 3.1e-3, 1.7e-3}},
                         Row{DataType::kBfloat16, 64, {9.6e-3, 4.4e-3, 1.7e-3}},
                         Row{DataType::kFloat16, 8, {4.6e-4, 3.9e-4, 2.1e-4}},
                         Row{DataType::kFloat16, 64, {1.2e-3, 5.5e-4, 2.1e-4}}}) {
    const Errors got = accumulate(row.type, row.ranks);
    EXPECT_NEAR(got.ring, row.expected.ring, 0.15 * row.expected.ring) << row.ranks;
    EXPECT_NEAR(got.tree, row.expected.tree, 0.15 * row.expected.tree) << row.ranks;
    EXPECT_NEAR(got.wide, row.expected.wide, 0.15 * row.expected.wide) << row.ranks;
  }
}

TEST(Numerics, E18_AddingOnesStalls) {
  for (const auto& [type, stall] :
       {std::pair{DataType::kBfloat16, 256.0F}, std::pair{DataType::kFloat16, 2048.0F}}) {
    uint16_t one = 0, sum = 0;
    narrow_one(type, 1.0F, reinterpret_cast<std::byte*>(&one));
    float wide = 0;
    for (int i = 0; i < 5000; ++i) {
      const auto* const arrived = reinterpret_cast<const std::byte*>(&one);
      auto* const into = reinterpret_cast<std::byte*>(&sum);
      fold_kernel(type, ReduceOp::kSum)(into, into, arrived, 1);
      auto* const accumulator = reinterpret_cast<std::byte*>(&wide);
      fold_wide_kernel(type, ReduceOp::kSum)(accumulator, accumulator, arrived, 1);
    }
    EXPECT_EQ(widen_one(type, reinterpret_cast<const std::byte*>(&sum)), stall);
    EXPECT_EQ(wide, 5000.0F);
  }
}

}  // namespace
}  // namespace gossamer
