// Sparse codecs: what is kept, how it is written, and codes that nobody wrote.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "gossamer/codec.h"
#include "src/compress/positions.h"
#include "src/compress/select.h"

namespace gossamer {
namespace {

std::vector<float> gaussian(size_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

std::unique_ptr<Codec> codec(const std::string& text) {
  Result<std::unique_ptr<Codec>> made = make_codec(text);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

std::vector<std::byte> encoded(const Codec& codec, const std::vector<float>& values,
                               const Draws& draws = {}, Encoded* made = nullptr) {
  std::vector<std::byte> code(codec.bytes_max(values.size()));
  std::vector<std::byte> workspace(codec.workspace_bytes(values.size()));
  const Encoded done = codec.encode(values, draws, code, workspace);
  EXPECT_LE(done.bytes, code.size());
  if (codec.traits().fixed_size) {
    EXPECT_EQ(done.bytes, code.size());
  }
  if (made != nullptr) *made = done;
  code.resize(done.bytes);
  return code;
}

std::vector<float> decoded(const Codec& codec, const std::vector<float>& values,
                           const Draws& draws = {}) {
  const std::vector<std::byte> code = encoded(codec, values, draws);
  const Status sound = codec.check(code, values.size());
  EXPECT_TRUE(sound.is_ok()) << codec.name() << ": " << sound.to_string();
  std::vector<float> out(values.size(), 7);
  codec.decode(code, out);
  std::vector<float> sum(values.size(), 1);
  codec.add(code, -2, sum);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(sum[i], 1 + -2 * out[i]) << i;
  return out;
}

double energy(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

const std::vector<std::string> kIndexes = {"u32", "u16", "bitpack", "elias", "rice"};

// The definition, by sorting.
std::vector<uint32_t> largest_by_sorting(const std::vector<float>& values, uint64_t kept) {
  std::vector<uint32_t> order(values.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return magnitude_key(values[a]) > magnitude_key(values[b]);
  });
  order.resize(kept);
  std::sort(order.begin(), order.end());
  return order;
}

void expect_largest(const std::vector<float>& values, uint64_t kept) {
  const std::vector<uint32_t> expected = largest_by_sorting(values, kept);
  for (const bool sample : {false, true}) {
    std::vector<uint32_t> positions(selection_room(values.size(), kept));
    std::vector<float> picked(positions.size());
    const Picks picks{positions.data(), picked.data()};
    ASSERT_EQ(select_largest(values, kept, sample, picks).kept, kept);
    for (uint64_t i = 0; i < kept; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(picked[i]), std::bit_cast<uint32_t>(values[positions[i]]))
          << i;
    }
    positions.resize(kept);
    ASSERT_EQ(positions, expected)
        << "sample " << sample << ", " << kept << " of " << values.size();
  }
}

TEST(Selection, IsThatOfSorting) {
  for (const size_t count : {1, 2, 15, 16, 17, 1000, 65'537, 200'003}) {
    const std::vector<float> values = gaussian(count, count);
    for (const double ratio : {0.001, 0.01, 0.3, 1.0}) {
      expect_largest(
          values, std::max<uint64_t>(1, static_cast<uint64_t>(ratio * static_cast<double>(count))));
    }
  }
}

// Samples that mislead, ties by the thousand, and numbers at the ends of the scale.
TEST(Selection, IsThatOfSortingWhateverTheValues) {
  const size_t count = 300'000;
  std::vector<float> values(count, 0.0F);
  expect_largest(values, 3000);
  std::fill(values.begin(), values.end(), -1.0F);
  expect_largest(values, 3000);
  values = gaussian(count, 2);
  for (float& value : values) value = std::round(value * 4);
  expect_largest(values, 3000);
  // All that is large in one place, which a sample mostly sees as less than it is.
  values.assign(count, 0.5F);
  for (size_t i = 1000; i < 4000; ++i) values[i] = 2.0F + static_cast<float>(i);
  expect_largest(values, 3000);
  expect_largest(values, 2000);
  values = gaussian(count, 3);
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < count; i += 50) values[i] = std::nanf("");
  for (size_t i = 7; i < count; i += 1000) values[i] = -infinity;
  for (size_t i = 9; i < count; i += 3) values[i] = std::numeric_limits<float>::denorm_min();
  expect_largest(values, 3000);
  expect_largest(values, 100'000);
}

TEST(TopK, KeepsTheLargestExactlyInEveryCoding) {
  for (const std::string& index : kIndexes) {
    for (const size_t count : {1, 2, 99, 100, 101, 5000, 70'000, 200'000}) {
      const auto topk = codec("topk:ratio=0.01,index=" + index);
      const std::vector<float> values = gaussian(count, count);
      const uint64_t kept = (count + 99) / 100;
      std::vector<float> expected(count, 0);
      for (const uint32_t i : largest_by_sorting(values, kept)) expected[i] = values[i];
      ASSERT_EQ(decoded(*topk, values), expected) << index << ", " << count;
      EXPECT_LE(energy(values) - energy(expected), topk->error_max(count) * energy(values));
    }
  }
}

TEST(TopK, LengthsAreThoseOfTheCodings) {
  const auto bytes = [](const std::string& text, uint64_t count) {
    return codec(text)->bytes_max(count);
  };
  EXPECT_EQ(bytes("topk:ratio=0.07", 100), 8 * 7U);  // and not 8 of them
  EXPECT_EQ(bytes("topk:ratio=0.07", 101), 8 * 8U);
  EXPECT_EQ(bytes("topk:ratio=0.000001", 100), 8U);
  EXPECT_EQ(bytes("topk:ratio=1", 100), 8 * 100U);
  EXPECT_EQ(bytes("topk:ratio=0.01,index=u16", 1 << 20), 16 * 4 + 6 * 10486U);
  EXPECT_EQ(bytes("topk:ratio=0.01,index=bitpack", 1 << 20), 4 * 10486U + (20 * 10486 + 7) / 8);
  EXPECT_EQ(bytes("topk:ratio=0.001,index=bitpack", 100), 4U + 1);
  for (const std::string& index : kIndexes) {
    EXPECT_EQ(bytes("topk:index=" + index, 0), 0U);
    EXPECT_EQ(codec("topk:index=" + index)->traits().fixed_size,
              index != "rice" && index != "elias");
  }
}

// E17: the energy that 1 % of Gaussian values have.
TEST(TopK, E17OnePerCentOfGaussianNumbersHasItsEnergy) {
  const std::vector<float> values = gaussian(1 << 20, 1);
  EXPECT_NEAR(energy(decoded(*codec("topk:ratio=0.01"), values)) / energy(values), 0.0846, 0.001);
}

double bits_per_position(size_t index, double density) {
  const uint64_t count = 1 << 22;
  std::mt19937_64 generator(5);
  std::vector<uint32_t> positions;
  for (uint32_t i = 0; i < count; ++i) {
    if (std::generate_canonical<double, 53>(generator) < density) positions.push_back(i);
  }
  const PositionCoding& coding = position_coding(index);
  std::vector<std::byte> code(coding.bytes_max({positions.size(), count}));
  const uint64_t bytes = coding.encode(positions, count, code.data());
  EXPECT_LE(bytes, code.size());
  return static_cast<double>(bytes) * 8 / static_cast<double>(positions.size());
}

// E17: bits per position that is kept at random.
TEST(Positions, E17AreAsShortAsTheirCodingsAre) {
  for (const auto& [density, rice, elias] : {std::tuple{0.001, 11.49, 15.45},
                                             {0.01, 8.11, 10.79},
                                             {0.05, 5.79, 7.51},
                                             {0.1, 4.76, 6.11}}) {
    EXPECT_NEAR(bits_per_position(4, density), rice, rice * 0.005) << density;
    EXPECT_NEAR(bits_per_position(3, density), elias, elias * 0.01) << density;
    const double entropy =
        (-density * std::log2(density) - (1 - density) * std::log2(1 - density)) / density;
    EXPECT_LE(bits_per_position(4, density), entropy * 1.02);
  }
}

// Bounds hold for the longest codes too: gaps that are all alike, or all in one place.
TEST(Positions, BoundsHoldForTheWorst) {
  const uint64_t count = 20'000;
  for (size_t index = 0; index < std::size(kPositionCodings); ++index) {
    const PositionCoding& coding = position_coding(index);
    for (uint64_t stride = 1; stride < count; stride += 1 + stride / 4) {
      for (const uint64_t last : {count / stride, uint64_t{1}, count / stride / 2}) {
        std::vector<uint32_t> positions;
        for (uint64_t i = 0; i < last; ++i) {
          positions.push_back(static_cast<uint32_t>((i + 1) * stride - 1));
        }
        if (positions.empty()) continue;
        positions.back() = static_cast<uint32_t>(count - 1);
        const Kept kept{positions.size(), count};
        std::vector<std::byte> code(coding.bytes_max(kept) + 8);
        const uint64_t bytes = coding.encode(positions, count, code.data());
        ASSERT_LE(bytes, coding.bytes_max(kept)) << coding.name() << " " << stride;
        ASSERT_LE(bytes, coding.bytes_most(count)) << coding.name() << " " << stride;
        std::vector<uint32_t> back(positions.size());
        PositionCursor cursor;
        ASSERT_TRUE(coding.read(std::span(code).first(bytes), kept, &cursor, back));
        ASSERT_TRUE(coding.ends(std::span(code).first(bytes), kept, cursor));
        ASSERT_EQ(back, positions) << coding.name() << " " << stride;
      }
    }
  }
}

TEST(Threshold, KeepsWhatIsAsLarge) {
  for (const std::string& index : kIndexes) {
    const auto threshold = codec("threshold:least=1.5,index=" + index);
    for (const size_t count : {1, 100, 70'001}) {
      std::vector<float> values = gaussian(count, count);
      values[0] = -1.5F;
      std::vector<float> expected(values);
      for (float& value : expected) value = std::abs(value) >= 1.5F ? value : 0;
      EXPECT_EQ(decoded(*threshold, values), expected);
      EXPECT_EQ(decoded(*threshold, std::vector<float>(count, 0.0F)),
                std::vector<float>(count, 0.0F));
      const std::vector<float> all(count, 2.0F);
      EXPECT_EQ(decoded(*threshold, all), all);
    }
  }
}

TEST(RandomK, RanksDrawAlikeAndStepsDoNot) {
  const auto randomk = codec("randomk:ratio=0.05");
  const std::vector<float> values(1003, 1.0F);
  const std::vector<float> one = decoded(*randomk, values, {.own = 1, .shared = 9});
  EXPECT_EQ(decoded(*randomk, values, {.own = 2, .shared = 9}), one);
  EXPECT_NE(decoded(*randomk, values, {.own = 1, .shared = 10}), one);
  EXPECT_NE(decoded(*randomk, values, {.own = 1, .shared = 9, .first = 1003}), one);
  EXPECT_EQ(std::count(one.begin(), one.end(), 1.0F), 51);
  EXPECT_EQ(randomk->bytes_max(1003), 8 + 4 * 51U);
}

TEST(RandomK, UnbiasedDrawsAverageToTheValues) {
  const auto randomk = codec("randomk:ratio=0.25,scale=unbiased");
  const std::vector<float> values = gaussian(43, 4);
  const int draws = 20'000;
  std::vector<double> mean(values.size(), 0);
  double error = 0;
  for (int t = 0; t < draws; ++t) {
    const auto out = decoded(*randomk, values, {.shared = static_cast<uint64_t>(t)});
    for (size_t i = 0; i < mean.size(); ++i) {
      mean[i] += static_cast<double>(out[i]) / draws;
      error += std::pow(static_cast<double>(out[i] - values[i]), 2) / draws;
    }
  }
  for (size_t i = 0; i < mean.size(); ++i) {
    const double sigma = std::abs(static_cast<double>(values[i])) * std::sqrt(3.0 / draws);
    EXPECT_NEAR(mean[i], static_cast<double>(values[i]), 5 * sigma) << i;
  }
  EXPECT_LE(error, randomk->error_max(43) * energy(values) * 1.02);
}

TEST(Sparse, WhatIsNotFiniteSpoilsNothing) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const std::string& text :
       {std::string("topk:ratio=0.5"), std::string("topk:ratio=0.5,select=exact,index=rice"),
        std::string("threshold:least=2"), std::string("randomk:ratio=1")}) {
    const auto sparse = codec(text);
    Encoded made;
    const std::vector<float> values = {1, std::nanf(""), -infinite, 3, 0.5F, infinite};
    encoded(*sparse, values, {}, &made);
    EXPECT_EQ(made.not_finite, 3U) << text;
    const std::vector<float> out = decoded(*sparse, values);
    EXPECT_EQ(out[1], 0);
    EXPECT_EQ(out[2], -3);
    EXPECT_EQ(out[3], 3);
    EXPECT_EQ(out[5], 3);
    for (const float value : decoded(*sparse, {infinite, std::nanf("")})) EXPECT_EQ(value, 0);
  }
  // Many of them, where a sample is taken.
  std::vector<float> values = gaussian(100'000, 8);
  for (size_t i = 3; i < values.size(); i += 1000) values[i] = infinite;
  for (size_t i = 5; i < values.size(); i += 500) values[i] = std::nanf("");
  for (const char* select : {"exact", "sampled"}) {
    Encoded made;
    encoded(*codec(std::string("topk:ratio=0.01,select=") + select), values, {}, &made);
    EXPECT_EQ(made.not_finite, 300U);
  }
}

TEST(Sparse, DamagedCodesAreRefusedOrHarmless) {
  std::mt19937_64 generator(11);
  for (const std::string& index : kIndexes) {
    for (const std::string& name :
         {std::string("topk:ratio=0.03"), std::string("threshold:least=2")}) {
      const auto sparse = codec(std::string(name).append(",index=").append(index));
      const std::vector<float> values = gaussian(1000, 1);
      const std::vector<std::byte> code = encoded(*sparse, values);
      std::vector<float> out(1000);
      for (size_t length = 0; length < code.size(); ++length) {
        const auto part = std::span(code).first(length);
        EXPECT_EQ(sparse->check(part, 1000).code(), Code::kMismatch) << sparse->name() << length;
        sparse->decode(part, out);
        sparse->add(part, 1, out);
      }
      for (int trial = 0; trial < 3000; ++trial) {
        std::vector<std::byte> damaged = code;
        for (int byte = 0; byte < 1 + trial % 3; ++byte) {
          damaged[generator() % damaged.size()] ^= static_cast<std::byte>(generator());
        }
        if (sparse->check(damaged, 1000)) {
          sparse->decode(damaged, out);
          for (const float value : out) ASSERT_TRUE(std::isfinite(value));
        }
        sparse->decode(damaged, out);
        sparse->add(damaged, 1, out);
      }
      std::vector<std::byte> longer = code;
      longer.push_back(std::byte{0});
      EXPECT_EQ(sparse->check(longer, 1000).code(), Code::kMismatch);
    }
  }
}

TEST(Sparse, APositionTwiceIsRefused) {
  const auto topk = codec("topk:ratio=0.1");
  std::vector<std::byte> code = encoded(*topk, gaussian(100, 1));
  std::memcpy(code.data(), code.data() + 4, 4);
  EXPECT_EQ(topk->check(code, 100).code(), Code::kMismatch);
}

TEST(Zstd, MakesCodesShorterAndHasOneName) {
  const auto zstd = codec("zstd:of=topk:ratio=0.1;index=u32");
  EXPECT_EQ(zstd->name(), "zstd:of=topk:ratio=0.1;index=u32;select=sampled,level=1");
  EXPECT_EQ(codec(zstd->name())->identity(), zstd->identity());
  const std::vector<float> values = gaussian(100'000, 1);
  EXPECT_EQ(decoded(*zstd, values), decoded(*codec("topk:ratio=0.1"), values));
  EXPECT_LT(encoded(*zstd, values).size(), 75'000U);  // of 80'000, and most are Gaussian bits
  std::vector<float> few(100'000, 0);
  few[7] = 1;
  EXPECT_LT(encoded(*codec("zstd:of=int8"), few).size(), 500U);
  EXPECT_EQ(make_codec("zstd:of=zstd").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(make_codec("zstd:of=none").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(make_codec("zstd:level=20").status().code(), Code::kInvalidArgument);
}

// A frame that holds more than a code may have is refused, however short it is.
TEST(Zstd, FramesThatHoldTooMuchAreRefused) {
  const auto zstd = codec("zstd:of=bf16");
  const std::vector<std::byte> code = encoded(*zstd, std::vector<float>(1'000'000, 0.0F));
  EXPECT_LT(code.size(), 1000U);
  EXPECT_TRUE(zstd->check(code, 1'000'000));
  for (const uint64_t count : {1, 1000, 999'999, 1'000'001}) {
    EXPECT_EQ(zstd->check(code, count).code(), Code::kMismatch) << count;
    std::vector<float> out(count, 3);
    zstd->decode(code, out);
  }
}

TEST(Sparse, BadParametersAreRefused) {
  for (const char* text :
       {"topk:ratio=0", "topk:ratio=1.01", "topk:ratio=nan", "topk:index=u8", "topk:select=some",
        "threshold:least=-1", "randomk:ratio=2", "randomk:scale=2", "topk:k=3"}) {
    EXPECT_EQ(make_codec(text).status().code(), Code::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace gossamer
