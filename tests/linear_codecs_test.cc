// What THC, DCT top-k and count-sketch lose and how long their codes are, against published and
// computed numbers.

#include <functional>
#include <map>

#include "gossamer/code_sums.h"
#include "gossamer/feedback.h"
#include "src/compress/cosines.h"
#include "tests/some_codecs.h"

namespace gossamer {
namespace {

double relative_error(const std::string& text, std::span<const float> values, uint64_t key) {
  const auto codec = codec_of(text);
  return squared_distance(round_trip(*codec, values, {key, key, 0}), values) / squared_norm(values);
}

// --- THC -----------------------------------------------------------------------------------------

double density(double z) {
  return std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
}
double below(double z) {
  return std::erfc(-z / std::sqrt(2.0)) / 2;
}

// What going to one of two neighbours at random loses of Gaussian values between them: the integral
// of (z - a)(b - z).
double loss_between(double a, double b) {
  const double mass = below(b) - below(a);
  const double mean = density(a) - density(b);
  const double square = mass + a * density(a) - b * density(b);
  return (a + b) * mean - square - a * b * mass;
}

double loss_of(const std::vector<int>& entries, double range) {
  double loss = 0;
  const double step = 2 * range / entries.back();
  for (size_t i = 0; i + 1 < entries.size(); ++i) {
    loss += loss_between(entries[i] * step - range, entries[i + 1] * step - range);
  }
  return loss;
}

// The least that any table of so many entries loses, by dynamic programming.
double least_loss(int entries, int steps, double range) {
  std::vector<double> best(static_cast<size_t>(steps) + 1, 1e9);
  best[0] = 0;
  const double step = 2 * range / steps;
  for (int n = 1; n < entries; ++n) {
    std::vector<double> next(best.size(), 1e9);
    for (int j = n; j <= steps; ++j) {
      for (int i = 0; i < j; ++i) {
        next[static_cast<size_t>(j)] = std::min(
            next[static_cast<size_t>(j)],
            best[static_cast<size_t>(i)] + loss_between(i * step - range, j * step - range));
      }
    }
    best = next;
  }
  return best.back();
}

TEST(Thc, TablesLoseAsLittleAsAnyDo) {
  const std::map<int, std::pair<std::vector<int>, double>> tables = {
      {2, {{0, 1, 2, 3}, 1.5341205443525463}},
      {3, {{0, 4, 7, 9, 11, 13, 16, 20}, 2.1538746940614564}},
      {4, {{0, 3, 5, 7, 9, 11, 13, 14, 15, 17, 19, 21, 23, 25, 27, 30}, 2.1538746940614564}}};
  for (const auto& [bits, table] : tables) {
    const auto& [entries, range] = table;
    EXPECT_NEAR(loss_of(entries, range), least_loss(1 << bits, entries.back(), range), 1e-12);
    // The codec has these entries: a run of one level everywhere decodes to them.
    const auto codec = codec_of("thc:block=64,bits=" + std::to_string(bits));
    for (int level = 0; level < 1 << bits; ++level) {
      std::vector<std::byte> code(codec->bytes_max(1));
      const float one = 1;
      std::memcpy(code.data() + 8, &one, sizeof one);
      code[12] = static_cast<std::byte>(level);
      const double expected =
          range * (2.0 * entries[static_cast<size_t>(level)] / entries.back() - 1);
      EXPECT_NEAR(std::abs(static_cast<double>(decoded(*codec, code, 1)[0])), std::abs(expected),
                  1e-6);
    }
  }
}

// Whatever the values are like, but for what is left of the last block.
TEST(Thc, LosesTheSameOfAllKindsOfValues) {
  std::vector<float> single(65536, 0);
  single[777] = 5;
  std::vector<float> far = gaussian(65536, 3);
  for (float& value : far) value += 100;
  for (const auto& [bits, expected] : {std::pair{4, .0203}, {3, .0646}, {2, .1956}}) {
    const std::string text = "thc:bits=" + std::to_string(bits);
    EXPECT_NEAR(relative_error(text, gaussian(65536), 1), expected, .05 * expected) << bits;
    EXPECT_NEAR(relative_error(text, laplace(65536), 2), expected, .05 * expected) << bits;
    EXPECT_NEAR(relative_error(text, far, 3), expected, .2 * expected) << bits;
    // One element is a block of equal magnitudes, which some other entries lose more or less of.
    EXPECT_LT(relative_error(text, single, 4), codec_of(text)->error_max(65536)) << bits;
  }
}

TEST(Thc, RotatesWhatIsLeftOverInPowersOfTwo) {
  for (const size_t count : {1U, 2U, 3U, 63U, 1023U, 1025U, 2047U, 5000U}) {
    const std::vector<float> values = gaussian(count, 5);
    double error = 0;
    constexpr int kDraws = 50;
    for (uint64_t k = 1; k <= kDraws; ++k) error += relative_error("thc", values, k) / kDraws;
    EXPECT_LT(error, .08) << count;
  }
}

// Equal draws on all ranks make the rotation; those of a rank's own make the rounding.
TEST(Thc, DrawsSignsAlikeAndRoundsEachRankByItself) {
  const auto codec = codec_of("thc");
  const std::vector<float> values = gaussian(4096);
  const Encoding one(*codec, values, {1, 9, 0});
  const Encoding other(*codec, values, {2, 9, 0});
  EXPECT_NE(one.bytes(), other.bytes());
  EXPECT_TRUE(std::equal(one.code().begin(), one.code().begin() + 12, other.code().begin()));
  // Their mean is nearer: noise is independent.
  std::vector<float> mean(values.size());
  codec->add(one.code(), .5F, mean);
  codec->add(other.code(), .5F, mean);
  EXPECT_NEAR(squared_distance(mean, values) / squared_norm(values), .01306 / 2 + .00727, .002);
}

TEST(Thc, CodesHaveTheirSizes) {
  EXPECT_EQ(codec_of("thc")->bytes_max(1 << 20), 8 + 1024 * (4 + 512U));
  EXPECT_EQ(codec_of("thc:bits=2,block=64")->bytes_max(64), 8 + 4 + 16U);
  EXPECT_EQ(codec_of("thc:bits=3")->bytes_max(1024 + 5), 8 + (4 + 384) + (4 + 2) + (4 + 1U));
}

// --- DCT -----------------------------------------------------------------------------------------

std::vector<double> dct_of(std::span<const float> x) {
  const auto n = static_cast<double>(x.size());
  std::vector<double> out;
  for (size_t k = 0; k < x.size(); ++k) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]) *
             std::cos(M_PI * (2 * static_cast<double>(i) + 1) * static_cast<double>(k) / (2 * n));
    }
    out.push_back(sum * std::sqrt((k == 0 ? 1 : 2) / n));
  }
  return out;
}

TEST(Cosines, TransformRowsAsTheirDefinitionSays) {
  for (const uint64_t side : {2U, 3U, 8U, 17U, 31U, 64U}) {
    const Cosines cosines(side);
    for (const uint64_t count : {uint64_t{1}, side - 1, side, 5 * side + side / 2, 20 * side}) {
      const std::vector<float> before = gaussian(count, 3);
      std::vector<float> values = before;
      cosines.rows(values);
      for (uint64_t first = 0; first < count; first += side) {
        const uint64_t length = std::min(side, count - first);
        const std::vector<double> expected = dct_of(std::span(before).subspan(first, length));
        for (uint64_t k = 0; k < length; ++k) {
          ASSERT_NEAR(static_cast<double>(values[first + k]), expected[k], 1e-5) << side;
        }
      }
      cosines.rows_back(values);
      for (uint64_t i = 0; i < count; ++i) ASSERT_NEAR(values[i], before[i], 1e-5) << side;
    }
  }
}

TEST(Cosines, TransformSquaresByRowsAndColumns) {
  for (const uint64_t side : {2U, 5U, 16U, 63U, 64U}) {
    const Cosines cosines(side);
    const std::vector<float> before = gaussian(side * side, 4);
    std::vector<float> expected = before;
    cosines.rows(expected);
    for (uint64_t c = 0; c < side; ++c) {
      std::vector<float> column;
      for (uint64_t r = 0; r < side; ++r) column.push_back(expected[r * side + c]);
      cosines.rows(column);
      for (uint64_t r = 0; r < side; ++r) expected[r * side + c] = column[r];
    }
    std::vector<float> values = before;
    cosines.square(values.data());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], 1e-5) << side;
    const uint64_t all = ~uint64_t{0} >> (64 - side);
    std::vector<float> few = values;
    cosines.square_back(values.data(), all);
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], before[i], 1e-5) << side;
    // Rows of zeros may be left out, all of them too.
    for (const uint64_t used : {uint64_t{0}, all & 0x8000000000010002U}) {
      for (uint64_t r = 0; r < side; ++r) {
        if ((used >> r & 1) == 0) std::fill_n(&few[r * side], side, 0.0F);
      }
      std::vector<float> left_out = few;
      cosines.square_back(few.data(), all);
      cosines.square_back(left_out.data(), used);
      EXPECT_EQ(left_out, few) << side;
      few = before;
    }
  }
}

TEST(Dct, HasDeMosSize) {
  EXPECT_EQ(codec_of("dct")->bytes_max(4096), 192U);  // 85x
  EXPECT_EQ(codec_of("dct")->bytes_max(10 * 4096 + 100), 1920 + 6U);
  EXPECT_EQ(codec_of("dct:dims=1,keep=4")->bytes_max(64 * 7 + 20), 7 * 24 + 2 * 6U);
}

// As top-k of as many values, since Gaussian values stay that; and all of what is smooth.
TEST(Dct, KeepsTheEnergyOfItsLargestCoefficients) {
  const double kept = 1 - relative_error("dct", gaussian(1 << 18), 1);
  const double same = 1 - relative_error("topk:ratio=0.0078125", gaussian(1 << 18), 1);
  EXPECT_NEAR(kept, same, .05 * same);
  std::vector<float> waves(1 << 14);
  for (size_t i = 0; i < waves.size(); ++i) {
    const size_t wave = i / 4096;
    waves[i] = std::cos(static_cast<float>(i % 64) * .1F) * static_cast<float>(wave + 1);
  }
  EXPECT_LT(relative_error("dct", waves, 1), 1e-4);
  EXPECT_GT(relative_error("topk:ratio=0.0078125", waves, 1), .8);
}

TEST(Dct, KeepsAllThereIsWhereAskedTo) {
  for (const char* text : {"dct:chunk=5,keep=25", "dct:dims=1,chunk=64,keep=64"}) {
    const std::vector<float> values = gaussian(1037, 6);
    EXPECT_LT(relative_error(text, values, 1), 1e-12) << text;
  }
}

// Of two ranks, of which each sends the coefficient that the other lacks.
TEST(Dct, ASumIsOfRanksOrOfSenders) {
  for (const char* mean : {"ranks", "senders"}) {
    const auto codec = codec_of(std::string("dct:dims=1,chunk=2,keep=1,mean=") + mean);
    const CodeSums& sums = *codec->sums();
    const Encoding level(*codec, std::vector<float>{3, 3});   // the first coefficient
    const Encoding slope(*codec, std::vector<float>{2, -2});  // the second
    std::vector<std::byte> sum(sums.sum_bytes(2, 3));
    sums.begin_sum(level.code(), 2, 3, sum);
    EXPECT_TRUE(sums.add_code(slope.code(), 2, 3, sum));
    EXPECT_TRUE(sums.add_code(level.code(), 2, 3, sum));
    EXPECT_TRUE(sums.check_sum(sum, 2, 3));
    std::vector<float> values(2);
    sums.decode_sum(sum, 3, values);
    const bool by_senders = std::string(mean) == "senders";
    EXPECT_NEAR(values[0], by_senders ? 9 + 6 : 6 + 2, 1e-5) << mean;
    EXPECT_NEAR(values[1], by_senders ? 9 - 6 : 6 - 2, 1e-5) << mean;
  }
}

// delta <- decay delta + gradient; what was sent is taken out: "ef14" with that decay.
TEST(Dct, WithFeedbackIsDeMosMomentum) {
  const auto codec = codec_of("dct:chunk=8,keep=4");
  StateStore store;
  auto feedback = make_feedback("ef14:decay=0.999", store).value();
  const StateBucket bucket = {{parameter_key("w"), 0, 200}};
  ASSERT_TRUE(feedback->arrange({&bucket, 1}));
  std::vector<float> momentum(200, 0);
  for (uint32_t t = 0; t < 10; ++t) {
    const std::vector<float> gradient = gaussian(200, t + 1);
    std::vector<float> values(200);
    feedback->compensate(0, gradient, values);
    for (size_t i = 0; i < 200; ++i) momentum[i] = .999F * momentum[i] + gradient[i];
    for (size_t i = 0; i < 200; ++i) ASSERT_NEAR(values[i], momentum[i], 1e-4);
    const std::vector<float> sent = round_trip(*codec, values);
    feedback->settle(0, values, sent);
    store.commit();
    for (size_t i = 0; i < 200; ++i) momentum[i] -= sent[i];
  }
}

// --- count-sketch --------------------------------------------------------------------------------

// 20 heavy elements among noise that has a hundredth of their norm each.
std::vector<float> with_heavy_ones(size_t count, uint32_t seed) {
  std::vector<float> values = gaussian(count, seed);
  for (float& value : values) value *= .01F;
  for (size_t k = 0; k < 20; ++k) values[(k * 7919 + 13) % count] = k % 2 == 0 ? 5.0F : -7.0F;
  return values;
}

// So many rows that no light element shares its place with heavy ones in most of them.
TEST(CountSketch, FindsHeavyElements) {
  const auto codec = codec_of("count_sketch:rows=9,ratio=0.5,keep=0.001");
  const std::vector<float> values = with_heavy_ones(20'000, 1);
  for (uint64_t key = 1; key <= 20; ++key) {
    const std::vector<float> back = round_trip(*codec, values, {key, key, 0});
    uint64_t found = 0;
    uint64_t kept = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      kept += back[i] != 0 ? 1 : 0;
      if (std::abs(values[i]) > 1 && std::abs(back[i] - values[i]) < .2F) ++found;
    }
    EXPECT_EQ(found, 20U) << key;
    EXPECT_EQ(kept, 20U) << key;
  }
}

// An estimate of an element, over draws: right in the mean with one row, and by chance wrong by the
// norm of the others over the root of the columns.
TEST(CountSketch, OneRowEstimatesWithoutBiasAndWithThePublishedVariance) {
  const auto codec = codec_of("count_sketch:rows=1,ratio=0.25,keep=1");
  const std::vector<float> values = gaussian(400, 2);
  const double columns = 100;
  std::vector<double> sum(values.size());
  double error = 0;
  constexpr int kDraws = 2000;
  for (uint64_t key = 1; key <= kDraws; ++key) {
    const std::vector<float> back = round_trip(*codec, values, {key, key, 0});
    for (size_t i = 0; i < values.size(); ++i) sum[i] += static_cast<double>(back[i]);
    error += squared_distance(back, values) / kDraws;
  }
  const double expected = (400 - 1) * squared_norm(values) / columns;
  EXPECT_NEAR(error, expected, .05 * expected);
  const double deviation = std::sqrt(squared_norm(values) / columns / kDraws);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(sum[i] / kDraws, static_cast<double>(values[i]), 5 * deviation) << i;
  }
}

// What no rank's own largest are is found in the sum, and what cancels is not.
TEST(CountSketch, FindsWhatIsLargeInSum) {
  const auto codec = codec_of("count_sketch:rows=5,ratio=0.5,keep=0.0005");
  const CodeSums& sums = *codec->sums();
  constexpr uint32_t kRanks = 8;
  constexpr size_t kCount = 10'000;
  std::vector<std::byte> sum(sums.sum_bytes(kCount, kRanks));
  for (uint32_t r = 0; r < kRanks; ++r) {
    std::vector<float> values = gaussian(kCount, r + 1);
    for (float& value : values) value *= .02F;
    for (size_t k = 0; k < 5; ++k) values[1000 * k] = 1;  // 8 in sum
    values[5] = r % 2 == 0 ? 10.0F : -10.0F;              // nothing in sum
    const Encoding encoding(*codec, values, {r + 1, 3, 0});
    if (r == 0) sums.begin_sum(encoding.code(), kCount, kRanks, sum);
    if (r > 0) {
      ASSERT_TRUE(sums.add_code(encoding.code(), kCount, kRanks, sum));
    }
  }
  std::vector<float> found(kCount);
  sums.decode_sum(sum, kRanks, found);
  for (size_t i = 0; i < kCount; ++i) {
    const bool heavy = i % 1000 == 0 && i < 5000;
    ASSERT_NEAR(found[i], heavy ? 8 : 0, .5) << i;
  }
}

TEST(CountSketch, CodesHaveTheirSizes) {
  EXPECT_EQ(codec_of("count_sketch:rows=5,ratio=0.1")->bytes_max(1000), 8 + 4 * 100U);
  EXPECT_EQ(codec_of("count_sketch:rows=3,ratio=0.1")->bytes_max(1000), 8 + 4 * 3 * 34U);
  EXPECT_EQ(codec_of("count_sketch:rows=5,ratio=0.1")->bytes_max(1), 8 + 4 * 5U);
}

}  // namespace
}  // namespace gossamer
