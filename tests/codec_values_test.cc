// What quantisers lose and how long their codes are, against published and computed numbers; and
// the random numbers they draw.

#include "src/compress/draws.h"
#include "tests/some_codecs.h"

namespace gossamer {
namespace {

double relative_error(const std::string& text, std::span<const float> values, uint64_t key) {
  const auto codec = codec_of(text);
  return squared_distance(round_trip(*codec, values, {key, key, 0}), values) / squared_norm(values);
}

// Means over runs of 65536. The expected numbers were computed independently and have two or three
// digits, of which half a unit is added to 3 %.
void expect_error(const std::string& text, double on_gaussian, double on_laplace, double digit) {
  constexpr uint32_t kRuns = 8;
  double gaussian_error = 0;
  double laplace_error = 0;
  for (uint32_t seed = 1; seed <= kRuns; ++seed) {
    gaussian_error += relative_error(text, gaussian(65536, seed), seed) / kRuns;
    laplace_error += relative_error(text, laplace(65536, seed), seed) / kRuns;
  }
  EXPECT_NEAR(gaussian_error, on_gaussian, .03 * on_gaussian + digit / 2) << text << ", Gaussian";
  if (on_laplace == 0) return;
  EXPECT_NEAR(laplace_error, on_laplace, .03 * on_laplace + digit / 2) << text << ", Laplace";
}

TEST(CodecValues, CastsLoseWhatTheirBitsDo) {
  expect_error("fp16", 4.3e-8, 0, 1e-9);
  expect_error("bf16", 2.8e-6, 0, 1e-7);
  expect_error("fp8_e4m3", 7.0e-4, 7.0e-4, 1e-5);
  expect_error("fp8_e4m3:block=0", 7.0e-4, 7.0e-4, 1e-5);
  expect_error("fp8_e5m2", 2.8e-3, 2.8e-3, 1e-4);
}

TEST(CodecValues, IntegersLoseMoreInLongerBlocks) {
  expect_error("int8:block=64", 3.5e-5, 6.1e-5, 1e-6);
  expect_error("int8:block=256", 4.8e-5, 1.0e-4, 1e-5);
  expect_error("int8:block=4096", 7.5e-5, 2.1e-4, 1e-5);
  expect_error("int8:mode=minmax", 4.1e-5, 7.7e-5, 1e-6);
  expect_error("int4:block=32", 9.4e-3, 1.5e-2, 1e-3);
  expect_error("int4:block=64", 1.2e-2, 2.0e-2, 1e-3);
  expect_error("int4:block=256", 1.6e-2, 3.2e-2, 1e-3);
}

TEST(CodecValues, QsgdHasThePublishedVariance) {
  expect_error("qsgd:levels=1,block=512", 17.2, 14.9, .1);
  expect_error("qsgd:levels=4,block=512", 3.5, 3.0, .1);
  expect_error("qsgd:levels=7,block=512", 1.58, 1.34, .01);
  expect_error("qsgd:levels=15,block=512", .38, .35, .01);
  EXPECT_NEAR(codec_of("qsgd:levels=7,block=512")->error_max(512), 3.23, .01);
  EXPECT_NEAR(codec_of("qsgd:levels=1,block=512")->error_max(512), 22.6, .1);
  EXPECT_NEAR(codec_of("qsgd:levels=15,block=512")->error_max(512), 1.5, .05);
}

TEST(CodecValues, PowersOfTwoHaveThePublishedVariance) {
  expect_error("natural", .0817, .0817, .0001);
  expect_error("natural:bits=8", .0817, .0817, .0001);
  EXPECT_NEAR(codec_of("natural")->error_max(512), .125, 1e-5);
}

TEST(CodecValues, PowersOfTwoAreExactAndEndWhereTheirBitsDo) {
  std::vector<float> powers;
  for (int e = -126; e <= 127; ++e) powers.push_back(std::ldexp(e % 2 == 0 ? 1.0F : -1.0F, e));
  EXPECT_EQ(round_trip(*codec_of("natural"), powers), powers);
  for (float& power : powers) {
    if (std::abs(power) < 0x1p-108F) power = 0;
    if (std::abs(power) > 0x1p18F) power = std::copysign(0x1p18F, power);
  }
  std::vector<float> all;
  for (int e = -126; e <= 127; ++e) all.push_back(std::ldexp(e % 2 == 0 ? 1.0F : -1.0F, e));
  EXPECT_EQ(round_trip(*codec_of("natural:bits=8"), all), powers);
  // An infinity is its block's largest.
  const std::vector<float> strange = {1, INFINITY, -4, -INFINITY, NAN};
  for (const char* text : {"natural", "natural:bits=8"}) {
    EXPECT_EQ(round_trip(*codec_of(text), strange), (std::vector<float>{1, 4, -4, -4, 0})) << text;
  }
}

TEST(CodecValues, TernGradHasTheVarianceOfItsBlocks) {
  expect_error("terngrad", 1.6, 2.4, .1);
  expect_error("terngrad:block=8192", 2.2, 3.8, .1);
  EXPECT_NEAR(codec_of("terngrad")->error_max(512), (std::sqrt(512.0) - 1) / 2, .001);
}

TEST(CodecValues, TernGradIsExactAtItsScaleAndClipsWhereItIsAskedTo) {
  const std::vector<float> exact = {2, -2, 0, 2, NAN, INFINITY, -INFINITY};
  EXPECT_EQ(round_trip(*codec_of("terngrad"), exact), (std::vector<float>{2, -2, 0, 2, 0, 2, -2}));
  // Root mean square 2.
  const std::vector<float> values = {4, 0, 0, 0};
  EXPECT_EQ(round_trip(*codec_of("terngrad"), values), values);
  EXPECT_EQ(round_trip(*codec_of("terngrad:clip=1.5"), values), (std::vector<float>{3, 0, 0, 0}));
  EXPECT_EQ(round_trip(*codec_of("terngrad:clip=2.5"), values), values);
}

TEST(CodecValues, MicroscalingFormatsLoseWhatTheirBitsDo) {
  expect_error("mxfp8", 8.6e-4, 1.0e-3, 1e-4);
  expect_error("mxfp8:beyond=raise", 7.0e-4, 7.0e-4, 1e-5);
  expect_error("mxfp6", 8.0e-4, 9.4e-4, 1e-5);
  expect_error("mxfp6:number=e3m2", 2.9e-3, 3.0e-3, 1e-4);
  expect_error("mxfp4", 1.3e-2, 1.6e-2, 1e-3);
}

// Each number of a format, and the middles between them, of which the even one is taken.
void expect_numbers(const std::string& text, std::vector<float> numbers) {
  const auto codec = codec_of(text);
  for (const float scale : {1.0F, 0x1p-100F, 0x1p100F}) {
    for (size_t i = 0; i < numbers.size(); ++i) {
      // The largest is in every block, so that all have one scale.
      std::vector<float> values = {numbers.back() * scale, numbers[i] * scale, -numbers[i] * scale};
      EXPECT_EQ(round_trip(*codec, values), values) << text << " " << numbers[i] << " " << scale;
      if (i + 1 == numbers.size()) continue;
      const float even = i % 2 == 0 ? numbers[i] : numbers[i + 1];
      const float middle = (numbers[i] + numbers[i + 1]) / 2;
      values = {numbers.back() * scale, middle * scale, -middle * scale};
      const std::vector<float> expected = {numbers.back() * scale, even * scale, -even * scale};
      EXPECT_EQ(round_trip(*codec, values), expected) << text << " " << middle << " " << scale;
    }
  }
}

// By their definition: 2^(e - bias) (1 + m / 2^mantissa), and denormals.
std::vector<float> numbers_of(int exponent, int mantissa, float largest) {
  const int bias = (1 << (exponent - 1)) - 1;
  std::vector<float> numbers;
  for (int e = 0; e < 1 << exponent; ++e) {
    for (int m = 0; m < 1 << mantissa; ++m) {
      const int whole = e == 0 ? m : m + (1 << mantissa);
      const float number = std::ldexp(static_cast<float>(whole), std::max(e, 1) - bias - mantissa);
      if (number <= largest) numbers.push_back(number);
    }
  }
  return numbers;
}

TEST(CodecValues, MicroscalingFormatsHaveTheirNumbers) {
  EXPECT_EQ(numbers_of(2, 1, 6), (std::vector<float>{0, .5F, 1, 1.5F, 2, 3, 4, 6}));
  for (const char* beyond : {"saturate", "raise"}) {
    const std::string tail = std::string("beyond=") + beyond;
    expect_numbers("mxfp8:" + tail, numbers_of(4, 3, 448));
    expect_numbers("mxfp6:" + tail, numbers_of(2, 3, 7.5F));
    expect_numbers("mxfp6:number=e3m2," + tail, numbers_of(3, 2, 28));
    expect_numbers("mxfp4:" + tail, numbers_of(2, 1, 6));
  }
}

TEST(CodecValues, MicroscalingScalesAreBytes) {
  // 7 has the exponent of 4: as 6 and 1 * 1, or with the scale of 2 as 8 = 4 * 2.
  const std::vector<float> values = {7, -1, NAN, INFINITY};
  EXPECT_EQ(round_trip(*codec_of("mxfp4"), values), (std::vector<float>{6, -1, 0, 6}));
  EXPECT_EQ(round_trip(*codec_of("mxfp4:beyond=raise"), values),
            (std::vector<float>{8, -1, 0, 12}));
  const auto codec = codec_of("mxfp4");
  std::vector<std::byte> code = Encoding(*codec, values).bytes();
  ASSERT_EQ(code.size(), 3U);
  EXPECT_EQ(code[0], std::byte{127});
  EXPECT_EQ(code[1], std::byte{0xa7});  // 6 is 7, -1 is 8 + 2
  for (const int scale : {0, 253, 255}) {
    code[0] = static_cast<std::byte>(scale);
    EXPECT_EQ(codec->check(code, values.size()).code(), Code::kMismatch) << scale;
  }
}

// The largest tenth of sums of 256 squares of Gaussian values, by the tail of chi-squared.
TEST(CodecValues, BlockSparseKeepsTheEnergyOfItsBlocks) {
  const std::vector<float> values = gaussian(1 << 20, 7);
  EXPECT_NEAR(1 - relative_error("block_sparse:ratio=0.1", values, 1), .1161, .0012);
}

TEST(CodecValues, BlockSparseFindsTheRowsThatMatter) {
  std::vector<float> values(100, 0.0F);
  for (const size_t i : {16U, 17U, 23U, 98U}) values[i] = -static_cast<float>(i);
  EXPECT_EQ(round_trip(*codec_of("block_sparse:ratio=0.15,block=8"), values), values);
  values[3] = .5F;
  std::vector<float> expected = values;
  expected[3] = 0;
  const auto codec = codec_of("block_sparse:ratio=0.15,block=8");
  EXPECT_EQ(round_trip(*codec, values), expected);
  // 2 of 13 blocks, of which the last is short and filled up.
  std::vector<std::byte> code = Encoding(*codec, values).bytes();
  ASSERT_EQ(code.size(), 2 * (4U + 8U * 4U));
  EXPECT_EQ(code[0], std::byte{2});
  EXPECT_EQ(code[4], std::byte{12});
  EXPECT_TRUE(codec->check(code, values.size()));
  code.back() = std::byte{1};
  EXPECT_EQ(codec->check(code, values.size()).code(), Code::kMismatch);
  code.back() = std::byte{0};
  for (const int number : {2, 1, 13}) {
    code[4] = static_cast<std::byte>(number);
    EXPECT_EQ(codec->check(code, values.size()).code(), Code::kMismatch) << number;
  }
}

// 1 - 2 / pi and 1/2 in the limit; the best ternary quantiser leaves .19.
TEST(CodecValues, OneAndTwoBitsKeepTheirShare) {
  expect_error("sign", .363, .500, .001);
  expect_error("sign:block=0", .363, .500, .001);
  expect_error("one_bit", .363, .500, .001);
  expect_error("two_bit", .190, 0, .001);
}

TEST(CodecValues, CodesHaveTheirSizes) {
  constexpr uint64_t kCount = 1 << 20;
  const auto bits = [](const std::string& text) {
    return static_cast<double>(codec_of(text)->bytes_max(kCount)) * 8 / kCount;
  };
  EXPECT_EQ(bits("fp16"), 16);
  EXPECT_EQ(bits("bf16"), 16);
  EXPECT_EQ(codec_of("fp8_e4m3:block=0")->bytes_max(kCount), kCount + 4);
  EXPECT_EQ(bits("int8:block=256"), 8 + 32.0 / 256);
  EXPECT_EQ(bits("int8:block=256,mode=minmax"), 8 + 64.0 / 256);
  EXPECT_EQ(bits("int4:block=64"), 4 + 32.0 / 64);
  EXPECT_EQ(bits("qsgd:levels=7,block=512"), 4 + 32.0 / 512);
  EXPECT_EQ(bits("qsgd:levels=1,block=512"), 2 + 32.0 / 512);
  EXPECT_EQ(bits("qsgd:levels=8,block=512"), 5 + 32.0 / 512);
  EXPECT_EQ(bits("mxfp8"), 8.25);
  EXPECT_EQ(bits("mxfp6"), 6.25);
  EXPECT_EQ(bits("mxfp4"), 4.25);
  EXPECT_EQ(codec_of("block_sparse:ratio=0.25")->bytes_max(kCount), kCount + 4096);
  EXPECT_EQ(bits("terngrad"), 2 + 32.0 / 512);
  EXPECT_EQ(bits("natural"), 9);
  EXPECT_EQ(bits("natural:bits=8"), 8);
  EXPECT_EQ(codec_of("natural")->bytes_max(67), 67U + 9U);
  EXPECT_EQ(codec_of("sign:block=0")->bytes_max(kCount), kCount / 8 + 4);
  EXPECT_EQ(codec_of("one_bit:column=512")->bytes_max(512), 8U + 64U);
  EXPECT_EQ(bits("two_bit:levels=fixed"), 2);
}

TEST(CodecValues, OneBitSplitsAColumnAtZero) {
  const std::vector<float> values = {1, -2, 3, -4, 0, -6};
  const std::vector<float> expected = {4.0F / 3, -4, 4.0F / 3, -4, 4.0F / 3, -4};
  EXPECT_EQ(round_trip(*codec_of("one_bit:column=6"), values), expected);
}

TEST(CodecValues, TwoBitsKnowTheirThresholds) {
  const std::vector<float> values = {.5F, -.5F, .49F, -.49F, 0, 3, -3, NAN};
  const std::vector<float> expected = {.5F, -.5F, 0, 0, 0, .5F, -.5F, 0};
  EXPECT_EQ(round_trip(*codec_of("two_bit:threshold=0.5,levels=fixed"), values), expected);
  // Root mean square 2, half of it 1: 1, 3 and -3 are beyond, and their mean is 7/3.
  const std::vector<float> other = {1, 3, -3, .5F, .5F};
  const float mean = 7.0F / 3;
  const std::vector<float> means = {mean, mean, -mean, 0, 0};
  EXPECT_EQ(round_trip(*codec_of("two_bit:threshold=0.5"), other), means);
}

TEST(CodecValues, IntegersAreExactWhereTheyCanBe) {
  std::vector<float> values;
  for (int i = -127; i <= 127; ++i) values.push_back(static_cast<float>(i) * .25F);
  EXPECT_EQ(round_trip(*codec_of("int8"), values), values);
  EXPECT_EQ(round_trip(*codec_of("int8:rounding=stochastic"), values), values);
  std::vector<float> bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<float>(i) + 1000);
  EXPECT_EQ(round_trip(*codec_of("int8:mode=minmax"), bytes), bytes);
  const std::vector<float> nibbles = {-7, -6, -1, 0, 1, 5, 7};
  EXPECT_EQ(round_trip(*codec_of("int4"), nibbles), nibbles);
}

TEST(CodecValues, MinmaxKeepsARangeThatIsNoNumber) {
  const float most = std::numeric_limits<float>::max();
  const std::vector<float> values = {most, -most, most / 2, 0};
  const std::vector<float> back = round_trip(*codec_of("int8:mode=minmax"), values);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(back[i] / most, values[i] / most, .005);
}

TEST(CodecValues, NotFiniteValuesBecomeTheLargestOrZero) {
  const std::vector<float> values = {1, -4, INFINITY, -INFINITY, NAN, 2};
  const std::vector<float> back = round_trip(*codec_of("int8"), values);
  EXPECT_EQ(back[2], 4);
  EXPECT_EQ(back[3], -4);
  EXPECT_EQ(back[4], 0);
  const std::vector<float> range = round_trip(*codec_of("int8:mode=minmax"), values);
  EXPECT_FLOAT_EQ(range[2], 2);
  EXPECT_FLOAT_EQ(range[3], -4);
  EXPECT_NEAR(range[4], 0, .012);
}

TEST(CodecValues, Fp16CountsWhatItMakesInfinite) {
  const std::vector<float> values = {65504, 65519, 65520, -1e6F, 1, INFINITY};
  const auto codec = codec_of("fp16");
  const Encoding encoding(*codec, values);
  EXPECT_EQ(encoding.not_finite(), 3U);
  const std::vector<float> expected = {65504, 65504, INFINITY, -INFINITY, 1, INFINITY};
  EXPECT_EQ(decoded(*codec, encoding.code(), values.size()), expected);
}

// What an average over ranks loses, relative to its squared norm, by the way it is computed.
class AverageOf {
 public:
  AverageOf(const std::string& codec, uint32_t ranks) : codec_(codec_of(codec)), exact_(kCount) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      values_.push_back(gaussian(kCount, 100 + rank));
      for (size_t i = 0; i < kCount; ++i) exact_[i] += static_cast<double>(values_[rank][i]);
    }
  }
  // Every rank gets all codes.
  double gathered() const { return error_of(sum_of_codes()); }
  // An owner decodes the parts of all, and encodes their sum.
  double two_shot() const { return error_of(round_trip(*codec_, sum_of_codes())); }
  // Each hop encodes the sum so far; the last owner's is encoded too.
  double ring() const {
    std::vector<float> sum(kCount);
    for (const std::vector<float>& own : values_) {
      for (size_t i = 0; i < kCount; ++i) sum[i] += own[i];
      sum = round_trip(*codec_, sum);
    }
    return error_of(sum);
  }

 private:
  static constexpr size_t kCount = 65536;

  std::vector<float> sum_of_codes() const {
    std::vector<float> sum(kCount);
    for (const std::vector<float>& own : values_) {
      codec_->add(Encoding(*codec_, own).code(), 1, sum);
    }
    return sum;
  }
  double error_of(std::span<const float> sum) const {
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const double lost = exact_[i] - static_cast<double>(sum[i]);
      error += lost * lost;
      norm += exact_[i] * exact_[i];
    }
    return error / norm;
  }

  std::unique_ptr<Codec> codec_;
  std::vector<std::vector<float>> values_;
  std::vector<double> exact_;
};

// Two shots cost twice what gathering costs, however many the ranks; a ring's hops add up.
TEST(CodecValues, AveragesLoseByTheWayTheyTake) {
  struct Expected {
    uint32_t ranks;
    const char* codec;
    double ring;
    double two_shot;
    double gathered;
  };
  for (const Expected& e :
       {Expected{4, "int8", 1.2e-4, 9.6e-5, 4.8e-5}, Expected{8, "int8", 2.2e-4, 9.8e-5, 4.9e-5},
        Expected{16, "int8", 4.1e-4, 9.7e-5, 4.8e-5}, Expected{4, "int4", 2.9e-2, 2.3e-2, 1.2e-2},
        Expected{8, "int4", 5.4e-2, 2.4e-2, 1.2e-2},
        Expected{16, "int4", 1.0e-1, 2.3e-2, 1.2e-2}}) {
    const AverageOf average(e.codec, e.ranks);
    EXPECT_NEAR(average.ring(), e.ring, .1 * e.ring) << e.codec << " " << e.ranks;
    EXPECT_NEAR(average.two_shot(), e.two_shot, .1 * e.two_shot) << e.codec << " " << e.ranks;
    EXPECT_NEAR(average.gathered(), e.gathered, .1 * e.gathered) << e.codec << " " << e.ranks;
  }
}

// The published vector of Philox4x32-7 for a counter and a key of zeros is 5f6fb709 0d893f64
// 4f121f81 4f730a48; of words, the upper 24 bits are used.
TEST(CodecDraws, AreThoseOfPhilox) {
  std::vector<float> numbers(64);
  uniform_numbers(0, 0, numbers);
  EXPECT_EQ(numbers[0], static_cast<float>(0x5f6fb7) * 0x1p-24F);
  EXPECT_EQ(numbers[16], static_cast<float>(0x0d893f) * 0x1p-24F);
  EXPECT_EQ(numbers[32], static_cast<float>(0x4f121f) * 0x1p-24F);
  EXPECT_EQ(numbers[48], static_cast<float>(0x4f730a) * 0x1p-24F);
}

TEST(CodecDraws, BelongToElementsWhereverTheRunBegins) {
  std::vector<float> whole(5000);
  uniform_numbers(42, 0, whole);
  for (const size_t first : {1U, 63U, 64U, 65U, 1023U, 3000U}) {
    std::vector<float> part(1999);
    uniform_numbers(42, first, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + static_cast<long>(first)));
  }
  // Beyond 2^32 counters too.
  std::vector<float> far(64);
  std::vector<float> near(64);
  uniform_numbers(42, uint64_t{1} << 40, far);
  uniform_numbers(42, 0, near);
  EXPECT_NE(far, near);
}

TEST(CodecDraws, AreUniformAndIndependent) {
  constexpr size_t kCount = 1 << 20;
  std::vector<float> a(kCount);
  std::vector<float> b(kCount);
  uniform_numbers(1, 0, a);
  uniform_numbers(2, 0, b);
  std::vector<double> bins(64);
  double sum = 0;
  double lag = 0;
  double keys = 0;
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(a[i] >= 0 && a[i] < 1);
    bins[static_cast<size_t>(a[i] * 64)] += 1;
    const double centred = static_cast<double>(a[i]) - .5;
    sum += centred;
    lag += centred * (static_cast<double>(a[(i + 1) % kCount]) - .5);
    keys += centred * (static_cast<double>(b[i]) - .5);
  }
  double chi = 0;
  for (const double bin : bins)
    chi += (bin - kCount / 64.0) * (bin - kCount / 64.0) / (kCount / 64.0);
  EXPECT_LT(chi, 63 + 5 * std::sqrt(2 * 63.0));
  EXPECT_LT(std::abs(sum), 5 * std::sqrt(kCount / 12.0));
  EXPECT_LT(std::abs(lag), 5 * std::sqrt(double{kCount}) / 12);
  EXPECT_LT(std::abs(keys), 5 * std::sqrt(double{kCount}) / 12);
}

}  // namespace
}  // namespace gossamer
