// Compressors: what comes back, how far off it is, and codes that nobody wrote.

#include "gossamer/compressor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tests/methods.h"

namespace gossamer {
namespace {

std::vector<float> gaussian(size_t count, uint64_t seed) {
  const std::vector<double> wide = gaussian_rows(1, count, seed);
  return {wide.begin(), wide.end()};
}

std::vector<float> decoded(Compressor& compressor, const std::vector<float>& values) {
  std::vector<std::byte> code(compressor.bytes(values.size()));
  compressor.encode(values, code);
  EXPECT_TRUE(compressor.check(code, values.size()));
  std::vector<double> wide(values.size(), 0);
  compressor.add(code, 1, wide);
  std::vector<double> twice(values.size(), 1);
  compressor.add(code, -2, twice);
  for (size_t i = 0; i < wide.size(); ++i) {
    EXPECT_TRUE(twice[i] == 1 - 2 * wide[i] || !std::isfinite(wide[i])) << i;
  }
  const std::vector<float> out(wide.begin(), wide.end());
  return out;
}

// ||C(x) - x||^2 / ||x||^2
double lost(const std::vector<float>& values, const std::vector<float>& out) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double d = static_cast<double>(values[i]) - static_cast<double>(out[i]);
    error += d * d;
    norm += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return error / norm;
}

TEST(TopK, KeepsTheLargestExactly) {
  for (const size_t count : {1, 2, 99, 100, 101, 5000}) {
    auto compressor = make_top_k(0.01).value();
    const std::vector<float> values = gaussian(count, count);
    const std::vector<float> out = decoded(*compressor, values);
    std::vector<float> magnitudes(values);
    for (float& m : magnitudes) m = std::abs(m);
    std::sort(magnitudes.begin(), magnitudes.end(), std::greater<>());
    const size_t k = (count + 99) / 100;
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      if (out[i] == 0) continue;
      ++kept;
      EXPECT_EQ(out[i], values[i]);
      EXPECT_GE(std::abs(values[i]), magnitudes[k - 1]);
    }
    EXPECT_EQ(kept, k);
    EXPECT_EQ(compressor->bytes(count), 8 * k);
    EXPECT_LE(lost(values, out), 1 - compressor->delta(count));
  }
}

TEST(TopK, KeepsAsManyAsTheFractionSays) {
  EXPECT_EQ(make_top_k(0.07).value()->bytes(100), 8 * 7U);
  EXPECT_EQ(make_top_k(0.07).value()->bytes(101), 8 * 8U);
  EXPECT_EQ(make_top_k(1e-12).value()->bytes(100), 8U);
  EXPECT_EQ(make_top_k(1).value()->bytes(100), 8 * 100U);
}

TEST(TopK, OfEqualOnesTheFirst) {
  auto compressor = make_top_k(0.5).value();
  const std::vector<float> out = decoded(*compressor, {1, -2, 2, -2, 2, 1});
  EXPECT_EQ(out, (std::vector<float>{0, -2, 2, -2, 0, 0}));
}

TEST(TopK, OnePerCentOfGaussianNumbersHasItsEnergy) {
  auto compressor = make_top_k(0.01).value();
  const std::vector<float> values = gaussian(200'000, 1);
  EXPECT_NEAR(1 - lost(values, decoded(*compressor, values)), 0.0846, 0.003);
}

TEST(Int8, ErrorsAreHalfAStepAtMost) {
  for (const uint32_t block : {1U, 7U, 256U, 32768U}) {
    for (const size_t count : {1, 6, 7, 8, 255, 256, 257, 100'000}) {
      auto compressor = make_int8(block).value();
      const std::vector<float> values = gaussian(count, count + block);
      const std::vector<float> out = decoded(*compressor, values);
      for (size_t first = 0; first < count; first += block) {
        const size_t end = std::min<size_t>(first + block, count);
        float largest = 0;
        for (size_t i = first; i < end; ++i) largest = std::max(largest, std::abs(values[i]));
        for (size_t i = first; i < end; ++i) {
          ASSERT_LE(std::abs(values[i] - out[i]), largest / 127 * 0.50001F);
        }
      }
      EXPECT_LE(lost(values, out), 1 - compressor->delta(count) + 1e-12);
      EXPECT_EQ(compressor->bytes(count), count + 4 * ((count + block - 1) / block));
    }
  }
}

TEST(Int8, BlocksOf256HaveTheirMeanSquareError) {
  auto compressor = make_int8(256).value();
  const std::vector<float> values = gaussian(1 << 20, 1);
  EXPECT_NEAR(lost(values, decoded(*compressor, values)), 4.8e-5, 1.5e-6);
}

TEST(Compressors, ZerosTinyAndHugeValuesComeBack) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const float huge = std::numeric_limits<float>::max();
  for (auto& compressor : {make_top_k(1).value(), make_int8(4).value()}) {
    EXPECT_EQ(decoded(*compressor, {0, 0, 0}), (std::vector<float>{0, 0, 0}));
    for (const float value : decoded(*compressor, {tiny, -tiny, 0})) {
      EXPECT_LE(std::abs(value), tiny);
    }
    const std::vector<float> out = decoded(*compressor, {huge, -huge, 0});
    EXPECT_NEAR(out[0] / huge, 1, 1e-6);
    EXPECT_NEAR(out[1] / huge, -1, 1e-6);
  }
}

TEST(Compressors, WhatIsNotFiniteIsNotHidden) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const float bad : {infinite, -infinite, std::nanf("")}) {
    for (auto& compressor : {make_top_k(0.3).value(), make_int8(4).value()}) {
      const std::vector<float> out = decoded(*compressor, {1, bad, 2});
      EXPECT_FALSE(std::isfinite(out[1])) << compressor->name();
    }
  }
}

TEST(Compressors, ForeignCodesAreRefused) {
  const auto refused = [](const Compressor& compressor, std::span<const std::byte> code) {
    EXPECT_EQ(compressor.check(code, 100).code(), Code::kMismatch) << compressor.name();
  };
  const std::vector<float> values = gaussian(100, 1);
  for (auto& compressor : {make_top_k(0.1).value(), make_int8(10).value()}) {
    std::vector<std::byte> code(compressor->bytes(100));
    compressor->encode(values, code);
    EXPECT_TRUE(compressor->check(code, 100));
    refused(*compressor, std::span(code).first(code.size() - 1));
    std::vector<std::byte> none(code.size(), std::byte{0xff});
    if (compressor->name() == "int8:block=10") {
      const float scale = -1;
      std::memcpy(none.data(), &scale, sizeof scale);
    }
    refused(*compressor, none);
    if (compressor->name() != "int8:block=10") {
      std::memcpy(code.data(), code.data() + 4, 4);  // a position twice
      refused(*compressor, code);
    }
  }
}

TEST(Compressors, BadParametersAreRefused) {
  for (const double fraction : {0.0, -1.0, 1.01, std::nan("")}) {
    expect_refused(make_top_k(fraction).status(), "fraction in (0, 1]");
  }
  expect_refused(make_int8(0).status(), "1 to 32768");
  expect_refused(make_int8(40'000).status(), "1 to 32768");
}

}  // namespace
}  // namespace gossamer
