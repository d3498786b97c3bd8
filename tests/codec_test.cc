// What every codec promises, whichever are registered.

#include <hwy/highway.h>

#include <bit>

#include "tests/some_codecs.h"

namespace gossamer {
namespace {

class AnyCodec : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { codec_ = codec_of(GetParam()); }

  // Around the block, and where vectors, bytes and words end.
  std::vector<size_t> counts() const {
    const size_t block = std::min<uint64_t>(codec_->block(), 5000);
    std::vector<size_t> all = {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 65, 1000, 1023, 1025, 4097, 65537};
    for (const size_t around : {block - 1, block, block + 1, 2 * block + 1}) all.push_back(around);
    return all;
  }

  std::unique_ptr<Codec> codec_;
};

TEST_P(AnyCodec, IsKnownByItsWholeName) {
  const auto again = codec_of(codec_->name());
  EXPECT_EQ(again->name(), codec_->name());
  EXPECT_EQ(again->identity(), codec_->identity());
  EXPECT_NE(codec_->identity(), 0U);
  EXPECT_TRUE(codec_->name().starts_with(GetParam().substr(0, GetParam().find(':'))));
}

TEST_P(AnyCodec, HasTheBytesItSays) {
  EXPECT_EQ(codec_->bytes_max(0), 0U);
  for (const size_t count : counts()) {
    const std::vector<float> values = gaussian(count);
    const Encoding encoding(*codec_, values);
    if (codec_->traits().fixed_size) {
      EXPECT_EQ(encoding.code().size(), codec_->bytes_max(count)) << count;
    }
    const Status sound = codec_->check(encoding.code(), count);
    EXPECT_TRUE(sound) << count << ": " << sound.to_string();
    EXPECT_EQ(encoding.not_finite(), 0U) << count;
    for (const float value : decoded(*codec_, encoding.code(), count)) {
      ASSERT_TRUE(std::isfinite(value)) << count;
    }
  }
}

TEST_P(AnyCodec, HasNoMoreEntriesThanItSays) {
  for (const size_t count : {0U, 1U, 33U, 1000U, 65'537U}) {
    const std::vector<float> values = gaussian(count);
    const Encoding encoding(*codec_, values);
    std::vector<float> decoded(count);
    codec_->decode(encoding.code(), decoded);
    const auto zeros = static_cast<uint64_t>(std::count(decoded.begin(), decoded.end(), 0.0F));
    EXPECT_LE(count - zeros, codec_->entries_max(count)) << count;
  }
}

TEST_P(AnyCodec, RefusesCodesOfAnotherLength) {
  if (!codec_->traits().fixed_size) GTEST_SKIP() << "has many lengths";
  const Encoding encoding(*codec_, gaussian(1000));
  std::vector<std::byte> code = encoding.bytes();
  code.push_back(std::byte{0});
  EXPECT_EQ(codec_->check(code, 1000).code(), Code::kMismatch);
  EXPECT_EQ(codec_->check(std::span(code).first(code.size() - 2), 1000).code(), Code::kMismatch);
  EXPECT_EQ(codec_->check({}, 1000).code(), Code::kMismatch);
  EXPECT_EQ(codec_->check(encoding.code(), 0).code(), Code::kMismatch);
}

// Runs that quantisers like, and those on which their bounds are reached or nearly so.
std::vector<std::vector<float>> runs(size_t count) {
  std::vector<std::vector<float>> all = {gaussian(count), laplace(count, 2)};
  std::vector<float> single(count, 0);
  single[count / 3] = -2;
  all.push_back(single);
  all.emplace_back(count, 0.75F);
  std::vector<float> halves(count, 0.5F / 127);
  halves[0] = 1;
  all.push_back(halves);
  std::vector<float> far = gaussian(count, 3);
  for (float& value : far) value += 1000;
  all.push_back(far);
  std::vector<float> spread = gaussian(count, 4);
  for (size_t i = 0; i < count; ++i) spread[i] *= std::ldexp(1.0F, static_cast<int>(i % 12));
  all.push_back(spread);
  return all;
}

TEST_P(AnyCodec, LosesNoMoreThanIsProved) {
  const bool unbiased = codec_->traits().unbiased;
  for (const size_t count : {size_t{1}, size_t{257}, size_t{5000}}) {
    const double bound = codec_->error_max(count);
    for (const std::vector<float>& values : runs(count)) {
      const int draws = unbiased ? 64 : 1;
      double error = 0;
      for (int k = 1; k <= draws; ++k) {
        const auto key = static_cast<uint64_t>(k);
        error += squared_distance(round_trip(*codec_, values, {key, 1000 + key, 0}), values);
      }
      // An expectation is met by a mean, up to what is left to chance.
      const double slack = unbiased ? 1.5 : 1.000001;
      EXPECT_LE(error / draws, slack * bound * squared_norm(values) + 1e-12 * squared_norm(values))
          << count << " of " << values[0] << ", " << values[count / 2];
    }
  }
}

TEST_P(AnyCodec, KeepsTheMeanWhereItSaysSo) {
  if (!codec_->traits().unbiased) GTEST_SKIP() << "is biased";
  constexpr int kDraws = 4000;
  std::vector<float> values = gaussian(96, 5);
  for (float& value : values) value = std::copysign(0.5F + std::min(std::abs(value), 2.0F), value);
  std::vector<double> sum(values.size());
  std::vector<double> squares(values.size());
  for (uint64_t k = 1; k <= kDraws; ++k) {
    const std::vector<float> back = round_trip(*codec_, values, {k, k, 0});
    for (size_t i = 0; i < values.size(); ++i) {
      sum[i] += static_cast<double>(back[i]);
      squares[i] += static_cast<double>(back[i]) * static_cast<double>(back[i]);
    }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const double mean = sum[i] / kDraws;
    const double variance = std::max(squares[i] / kDraws - mean * mean, 0.0);
    EXPECT_NEAR(mean, static_cast<double>(values[i]), 5 * std::sqrt(variance / kDraws) + 1e-5) << i;
  }
}

TEST_P(AnyCodec, GivesTheSameBytesForTheSameDraws) {
  const std::vector<float> values = gaussian(3001);
  const Draws draws = {77, 78, 5};
  const Encoding one(*codec_, values, draws, 1, std::byte{0x00});
  const Encoding other(*codec_, values, draws, 2, std::byte{0xff});
  EXPECT_EQ(one.bytes(), other.bytes());
  if (codec_->traits().unbiased && !codec_->traits().shared_positions) {
    const Encoding another(*codec_, values, {79, 78, 5});
    EXPECT_NE(one.bytes(), another.bytes());
  }
}

// Every set of instructions that this machine has.
TEST_P(AnyCodec, GivesTheSameBytesOnEveryMachine) {
  std::vector<float> values = gaussian(3001);
  values[10] = std::nanf("");
  values[700] = INFINITY;
  values[701] = 1e-41F;
  const Draws draws = {77, 78, 5};
  const Encoding one(*codec_, values, draws);
  const std::vector<float> back = decoded(*codec_, one.code(), values.size());
  std::vector<float> sum(values.size(), 0.1F);
  codec_->add(one.code(), 0.3F, sum);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    const Encoding other(*codec_, values, draws);
    EXPECT_EQ(one.bytes(), other.bytes()) << hwy::TargetName(target);
    EXPECT_EQ(one.not_finite(), other.not_finite()) << hwy::TargetName(target);
    const std::vector<float> same = decoded(*codec_, one.code(), values.size());
    std::vector<float> same_sum(values.size(), 0.1F);
    codec_->add(one.code(), 0.3F, same_sum);
    hwy::SetSupportedTargetsForTest(0);
    for (size_t i = 0; i < back.size(); ++i) {
      if (std::isnan(back[i]) && std::isnan(same[i])) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(back[i]), std::bit_cast<uint32_t>(same[i]))
          << hwy::TargetName(target) << " " << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(sum[i]), std::bit_cast<uint32_t>(same_sum[i]))
          << hwy::TargetName(target) << " " << i;
    }
  }
}

TEST_P(AnyCodec, JoinsCodesOfPartsWhereItSaysSo) {
  if (!codec_->traits().joins) GTEST_SKIP() << "does not join";
  const uint64_t block = codec_->block();
  const std::vector<float> values = gaussian(5 * block + block / 2 + 3);
  const Encoding whole(*codec_, values, {3, 4, 1000});
  std::vector<std::byte> joined;
  const uint64_t cuts[] = {0, block, 2 * block, 5 * block, values.size()};
  for (size_t k = 0; k + 1 < std::size(cuts); ++k) {
    const auto part = std::span(values).subspan(cuts[k], cuts[k + 1] - cuts[k]);
    const Encoding encoding(*codec_, part, {3, 4, 1000 + cuts[k]});
    joined.insert(joined.end(), encoding.code().begin(), encoding.code().end());
  }
  EXPECT_EQ(whole.bytes(), joined);
}

TEST_P(AnyCodec, AddsWhatItDecodesRoundingTwice) {
  for (const size_t count : counts()) {
    const std::vector<float> values = gaussian(count);
    const std::vector<float> before = gaussian(count, 6);
    const Encoding encoding(*codec_, values);
    const std::vector<float> back = decoded(*codec_, encoding.code(), count);
    for (const float factor : {1.0F, 0.3F, -1.0F / 3}) {
      std::vector<float> sum = before;
      codec_->add(encoding.code(), factor, sum);
      for (size_t i = 0; i < count; ++i) {
        const volatile float product = factor * back[i];
        ASSERT_EQ(sum[i], before[i] + product) << i << " of " << count;
      }
    }
  }
}

TEST_P(AnyCodec, DecodesAtAnyAddress) {
  const std::vector<float> values = gaussian(777);
  const Encoding plain(*codec_, values, {}, 0);
  const std::vector<float> expected = decoded(*codec_, plain.code(), values.size());
  for (const size_t offset : {1U, 2U, 3U, 5U}) {
    const Encoding encoding(*codec_, values, {}, offset);
    EXPECT_EQ(plain.bytes(), encoding.bytes());
    EXPECT_EQ(expected, decoded(*codec_, encoding.code(), values.size()));
    // Only the run is written.
    std::vector<float> around(values.size() + 32, 7.0F);
    codec_->decode(encoding.code(), std::span(around).subspan(16, values.size()));
    codec_->add(encoding.code(), 0.0F, std::span(around).subspan(16, values.size()));
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(around[i], 7.0F);
      EXPECT_EQ(around[16 + values.size() + i], 7.0F);
    }
  }
}

TEST_P(AnyCodec, TakesZerosForZeros) {
  std::vector<float> values(1000, 0.0F);
  for (size_t i = 0; i < values.size(); i += 3) values[i] = -0.0F;
  const float expected = codec_->traits().votes ? 1 : 0;  // who has no opinion votes for 1
  for (const float value : round_trip(*codec_, values)) ASSERT_EQ(value, expected);
}

TEST_P(AnyCodec, TakesDenormalsForSmallNumbers) {
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = std::ldexp(1.0F, -149 + static_cast<int>(i % 23));
  const Encoding encoding(*codec_, values);
  EXPECT_EQ(encoding.not_finite(), 0U);
  if (GetParam() == "two_bit:levels=fixed" || codec_->traits().votes) return;
  for (const float value : decoded(*codec_, encoding.code(), values.size())) {
    ASSERT_LE(std::abs(value), 1e-36F);
  }
}

TEST_P(AnyCodec, CountsWhatIsNotFiniteAndSparesTheRest) {
  const std::vector<float> clean = gaussian(2000, 8);
  std::vector<float> values = clean;
  values[0] = INFINITY;
  values[999] = std::nanf("");
  values[1000] = -INFINITY;
  values[1999] = -std::nanf("");
  const Encoding encoding(*codec_, values);
  EXPECT_EQ(encoding.not_finite(), 4U);
  EXPECT_TRUE(codec_->check(encoding.code(), values.size()));
  const std::vector<float> back = decoded(*codec_, encoding.code(), values.size());
  for (const size_t i : {0U, 999U, 1000U, 1999U}) {
    values[i] = 0;
    EXPECT_EQ(std::isfinite(back[i]), !is_cast(GetParam())) << i;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) {
      ASSERT_TRUE(std::isfinite(back[i]) && std::abs(back[i]) < 1e4F) << i;
    }
  }
}

TEST_P(AnyCodec, SurvivesTheExtremes) {
  const float most = std::numeric_limits<float>::max();
  for (const float value : {most, INFINITY, std::nanf(""), 1e-45F}) {
    std::vector<float> values(1500, value);
    for (size_t i = 0; i < values.size(); i += 2) values[i] = -value;
    const Encoding encoding(*codec_, values);
    if (!std::isfinite(value)) {
      EXPECT_EQ(encoding.not_finite(), values.size());
    }
    EXPECT_TRUE(codec_->check(encoding.code(), values.size())) << value;
    for (const float back : decoded(*codec_, encoding.code(), values.size())) {
      if (!is_cast(GetParam())) {
        ASSERT_TRUE(std::isfinite(back)) << value;
      }
    }
  }
}

// Whatever the bytes are, nothing beyond the spans is touched (the address sanitizer looks).
TEST_P(AnyCodec, SurvivesHostileCodes) {
  std::mt19937 generator(9);
  for (int k = 0; k < 300; ++k) {
    const size_t count = generator() % 1200;
    std::vector<std::byte> code(generator() % 4 == 0 ? generator() % 2000
                                                     : codec_->bytes_max(count));
    for (std::byte& byte : code) byte = static_cast<std::byte>(generator());
    const Status sound = codec_->check(code, count);
    if (!sound) {
      EXPECT_EQ(sound.code(), Code::kMismatch);
    }
    std::vector<float> into(count);
    codec_->decode(code, into);
    codec_->add(code, 0.5F, into);
  }
  // One byte of a sound code at a time.
  const Encoding encoding(*codec_, gaussian(300));
  for (size_t i = 0; i < encoding.code().size(); ++i) {
    std::vector<std::byte> code = encoding.bytes();
    code[i] = ~code[i];
    std::vector<float> into(300);
    if (codec_->check(code, 300)) codec_->decode(code, into);
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, AnyCodec, testing::ValuesIn(some_codecs()), test_name);

TEST(Codecs, AreListedWithTheirParameters) {
  EXPECT_FALSE(codecs().empty());
  for (const CodecInfo& info : codecs()) {
    EXPECT_FALSE(info.name.empty() || info.summary.empty());
    EXPECT_TRUE(make_codec(std::string(info.name) + ":")) << info.name;
  }
}

void expect_refused(const std::string& text, std::initializer_list<const char*> words) {
  const auto made = make_codec(text);
  ASSERT_FALSE(made) << text;
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  for (const char* word : words) {
    EXPECT_NE(made.status().message().find(word), std::string::npos)
        << word << " is not in: " << made.status().message();
  }
}

TEST(Codecs, SayWhatThereIs) {
  expect_refused("", {"no codec is called ''", "fp16", "int8", "two_bit"});
  expect_refused("int9", {"int9", "int8"});
  expect_refused("INT8", {"INT8"});
  expect_refused("fp16:block=2", {"block=2", "codec fp16", "it has none"});
  expect_refused("int8:blok=64", {"blok=64", "block=256", "mode=", "rounding="});
  expect_refused("int8:block", {"'block'", "write block=VALUE"});
  expect_refused("int8:block=", {"block=\"\"", "whole number"});
  expect_refused("int8:block=-1", {"-1", "from 0 to"});
  expect_refused("int8:block=1e3", {"1e3"});
  expect_refused("int8:mode=max", {"max", "symmetric, minmax"});
  expect_refused("int8:rounding=up", {"up", "nearest, stochastic"});
  expect_refused("qsgd:levels=0", {"from 1 to 127"});
  expect_refused("qsgd:levels=128", {"from 1 to 127"});
  expect_refused("two_bit:threshold=x", {"threshold=\"x\"", "number"});
  expect_refused("two_bit:threshold=nan", {"nan"});
  expect_refused("two_bit:threshold=0", {"threshold"});
  expect_refused("thc:block=1000", {"power of two", "give 512"});
  expect_refused("thc:bits=5", {"from 2 to 4"});
  expect_refused("dct:chunk=4,keep=17", {"17", "16"});
  expect_refused("count_sketch:rows=4", {"median", "odd"});
}

TEST(Codecs, HaveOneNameForOneMeaning) {
  EXPECT_EQ(codec_of("int8")->name(), "int8:block=256,mode=symmetric,rounding=nearest");
  EXPECT_EQ(codec_of("int8:rounding=nearest,block=0256")->name(), codec_of("int8")->name());
  EXPECT_EQ(codec_of("two_bit:threshold=0.60")->name(), codec_of("two_bit")->name());
  expect_refused("int8:block=7,block=256", {"twice"});
  EXPECT_NE(codec_of("int8:block=64")->identity(), codec_of("int8")->identity());
  EXPECT_EQ(codec_of("fp16")->name(), "fp16");
}

}  // namespace
}  // namespace gossamer
