// Weighted folds against arithmetic in double, with every instruction set of this machine.

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "src/reduce.h"
#include "src/reduce_scalar.h"

namespace gossamer {
namespace {

using Bytes = std::vector<std::byte>;

constexpr DataType kFloats[] = {DataType::kFloat16,    DataType::kBfloat16, DataType::kFloat8E4M3,
                                DataType::kFloat8E5M2, DataType::kFloat32,  DataType::kFloat64};

double get(DataType type, const Bytes& bytes, uint64_t i) {
  const std::byte* const at = bytes.data() + i * size_of(type);
  if (type == DataType::kFloat64) return load_one<double>(at, 0);
  if (type == DataType::kFloat32) return static_cast<double>(load_one<float>(at, 0));
  return static_cast<double>(widen_one(type, at));
}

void put(DataType type, double value, Bytes* bytes, uint64_t i) {
  std::byte* const at = bytes->data() + i * size_of(type);
  if (type == DataType::kFloat64) return store_one(value, at, 0);
  if (type == DataType::kFloat32) return store_one(static_cast<float>(value), at, 0);
  narrow_one(type, static_cast<float>(value), at);
}

Bytes filled(DataType type, uint64_t count, uint64_t seed) {
  Bytes bytes(count * size_of(type));
  for (uint64_t i = 0; i < count; ++i) {
    put(type, static_cast<double>((i * 7 + seed * 3) % 23) / 4 - 2, &bytes, i);
  }
  return bytes;
}

// Relative to values up to 4.
double ulp_of(DataType type) {
  switch (type) {
    case DataType::kFloat64:
      return 4 * 0x1p-52;
    case DataType::kFloat32:
      return 4 * 0x1p-23;
    case DataType::kFloat16:
      return 4 * 0x1p-11;
    case DataType::kBfloat16:
      return 4 * 0x1p-8;
    case DataType::kFloat8E4M3:
      return 4 * 0x1p-4;
    default:
      return 4 * 0x1p-3;
  }
}

template <class Body>
void on_every_target(const Body& body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);

    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

TEST(Mix, IsTheWeightedSumOfAnyCountAndInPlace) {
  on_every_target([] {
    for (const DataType type : kFloats) {
      for (const uint64_t count : {0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 1023}) {
        Bytes operand = filled(type, count, 1);
        const Bytes arrived = filled(type, count, 2);
        Bytes target(operand.size() + 8, std::byte{0x5a});
        mix_kernel(type)(target.data(), operand.data(), arrived.data(), count, 0.3, 0.7);
        for (uint64_t i = 0; i < count; ++i) {
          ASSERT_NEAR(get(type, target, i),
                      0.3 * get(type, operand, i) + 0.7 * get(type, arrived, i), ulp_of(type))
              << name_of(type) << " " << i << " of " << count;
        }
        for (size_t i = operand.size(); i < target.size(); ++i) {
          ASSERT_EQ(target[i], std::byte{0x5a}) << "written past the end";
        }
        mix_kernel(type)(operand.data(), operand.data(), arrived.data(), count, 0.3, 0.7);
        ASSERT_EQ(0, std::memcmp(operand.data(), target.data(), operand.size()));
      }
    }
  });
}

// Where an element stands must not show in its bits: pieces are cut anywhere.
TEST(Mix, RoundsTheLastElementsAsTheOthers) {
  on_every_target([] {
    for (const DataType type : kFloats) {
      const uint64_t size = size_of(type);
      const Bytes operand = filled(type, 100, 5);
      const Bytes arrived = filled(type, 100, 6);
      Bytes whole(100 * size);
      Bytes pieces(100 * size);
      mix_kernel(type)(whole.data(), operand.data(), arrived.data(), 100, 1.0 / 3, 2.0 / 3);
      for (uint64_t i = 0; i < 100; i += 3) {
        const uint64_t n = std::min<uint64_t>(3, 100 - i);
        mix_kernel(type)(pieces.data() + i * size, operand.data() + i * size,
                         arrived.data() + i * size, n, 1.0 / 3, 2.0 / 3);
      }
      EXPECT_EQ(whole, pieces) << name_of(type);
    }
  });
}

TEST(Mix, WideAccumulatorsKeepWhatNarrowTypesLose) {
  on_every_target([] {
    for (const DataType type : kFloats) {
      if (!is_narrow_float(type)) {
        EXPECT_EQ(mix_wide_kernel(type), nullptr);
        EXPECT_EQ(mix_widening_kernel(type), nullptr);
        continue;
      }
      for (const uint64_t count : {1, 7, 16, 100}) {
        const Bytes operand = filled(type, count, 1);
        const Bytes arrived = filled(type, count, 2);
        Bytes sum(count * sizeof(float));
        mix_widening_kernel(type)(sum.data(), operand.data(), arrived.data(), count, 0.3, 0.6);
        mix_wide_kernel(type)(sum.data(), sum.data(), arrived.data(), count, 1, 0.1);
        for (uint64_t i = 0; i < count; ++i) {
          ASSERT_NEAR(load_one<float>(sum.data(), i),
                      0.3 * get(type, operand, i) + 0.7 * get(type, arrived, i), 4 * 0x1p-22)
              << name_of(type) << " " << i;
        }
      }
    }
  });
}

TEST(Mix, HalvesAreTheSameWhoeverTakesThem) {
  on_every_target([] {
    for (const DataType type : kFloats) {
      const Bytes a = filled(type, 100, 5);
      const Bytes b = filled(type, 100, 6);
      Bytes here(a.size());
      Bytes there(a.size());
      mix_kernel(type)(here.data(), a.data(), b.data(), 100, 0.5, 0.5);
      mix_kernel(type)(there.data(), b.data(), a.data(), 100, 0.5, 0.5);
      EXPECT_EQ(here, there) << name_of(type);
    }
  });
}

TEST(Mix, IsOfFloatsOnly) {
  for (int t = 0; t < kDataTypeCount; ++t) {
    const auto type = static_cast<DataType>(t);
    const bool is_float =
        type == DataType::kFloat32 || type == DataType::kFloat64 || is_narrow_float(type);
    EXPECT_EQ(mix_kernel(type) != nullptr, is_float) << name_of(type);
  }
}

TEST(Mix, PassesOnNotANumberAndInfinity) {
  Bytes operand = filled(DataType::kBfloat16, 33, 1);
  const Bytes arrived = filled(DataType::kBfloat16, 33, 2);
  put(DataType::kBfloat16, std::numeric_limits<double>::infinity(), &operand, 3);
  put(DataType::kBfloat16, std::nan(""), &operand, 32);
  mix_kernel(DataType::kBfloat16)(operand.data(), operand.data(), arrived.data(), 33, 0.5, 0.5);
  EXPECT_TRUE(std::isinf(get(DataType::kBfloat16, operand, 3)));
  EXPECT_TRUE(std::isnan(get(DataType::kBfloat16, operand, 32)));
}

}  // namespace
}  // namespace gossamer
