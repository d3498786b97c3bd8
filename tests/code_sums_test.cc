// Sums of codes that nobody decodes before: what every codec that has some promises, and what a
// hostile one does.

#include "gossamer/code_sums.h"

#include <functional>

#include "tests/some_codecs.h"

namespace gossamer {
namespace {

std::vector<std::string> adding_codecs() {
  std::vector<std::string> texts;
  for (const std::string& text : some_codecs()) {
    const auto codec = make_codec(text);
    if (codec && (*codec)->sums() != nullptr) texts.push_back(text);
  }
  return texts;
}

// What ranks do with their runs, one after another.
class Ranks {
 public:
  Ranks(const Codec& codec, std::vector<std::vector<float>> runs)
      : codec_(codec), sums_(*codec.sums()), runs_(std::move(runs)) {
    numbers_.resize(sums_.agreed_count(count()));
    for (const std::vector<float>& run : runs_) {
      std::vector<float> mine(numbers_.size(), -1);
      sums_.measure(run, mine);
      for (size_t i = 0; i < mine.size(); ++i) {
        EXPECT_TRUE(std::isfinite(mine[i]) && mine[i] >= 0);
        numbers_[i] = std::max(numbers_[i], mine[i]);
      }
    }
    for (size_t r = 0; r < runs_.size(); ++r) codes_.push_back(code_of(runs_[r], r + 1, 7));
  }

  uint64_t count() const { return runs_[0].size(); }
  uint32_t size() const { return static_cast<uint32_t>(runs_.size()); }
  const std::vector<std::byte>& code(size_t rank) const { return codes_[rank]; }

  std::vector<std::byte> code_of(const std::vector<float>& run, uint64_t own,
                                 uint64_t shared) const {
    std::vector<std::byte> code(codec_.bytes_max(run.size()) + 1, std::byte{0xa5});
    std::vector<std::byte> workspace(codec_.workspace_bytes(run.size()) + 1);
    const std::span<std::byte> place = std::span(code).subspan(1);
    const Encoded made = sums_.encode_agreed(run, numbers_, {own, shared, 0}, place,
                                             std::span(workspace).subspan(1));
    EXPECT_EQ(made.bytes, place.size());
    EXPECT_TRUE(codec_.check(place, run.size()));
    return {code.begin() + 1, code.end()};
  }

  // Added in this order, at an address that is aligned to nothing.
  std::vector<std::byte> sum(const std::vector<size_t>& order) const {
    std::vector<std::byte> memory(sums_.sum_bytes(count(), size()) + 2, std::byte{0xa5});
    const std::span<std::byte> place = std::span(memory).subspan(1, memory.size() - 2);
    sums_.begin_sum(codes_[order[0]], count(), size(), place);
    for (size_t i = 1; i < order.size(); ++i) {
      const Status added = sums_.add_code(codes_[order[i]], count(), size(), place);
      EXPECT_TRUE(added) << added.to_string();
    }
    EXPECT_EQ(memory.front(), std::byte{0xa5});
    EXPECT_EQ(memory.back(), std::byte{0xa5});
    return {place.begin(), place.end()};
  }
  std::vector<std::byte> sum() const {
    std::vector<size_t> order(runs_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    return sum(order);
  }

  std::vector<float> decoded(std::span<const std::byte> sum) const {
    std::vector<float> values(count(), std::nanf(""));
    sums_.decode_sum(sum, size(), values);
    return values;
  }
  std::vector<float> sum_of_decoded() const {
    std::vector<float> values(count());
    for (const std::vector<std::byte>& code : codes_) codec_.add(code, 1, values);
    return values;
  }
  std::vector<float> exact() const {
    std::vector<float> values(count());
    for (const std::vector<float>& run : runs_) {
      for (size_t i = 0; i < count(); ++i) values[i] += run[i];
    }
    return values;
  }

 private:
  const Codec& codec_;
  const CodeSums& sums_;
  std::vector<std::vector<float>> runs_;
  std::vector<float> numbers_;
  std::vector<std::vector<std::byte>> codes_;
};

std::vector<std::vector<float>> gaussian_runs(uint32_t ranks, size_t count) {
  std::vector<std::vector<float>> runs;
  for (uint32_t r = 0; r < ranks; ++r) {
    runs.push_back(gaussian(count, r + 1));
    for (float& value : runs.back()) value *= static_cast<float>(r + 1);  // scales differ
  }
  return runs;
}

bool is_linear(const std::string& text) {
  return !text.starts_with("count_sketch") && text.find("senders") == std::string::npos;
}

class AddingCodec : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { codec_ = codec_of(GetParam()); }
  const CodeSums& sums() const { return *codec_->sums(); }
  std::unique_ptr<Codec> codec_;
};
INSTANTIATE_TEST_SUITE_P(Codecs, AddingCodec, testing::ValuesIn(adding_codecs()), test_name);

TEST_P(AddingCodec, SumsDecodeToWhatTheSumOfDecodedRunsIs) {
  for (const uint32_t ranks : {1U, 2U, 5U, 9U, 300U}) {
    for (const size_t count : {size_t{1}, size_t{63}, size_t{1000}, size_t{5003}}) {
      if (ranks == 300 && count > 1000) continue;
      const Ranks all(*codec_, gaussian_runs(ranks, count));
      const std::vector<std::byte> sum = all.sum();
      ASSERT_EQ(sum.size(), sums().sum_bytes(count, ranks));
      ASSERT_TRUE(sums().check_sum(sum, count, ranks)) << ranks << " ranks, " << count;
      const std::vector<float> values = all.decoded(sum);
      if (!is_linear(GetParam())) {
        for (const float value : values) ASSERT_TRUE(std::isfinite(value));
        continue;
      }
      const std::vector<float> expected = all.sum_of_decoded();
      const double norm = squared_norm(expected) + squared_norm(all.exact());
      EXPECT_LE(squared_distance(values, expected), 1e-10 * norm) << ranks << " ranks, " << count;
    }
  }
}

TEST_P(AddingCodec, SumsOfOneCodeAreThatCode) {
  const Ranks one(*codec_, {gaussian(3001)});
  const std::vector<float> values = one.decoded(one.sum());
  const std::vector<float> expected = decoded(*codec_, one.code(0), 3001);
  EXPECT_LE(squared_distance(values, expected), 1e-12 * squared_norm(expected));
}

TEST_P(AddingCodec, TheSameCodesGiveTheSameBits) {
  const Ranks all(*codec_, gaussian_runs(6, 3001));
  EXPECT_EQ(all.sum(), all.sum());
  const bool integers = sums().agreed_count(1) > 0;
  if (integers) {  // in any order
    EXPECT_EQ(all.sum(), all.sum({5, 3, 1, 0, 2, 4}));
  }
}

TEST_P(AddingCodec, ZerosSumToZerosAndWhatIsNotFiniteSpoilsNothing) {
  const Ranks zeros(*codec_, std::vector<std::vector<float>>(4, std::vector<float>(2000)));
  for (const float value : zeros.decoded(zeros.sum())) ASSERT_EQ(value, 0);
  std::vector<std::vector<float>> runs = gaussian_runs(4, 2000);
  runs[1][0] = INFINITY;
  runs[2][1] = std::nanf("");
  runs[3][2] = std::numeric_limits<float>::denorm_min();
  const Ranks strange(*codec_, runs);
  for (const float value : strange.decoded(strange.sum())) ASSERT_LT(std::abs(value), 1e4F);
}

TEST_P(AddingCodec, HasNoBytesForNoElements) {
  EXPECT_EQ(sums().sum_bytes(0, 4), 0U);
  EXPECT_EQ(sums().agreed_count(0), 0U);
  EXPECT_TRUE(sums().check_sum({}, 0, 4));
  EXPECT_EQ(sums().check_sum({}, 100, 4).code(), Code::kMismatch);
}

TEST_P(AddingCodec, RefusesCodesThatWereMadeByOtherNumbersOrDraws) {
  const Ranks all(*codec_, gaussian_runs(2, 1000));
  std::vector<std::byte> sum(sums().sum_bytes(1000, 2));
  sums().begin_sum(all.code(0), 1000, 2, sum);
  std::vector<float> larger = gaussian(1000, 9);
  for (float& value : larger) value *= 100;
  // By numbers of its own, where there are some.
  const Encoding own(*codec_, larger, {3, 7, 0});
  const Status other_numbers = sums().add_code(own.code(), 1000, 2, sum);
  EXPECT_EQ(other_numbers.is_ok(), sums().agreed_count(1000) == 0);
  if (!other_numbers) {
    EXPECT_NE(other_numbers.message().find("agreed"), std::string::npos);
  }
  const bool draws = GetParam().starts_with("thc") || GetParam().starts_with("count_sketch");
  sums().begin_sum(all.code(0), 1000, 2, sum);
  const Status other_draws = sums().add_code(all.code_of(gaussian(1000), 3, 8), 1000, 2, sum);
  EXPECT_EQ(other_draws.is_ok(), !draws);
  if (draws) {
    EXPECT_NE(other_draws.message().find("Draws::shared"), std::string::npos);
  }
}

TEST_P(AddingCodec, SurvivesHostileSums) {
  std::mt19937 generator(11);
  for (int k = 0; k < 200; ++k) {
    const size_t count = generator() % 1200;
    const auto ranks = static_cast<uint32_t>(1 + generator() % 12);
    std::vector<std::byte> sum(generator() % 4 == 0 ? generator() % 2000
                                                    : sums().sum_bytes(count, ranks));
    for (std::byte& byte : sum) byte = static_cast<std::byte>(generator());
    const Status sound = sums().check_sum(sum, count, ranks);
    EXPECT_TRUE(sound || sound.code() == Code::kMismatch);
    std::vector<float> into(count);
    sums().decode_sum(sum, ranks, into);
    if (!sound) continue;
    for (const float value : into) ASSERT_FALSE(std::isnan(value));
  }
  // Codes that check() accepts, whatever they say, are added or refused.
  const Ranks all(*codec_, gaussian_runs(3, 300));
  for (size_t i = 0; i < all.code(0).size(); ++i) {
    std::vector<std::byte> code = all.code(1);
    code[i] = ~code[i];
    if (!codec_->check(code, 300)) continue;
    std::vector<std::byte> sum(sums().sum_bytes(300, 3));
    sums().begin_sum(all.code(0), 300, 3, sum);
    if (sums().add_code(code, 300, 3, sum)) (void)all.decoded(sum);
  }
}

TEST(CodeSums, HaveTheirSizes) {
  const auto bits = [](const std::string& text, uint32_t ranks) {
    constexpr uint64_t kCount = 1 << 20;
    return static_cast<double>(codec_of(text)->sums()->sum_bytes(kCount, ranks)) * 8 / kCount;
  };
  const double header = 64.0 / (1 << 20);
  EXPECT_EQ(bits("thc", 8), 8 + 32.0 / 1024 + header);  // 8 g = 240
  EXPECT_EQ(bits("thc", 9), 16 + 32.0 / 1024 + header);
  EXPECT_EQ(bits("thc", 2184), 16 + 32.0 / 1024 + header);
  EXPECT_EQ(bits("thc", 2185), 32 + 32.0 / 1024 + header);
  EXPECT_EQ(bits("thc:bits=2", 85), 8 + 32.0 / 1024 + header);
  EXPECT_EQ(bits("int8_shared", 1), 8 + 32.0 / 1024);
  EXPECT_EQ(bits("int8_shared", 258), 16 + 32.0 / 1024);
  EXPECT_EQ(bits("int8_shared", 259), 32 + 32.0 / 1024);
  EXPECT_EQ(bits("int8_shared:levels=15", 8), 8 + 32.0 / 1024);
  // 32 coefficients of 4096, of 8 bytes each with how many sent them.
  EXPECT_EQ(bits("dct", 4), 4 * 32 * 8 * 8 / 4096.0);
  EXPECT_EQ(bits("dct", 1000), 8 * 8);
  EXPECT_NEAR(bits("count_sketch:rows=5,ratio=0.1", 4), 3.2, 1e-3);
  EXPECT_EQ(bits("count_sketch", 400), bits("count_sketch", 4));
}

// Relative squared error of an average over ranks, E15: one scale for all of 65536 elements.
TEST(CodeSums, E15_IntegersBySharedScalesLoseWhatIsPublished) {
  const auto codec = codec_of("int8_shared:block=0");
  for (const auto& [ranks, expected] : {std::pair{4U, 1.1e-4}, {8U, 1.1e-4}, {16U, 1.5e-4}}) {
    double error = 0;
    constexpr int kTurns = 4;
    for (uint32_t turn = 0; turn < kTurns; ++turn) {
      std::vector<std::vector<float>> runs;
      for (uint32_t r = 0; r < ranks; ++r) runs.push_back(gaussian(65536, 100 * turn + r));
      const Ranks all(*codec, runs);
      const std::vector<float> exact = all.exact();
      error += squared_distance(all.decoded(all.sum()), exact) / squared_norm(exact) / kTurns;
    }
    // The largest of so many differs from run to run, and the error is its square.
    EXPECT_NEAR(error, expected, .25 * expected) << ranks;
  }
}

// The noise of ranks is independent; what is cut off is not.
TEST(CodeSums, ThcLosesLessTheMoreRanksThereAre) {
  for (const auto& [bits, noise, bias] :
       {std::tuple{4, .01306, .00727}, {3, .05732, .00727}, {2, .15371, .04185}}) {
    const auto codec = codec_of("thc:bits=" + std::to_string(bits));
    for (const uint32_t ranks : {1U, 4U, 16U}) {
      // All have the same values, so that the sum is as large as it can be.
      const std::vector<float> values = gaussian(65536, ranks);
      const Ranks all(*codec, std::vector<std::vector<float>>(ranks, values));
      const std::vector<float> exact = all.exact();
      const double error = squared_distance(all.decoded(all.sum()), exact) / squared_norm(exact);
      EXPECT_NEAR(error, noise / ranks + bias, .06 * (noise / ranks + bias))
          << bits << " " << ranks;
    }
  }
}

}  // namespace
}  // namespace gossamer
