// Element kernels: vectors against plain loops, plain loops against arithmetic on exact numbers.

#include "src/reduce.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "src/narrow.h"
#include "src/reduce_scalar.h"

namespace gossamer {
namespace {

constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMax,
                             ReduceOp::kMin, ReduceOp::kAvg,  ReduceOp::kPreMulSum};
constexpr DataType kNarrow[] = {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat8E4M3,
                                DataType::kFloat8E5M2};

using Bytes = std::vector<std::byte>;

std::string label(DataType type, ReduceOp op, uint64_t count) {
  return "type " + std::to_string(static_cast<int>(type)) + ", op " +
         std::to_string(static_cast<int>(op)) + ", count " + std::to_string(count);
}

// Random bits, with a quarter of the elements drawn from values that go wrong first: zeros of both
// signs, infinities, NaNs of both kinds, subnormals, extremes.
void fill(Bytes& bytes, size_t offset, DataType type, uint64_t count, std::mt19937_64& random) {
  const size_t size = size_of(type);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t bits = random();
    const uint64_t kind = random() % 32;
    const uint64_t sign = (random() & 1u) << (8 * size - 1);
    const bool is_double = type == DataType::kFloat64;
    const uint64_t infinity = is_double                       ? uint64_t{0x7ff} << 52
                              : type == DataType::kFloat16    ? 0x7c00u
                              : type == DataType::kBfloat16   ? 0x7f80u
                              : type == DataType::kFloat8E5M2 ? 0x7cu
                              : type == DataType::kFloat8E4M3 ? 0x7eu
                                                              : 0x7f800000u;
    if (kind == 0) bits = sign;
    if (kind == 1) bits = sign | infinity;
    if (kind == 2) bits = sign | (infinity + 1);  // signalling
    if (kind == 3) bits = sign | (~uint64_t{0} >> (65 - 8 * size));
    if (kind == 4) bits = sign | (infinity - 1);
    if (kind == 5) bits = sign | (random() & 7u);
    std::memcpy(bytes.data() + offset + i * size, &bits, size);
  }
}

// Runs both kernels on the same bytes at the same offsets, also in place, and wants the same bits
// and nothing written past the end.
void compare(FoldKernel vector, FoldKernel plain, DataType target_type, DataType arrived_type,
             uint64_t count, size_t offset, std::mt19937_64& random) {
  const size_t bytes = count * size_of(target_type);
  Bytes operand(bytes + offset + 64);
  Bytes arrived(count * size_of(arrived_type) + offset + 64);
  fill(operand, offset, target_type, count, random);
  fill(arrived, offset / 2, arrived_type, count, random);
  Bytes expected(bytes + offset + 64, std::byte{0xa5});
  Bytes got = expected;
  const std::byte* const from = arrived.data() + offset / 2;
  plain(expected.data() + offset, operand.data() + offset, from, count);
  vector(got.data() + offset, operand.data() + offset, from, count);
  ASSERT_EQ(expected, got);
  vector(operand.data() + offset, operand.data() + offset, from, count);
  ASSERT_EQ(0, std::memcmp(expected.data() + offset, operand.data() + offset, bytes));
}

// Each case runs with every instruction set that was compiled in and that this machine has.
class OnEachTarget : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { hwy::SetSupportedTargetsForTest(GetParam()); }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }
};
class Reduce : public OnEachTarget {};
class Narrow : public OnEachTarget {};
class Scale : public OnEachTarget {};
class StreamCopy : public OnEachTarget {};

const auto kTargets = testing::ValuesIn(hwy::SupportedAndGeneratedTargets());
std::string target_name(const testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}
INSTANTIATE_TEST_SUITE_P(Targets, Reduce, kTargets, target_name);
INSTANTIATE_TEST_SUITE_P(Targets, Narrow, kTargets, target_name);
INSTANTIATE_TEST_SUITE_P(Targets, Scale, kTargets, target_name);
INSTANTIATE_TEST_SUITE_P(Targets, StreamCopy, kTargets, target_name);

TEST_P(Reduce, EqualsPlainLoopsBitForBit) {
  std::mt19937_64 random(1);
  for (int t = 0; t < kDataTypeCount; ++t) {
    const auto type = static_cast<DataType>(t);
    for (const ReduceOp op : kOps) {
      for (uint64_t count = 0; count <= 200; ++count) {
        SCOPED_TRACE(label(type, op, count));
        compare(fold_kernel(type, op), scalar_fold_kernel(type, op), type, type, count,
                random() % 17, random);
        if (HasFatalFailure()) return;
      }
      compare(fold_kernel(type, op), scalar_fold_kernel(type, op), type, type, 5003, 3, random);
    }
  }
}

TEST_P(Reduce, WideFoldsEqualPlainLoopsBitForBit) {
  std::mt19937_64 random(2);
  for (const DataType type : kNarrow) {
    for (const ReduceOp op : kOps) {
      for (uint64_t count = 0; count <= 200; ++count) {
        SCOPED_TRACE(label(type, op, count));
        compare(fold_wide_kernel(type, op), scalar_fold_wide_kernel(type, op), DataType::kFloat32,
                type, count, random() % 17, random);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Reduce, KnowsWhatItDoesNotHave) {
  for (int t = 0; t < kDataTypeCount; ++t) {
    const auto type = static_cast<DataType>(t);
    EXPECT_EQ(fold_kernel(type, ReduceOp::kUser), nullptr);
    EXPECT_EQ(scalar_fold_kernel(type, ReduceOp::kUser), nullptr);
    EXPECT_EQ(fold_wide_kernel(type, ReduceOp::kUser), nullptr);
    EXPECT_EQ(fold_wide_kernel(type, ReduceOp::kSum) != nullptr, is_narrow_float(type));
    EXPECT_EQ(widen_kernel(type) != nullptr, is_narrow_float(type));
    EXPECT_EQ(narrow_kernel(type) != nullptr, is_narrow_float(type));
    EXPECT_EQ(narrow_divide_kernel(type) != nullptr, is_narrow_float(type));
    EXPECT_NE(scale_kernel(type), nullptr);
    EXPECT_NE(divide_kernel(type), nullptr);
  }
}

// All pairs of 8-bit floats, against doubles (exact for every sum and product of two).
TEST_P(Reduce, AllPairsOfEightBitFloats) {
  for (const DataType type : {DataType::kFloat8E4M3, DataType::kFloat8E5M2}) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMax, ReduceOp::kMin}) {
      Bytes a(65536), b(65536), vector(65536), plain(65536);
      for (size_t i = 0; i < 65536; ++i) {
        a[i] = static_cast<std::byte>(i >> 8);
        b[i] = static_cast<std::byte>(i & 0xff);
      }
      fold_kernel(type, op)(vector.data(), a.data(), b.data(), 65536);
      scalar_fold_kernel(type, op)(plain.data(), a.data(), b.data(), 65536);
      EXPECT_EQ(vector, plain) << label(type, op, 65536);
      fold_kernel(type, op)(plain.data(), b.data(), a.data(), 65536);
      EXPECT_EQ(vector, plain) << "not commutative: " << label(type, op, 65536);
    }
  }
}

template <class T>
T folded(DataType type, ReduceOp op, T a, T b) {
  T result{};
  // Every lane of several vectors and of the tail behind them gets the same answer.
  std::vector<T> x(77, a), y(77, b), into(77);
  fold_kernel(type, op)(reinterpret_cast<std::byte*>(into.data()),
                        reinterpret_cast<const std::byte*>(x.data()),
                        reinterpret_cast<const std::byte*>(y.data()), 77);
  result = into[0];
  for (const T& lane : into) EXPECT_EQ(0, std::memcmp(&lane, &result, sizeof(T)));
  return result;
}

template <class T>
void zeros_and_nans(DataType type) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (const bool swap : {false, true}) {
    const T negative = swap ? T{0} : -T{0};
    const T positive = swap ? -T{0} : T{0};
    EXPECT_TRUE(std::signbit(folded<T>(type, ReduceOp::kMin, negative, positive)));
    EXPECT_FALSE(std::signbit(folded<T>(type, ReduceOp::kMax, negative, positive)));
    for (const ReduceOp op : kOps) {
      const T other = T{3};
      const T result = folded<T>(type, op, swap ? -nan : other, swap ? other : -nan);
      EXPECT_TRUE(std::isnan(result));
      EXPECT_FALSE(std::signbit(result)) << "a NaN is the canonical one";
    }
  }
  EXPECT_EQ(folded<T>(type, ReduceOp::kMax, T{-1}, T{2}), T{2});
  EXPECT_EQ(folded<T>(type, ReduceOp::kMin, T{-1}, T{2}), T{-1});
}

TEST_P(Reduce, OrdersZerosAndPropagatesNan) {
  zeros_and_nans<float>(DataType::kFloat32);
  zeros_and_nans<double>(DataType::kFloat64);
}

TEST_P(Reduce, WrapsIntegers) {
  EXPECT_EQ(folded<int8_t>(DataType::kInt8, ReduceOp::kSum, 127, 1), -128);
  EXPECT_EQ(folded<int8_t>(DataType::kInt8, ReduceOp::kProd, 100, 3), 44);
  EXPECT_EQ(folded<uint8_t>(DataType::kUint8, ReduceOp::kProd, 255, 255), 1);
  EXPECT_EQ(folded<int32_t>(DataType::kInt32, ReduceOp::kProd, 65537, 65537), 131073);
  EXPECT_EQ(folded<int64_t>(DataType::kInt64, ReduceOp::kSum, INT64_MAX, 1), INT64_MIN);
  EXPECT_EQ(folded<uint64_t>(DataType::kUint64, ReduceOp::kMax, UINT64_MAX, 1), UINT64_MAX);
  EXPECT_EQ(folded<int64_t>(DataType::kInt64, ReduceOp::kMax, -1, 1), 1);
  EXPECT_EQ(folded<uint8_t>(DataType::kUint8, ReduceOp::kMin, 200, 100), 100);
}

// The value of a code from its fields, independent of the code under test.
double value_of(DataType type, uint32_t code) {
  const bool half = type == DataType::kFloat16;
  const int mantissa = half                            ? 10
                       : type == DataType::kBfloat16   ? 7
                       : type == DataType::kFloat8E4M3 ? 3
                                                       : 2;
  const int bits = static_cast<int>(8 * size_of(type));
  const int bias = (1 << (bits - mantissa - 2)) - 1;
  const int exponent = static_cast<int>(code >> mantissa) & (2 * bias + 1);
  const uint32_t fraction = code & ((1u << mantissa) - 1);
  const double sign = code >> (bits - 1) ? -1.0 : 1.0;
  const bool top = exponent == 2 * bias + 1;
  if (type == DataType::kFloat8E4M3) {
    if (top && fraction == 7) return std::numeric_limits<double>::quiet_NaN();
  } else if (top) {
    return fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * INFINITY;
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - mantissa);
  return sign * std::ldexp((1u << mantissa) + fraction, exponent - bias - mantissa);
}

TEST_P(Narrow, WidensEveryCode) {
  for (const DataType type : kNarrow) {
    const uint32_t codes = 1u << (8 * size_of(type));
    Bytes from(codes * size_of(type));
    for (uint32_t c = 0; c < codes; ++c) {
      std::memcpy(from.data() + c * size_of(type), &c, size_of(type));
    }
    std::vector<float> into(codes);
    widen_kernel(type)(reinterpret_cast<std::byte*>(into.data()), from.data(), codes, 0);
    for (uint32_t c = 0; c < codes; ++c) {
      const float one = widen_one(type, from.data() + c * size_of(type));
      ASSERT_EQ(std::bit_cast<uint32_t>(one), std::bit_cast<uint32_t>(into[c])) << c;
      const double expected = value_of(type, c);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(one)) << c;
      } else {
        ASSERT_EQ(std::bit_cast<uint64_t>(double{one}), std::bit_cast<uint64_t>(expected)) << c;
        Bytes back(4);
        narrow_one(type, one, back.data());
        ASSERT_EQ(0, std::memcmp(back.data(), from.data() + c * size_of(type), size_of(type)));
      }
    }
  }
}

// The nearest code to |value| by walking from a neighbour: ties go to the even code. The first code
// past the finite ones stands for what overflow becomes.
uint32_t nearest(DataType type, double value) {
  const uint32_t past = type == DataType::kFloat16      ? 0x7c00
                        : type == DataType::kBfloat16   ? 0x7f80
                        : type == DataType::kFloat8E4M3 ? 0x7f
                                                        : 0x7c;
  uint32_t low = 0, high = past;  // value_of(low) <= value < the value `high` would have
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (value_of(type, middle) <= value ? low : high) = middle;
  }
  const double below = value_of(type, low);
  // The last step is as long as the one before it.
  const double above = high == past ? 2 * below - value_of(type, low - 1) : value_of(type, high);
  const double middle = (below + above) / 2;
  if (value != middle) return value < middle ? low : high;
  return low % 2 == 0 ? low : high;
}

TEST_P(Narrow, RoundsToNearestEven) {
  std::mt19937_64 random(3);
  for (const DataType type : kNarrow) {
    std::vector<float> values;
    const uint32_t codes = 1u << (8 * size_of(type) - 1);
    for (uint32_t c = 0; c + 1 < codes; ++c) {  // halfway between neighbours, and beside that
      const auto middle = static_cast<float>((value_of(type, c) + value_of(type, c + 1)) / 2);
      if (!std::isfinite(middle)) continue;
      for (const float to : {-INFINITY, INFINITY}) values.push_back(std::nextafter(middle, to));
      values.push_back(-middle);
    }
    for (int i = 0; i < 100000; ++i) {
      values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
    }
    for (const float v : {464.0F, 464.1F, 448.0F, 480.0F, 65519.9F, 65520.0F, 57344.0F, 61439.9F,
                          61440.0F, INFINITY, FLT_MAX, 1e-40F, 0.0F, FLT_MIN}) {
      values.push_back(v);
      values.push_back(-v);
    }
    Bytes into(values.size() * size_of(type));
    narrow_kernel(type)(into.data(), reinterpret_cast<const std::byte*>(values.data()),
                        values.size(), 1.0);
    for (size_t i = 0; i < values.size(); ++i) {
      uint32_t got = 0, one = 0;
      std::memcpy(&got, into.data() + i * size_of(type), size_of(type));
      narrow_one(type, values[i], reinterpret_cast<std::byte*>(&one));
      ASSERT_EQ(got, one) << values[i];
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(value_of(type, got)));
        continue;
      }
      const uint32_t expected =
          nearest(type, std::fabs(double{values[i]})) | (std::signbit(values[i]) ? codes : 0);
      ASSERT_EQ(got, expected) << "type " << static_cast<int>(type) << ", " << values[i];
    }
  }
}

TEST_P(Narrow, OverflowIsNanInE4M3AndInfinityElsewhere) {
  const auto narrowed = [](DataType type, float value) {
    uint32_t code = 0;
    narrow_one(type, value, reinterpret_cast<std::byte*>(&code));
    return code;
  };
  EXPECT_EQ(narrowed(DataType::kFloat8E4M3, 448.0F), 0x7eu);
  EXPECT_EQ(narrowed(DataType::kFloat8E4M3, 464.0F), 0x7eu);
  EXPECT_EQ(narrowed(DataType::kFloat8E4M3, 465.0F), 0x7fu);
  EXPECT_EQ(narrowed(DataType::kFloat8E4M3, -INFINITY), 0xffu);
  EXPECT_EQ(narrowed(DataType::kFloat8E5M2, 57344.0F), 0x7bu);
  EXPECT_EQ(narrowed(DataType::kFloat8E5M2, 61440.0F), 0x7cu);
  EXPECT_EQ(narrowed(DataType::kFloat16, 65504.0F), 0x7bffu);
  EXPECT_EQ(narrowed(DataType::kFloat16, 65520.0F), 0x7c00u);
  EXPECT_EQ(narrowed(DataType::kBfloat16, FLT_MAX), 0x7f80u);
  EXPECT_EQ(narrowed(DataType::kBfloat16, -std::nanf("")), 0x7fc0u);
}

template <class T>
std::vector<T> converted(ConvertKernel kernel, std::vector<T> values, double scale) {
  kernel(reinterpret_cast<std::byte*>(values.data()),
         reinterpret_cast<const std::byte*>(values.data()), values.size(), scale);
  return values;
}

TEST_P(Scale, FloatsInTheirOwnPrecision) {
  for (size_t count = 0; count < 80; ++count) {
    std::vector<float> values(count);
    std::vector<double> doubles(count);
    for (size_t i = 0; i < count; ++i) doubles[i] = values[i] = 1.1F * static_cast<float>(i);
    const auto third = converted(divide_kernel(DataType::kFloat32), values, 3);
    const auto tenth = converted(scale_kernel(DataType::kFloat32), values, 0.1);
    const auto seventh = converted(divide_kernel(DataType::kFloat64), doubles, 7);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(third[i], values[i] / 3.0F);
      EXPECT_EQ(tenth[i], values[i] * 0.1F);
      EXPECT_EQ(seventh[i], doubles[i] / 7.0);
    }
  }
}

TEST_P(Scale, NarrowFloatsInFp32RoundedOnce) {
  std::mt19937_64 random(4);
  for (const DataType type : kNarrow) {
    const size_t size = size_of(type);
    for (uint64_t count = 0; count < 80; ++count) {
      Bytes from(count * size);
      fill(from, 0, type, count, random);
      Bytes scaled(count * size), divided(count * size), expected(count * size);
      scale_kernel(type)(scaled.data(), from.data(), count, 1.7);
      divide_kernel(type)(divided.data(), from.data(), count, 5);
      for (size_t i = 0; i < count; ++i) {
        narrow_one(type, widen_one(type, from.data() + i * size) * 1.7F, &expected[i * size]);
      }
      EXPECT_EQ(scaled, expected);
      std::vector<float> wide(count);
      widen_kernel(type)(reinterpret_cast<std::byte*>(wide.data()), from.data(), count, 0);
      narrow_divide_kernel(type)(expected.data(), reinterpret_cast<std::byte*>(wide.data()), count,
                                 5);
      EXPECT_EQ(divided, expected);
    }
  }
}

TEST_P(Scale, IntegersTruncateAndKeepAllTheirBits) {
  EXPECT_EQ(converted<int32_t>(divide_kernel(DataType::kInt32), {-7, 7, 8}, 4),
            (std::vector<int32_t>{-1, 1, 2}));
  const int64_t big = (int64_t{1} << 62) + 12345;
  EXPECT_EQ(converted<int64_t>(divide_kernel(DataType::kInt64), {big, -big}, 3),
            (std::vector<int64_t>{big / 3, -big / 3}));
  EXPECT_EQ(converted<int64_t>(scale_kernel(DataType::kInt64), {big}, 1),
            (std::vector<int64_t>{big}));
  EXPECT_EQ(converted<int8_t>(divide_kernel(DataType::kInt8), {-128, 127}, 300),
            (std::vector<int8_t>{0, 0}));
  EXPECT_EQ(converted<uint8_t>(scale_kernel(DataType::kUint8), {255, 10, 3}, 2.5),
            (std::vector<uint8_t>{255, 25, 7}));
  EXPECT_EQ(converted<uint8_t>(scale_kernel(DataType::kUint8), {255}, -0.5),
            (std::vector<uint8_t>{0}));
  EXPECT_EQ(converted<int8_t>(scale_kernel(DataType::kInt8), {100}, 3), (std::vector<int8_t>{44}));
  EXPECT_EQ(converted<int32_t>(scale_kernel(DataType::kInt32), {5, 0}, std::nan("")),
            (std::vector<int32_t>{0, 0}));
  EXPECT_EQ(converted<int64_t>(scale_kernel(DataType::kInt64), {INT64_MAX, INT64_MIN}, 1.5),
            (std::vector<int64_t>{INT64_MAX, INT64_MIN}));
}

TEST_P(StreamCopy, CopiesEveryByteAndNoMore) {
  Bytes from((size_t{17} << 20) + 256);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + i / 251);
  const auto check = [&](size_t bytes, size_t to, size_t whole) {
    Bytes into(bytes + 128, std::byte{0xa5});
    Bytes expected = into;
    std::copy_n(from.begin() + 3, bytes, expected.begin() + static_cast<std::ptrdiff_t>(to));
    stream_copy(into.data() + to, from.data() + 3, bytes, whole);
    ASSERT_TRUE(into == expected) << bytes << " bytes to " << to;
  };
  const size_t large = size_t{1} << 30;
  for (size_t bytes = 0; bytes < 300; ++bytes) check(bytes, bytes % 64, bytes % 2 * large);
  for (const size_t to : {0, 1, 16, 63}) {
    for (size_t odd = 0; odd < 300; odd += 37) check((size_t{32} << 10) + odd, to, large);
    check((size_t{1} << 20) + 5, to, 0);
  }
  check((size_t{16} << 20) + 77, 16, 0);
}

}  // namespace
}  // namespace gossamer
