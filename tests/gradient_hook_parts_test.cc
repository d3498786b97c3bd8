// What the gradient hook is made of, without ranks: lists, buckets, votes.

#include <cmath>
#include <limits>
#include <numeric>

#include "src/compress/hook/buckets.h"
#include "src/compress/hook/values.h"
#include "src/compress/hook/vote.h"
#include "tests/hook_model.h"

namespace gossamer {
namespace {

ParameterList list_from(const Model& model) {
  Result<ParameterList> made = ParameterList::make(model);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

std::vector<uint32_t> in_order(size_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  return order;
}

// --- lists ---------------------------------------------------------------------------------------

TEST(HookParameters, RefuseListsThatAreNone) {
  const auto refused = [](const Model& model, const std::string& part) {
    expect_status(ParameterList::make(model).status(), Code::kInvalidArgument, part);
  };
  refused({}, "no parameters");
  refused({{"a", {2}}, {"b", {2}}, {"a", {3}}}, "0 and 2 have the same key 'a'");
  refused({{"a", {2}, DataType::kInt32}}, "int32");
  refused({{"a", {2}, static_cast<DataType>(99)}}, "no known type");
  refused({{"a", {2, 0}}}, "no elements");
  refused({{"a", {UINT64_MAX, 3}}}, "larger than any memory");
  refused({{"a", {uint64_t{1} << 32, uint64_t{1} << 32}}}, "larger than any memory");
  refused({{"a", {uint64_t{1} << 45}}, {"b", {uint64_t{1} << 45}}}, "'b'");
}

TEST(HookParameters, FindByKeyAndTellDifferencesApart) {
  const ParameterList list = list_from({{"a", {2, 3}}, {"b", {}}, {"", {6}}});
  EXPECT_EQ(list.count(0), 6U);
  EXPECT_EQ(list.count(1), 1U);
  EXPECT_EQ(list.find("b").value(), 1U);
  EXPECT_EQ(list.find("").value(), 2U);
  expect_status(list.find("c").status(), Code::kInvalidArgument, "'c'");
  const auto digest = [](const GradientHook::Parameter& p) { return list_from({p}).digest(0); };
  EXPECT_EQ(digest({"a", {2, 3}}), list.digest(0));
  EXPECT_NE(digest({"a", {3, 2}}), list.digest(0));
  EXPECT_NE(digest({"a", {6}}), list.digest(0));
  EXPECT_NE(digest({"a", {2, 3}, DataType::kBfloat16}), list.digest(0));
  EXPECT_NE(digest({"b", {2, 3}}), list.digest(0));
}

// --- buckets -------------------------------------------------------------------------------------

TEST(Buckets, KeepTheirLimitsAndHoldEachParameterOnce) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<DataType> types = {DataType::kFloat32, DataType::kFloat16,
                                         DataType::kFloat8E4M3};
    const ParameterList list = list_from(some_model(1 + seed % 40, 600, seed, types));
    std::vector<uint32_t> groups(list.size());
    for (uint32_t i = 0; i < list.size(); ++i)
      groups[i] = (i * 7 + i / 3) % (1 + static_cast<uint32_t>(seed % 3));
    std::vector<uint32_t> order;
    for (const size_t p : shuffled(list.size(), seed)) order.push_back(static_cast<uint32_t>(p));
    const BucketLimits limits{2000, 500, 1 + seed % 5};
    const std::vector<Bucket> buckets = make_buckets(list, groups, order, limits);
    std::vector<int> seen(list.size(), 0);
    size_t last_before = 0;
    for (const Bucket& bucket : buckets) {
      uint64_t end = 0;
      uint32_t first_needed = UINT32_MAX;
      size_t last = 0;
      for (const Bucket::Part& part : bucket.parts) {
        ++seen[part.parameter];
        EXPECT_EQ(list.type(part.parameter), bucket.type);
        EXPECT_EQ(groups[part.parameter], bucket.group);
        EXPECT_EQ(part.count, list.count(part.parameter));
        EXPECT_GE(part.first, end);
        EXPECT_EQ(part.first * size_of(bucket.type) % 64, 0U);
        end = part.first + part.count;
        first_needed = std::min(first_needed, part.parameter);
        const auto at = std::find(order.begin(), order.end(), part.parameter) - order.begin();
        last = std::max(last, static_cast<size_t>(at));
      }
      EXPECT_LE(end, bucket.count);
      EXPECT_EQ(bucket.first_needed, first_needed);
      EXPECT_EQ(bucket.bytes() % (64 * limits.share_count), 0U);
      if (bucket.parts.size() > 1) {
        const bool first = bucket.parts[0].parameter == order[0];
        EXPECT_LE(end * size_of(bucket.type), first ? 500U : 2000U);
      }
      EXPECT_GE(last, last_before);
      last_before = last;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<ptrdiff_t>(list.size()));
  }
}

TEST(Buckets, OfAStableGroupHoldTheSameWhateverTheOrder) {
  constexpr bool kStable[] = {false, true, false};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const ParameterList list = list_from(some_model(30, 300, seed));
    std::vector<uint32_t> groups(list.size());
    for (uint32_t i = 0; i < list.size(); ++i) groups[i] = (i * 7 + i / 3) % 3;
    std::vector<std::vector<uint32_t>> before;
    for (uint64_t variant = 0; variant < 3; ++variant) {
      std::vector<uint32_t> order;
      for (const size_t p : shuffled(list.size(), seed * 3 + variant)) {
        order.push_back(static_cast<uint32_t>(p));
      }
      const auto buckets = make_buckets(
          list, groups, order,
          {.bytes_max = 2000, .first_bytes_max = 100, .share_count = 1, .stable = kStable});
      std::vector<std::vector<uint32_t>> members;
      size_t last_before = 0;
      for (const Bucket& bucket : buckets) {
        size_t last = 0;
        std::vector<uint32_t> parts;
        for (const Bucket::Part& part : bucket.parts) {
          parts.push_back(part.parameter);
          const auto at = std::find(order.begin(), order.end(), part.parameter) - order.begin();
          last = std::max(last, static_cast<size_t>(at));
        }
        EXPECT_GE(last, last_before);
        last_before = last;
        if (bucket.group == 1) members.push_back(parts);
      }
      std::sort(members.begin(), members.end());
      if (variant > 0) {
        EXPECT_EQ(members, before);
      }
      before = members;
    }
  }
}

TEST(Buckets, AreFilledAsFarAsTheyGo) {
  Model model;
  for (int i = 0; i < 100; ++i) model.push_back({std::to_string(i), {16}});
  const ParameterList list = list_from(model);
  const auto buckets =
      make_buckets(list, std::vector<uint32_t>(100, 0), in_order(100), {640, 128, 1});
  ASSERT_EQ(buckets.size(), 11U);
  EXPECT_EQ(buckets[0].parts.size(), 2U);
  EXPECT_EQ(buckets[1].parts.size(), 10U);
  EXPECT_EQ(buckets[10].parts.size(), 8U);
}

TEST(Buckets, HaveADigestOfEverythingThatMatters) {
  const ParameterList list = list_from(some_model(10, 100, 1));
  const std::vector<uint32_t> groups(10, 0);
  const auto digest = [&](std::vector<uint32_t> order, const BucketLimits& limits) {
    return digest_of(make_buckets(list, groups, order, limits));
  };
  std::vector<uint32_t> swapped = in_order(10);
  std::swap(swapped[0], swapped[9]);
  const uint64_t plain = digest(in_order(10), {4000, 4000, 1});
  EXPECT_EQ(plain, digest(in_order(10), {4000, 4000, 1}));
  EXPECT_NE(plain, digest(swapped, {4000, 4000, 1}));
  EXPECT_NE(plain, digest(in_order(10), {4000, 4000, 7}));
  EXPECT_NE(plain, digest(in_order(10), {400, 400, 1}));
}

// --- votes ---------------------------------------------------------------------------------------

// A board as if `ranks` had voted, seen by rank 0: ready[r] are the parameters that rank r has.
struct Board {
  explicit Board(size_t parameters, const std::vector<std::vector<size_t>>& ready)
      : votes(0, static_cast<Rank>(ready.size()), parameters) {
    for (size_t r = ready.size(); r-- > 0;) {
      VoteBoard other(static_cast<Rank>(r), static_cast<Rank>(ready.size()), parameters);
      other.clear(3, 17);
      for (const size_t p : ready[r]) other.set_ready(p, true);
      copy(other, r);
    }
  }
  void copy(VoteBoard& other, size_t r) {
    const uint64_t at = r * votes.bytes_per_rank();
    std::copy_n(other.bytes().begin() + static_cast<ptrdiff_t>(at), votes.bytes_per_rank(),
                votes.bytes().begin() + static_cast<ptrdiff_t>(at));
  }
  VoteBoard votes;
};

std::vector<Bucket> buckets_of_one(size_t count) {
  Model model;
  for (size_t i = 0; i < count; ++i) model.push_back({std::to_string(i), {16}});
  std::vector<uint32_t> reversed(count);
  std::iota(reversed.rbegin(), reversed.rend(), 0U);
  return make_buckets(list_from(model), std::vector<uint32_t>(count, 0), reversed, {64, 64, 1});
}

std::vector<uint32_t> launches_of(const Board& board, const std::vector<Bucket>& buckets,
                                  const std::vector<bool>& launched) {
  std::vector<uint32_t> launches;
  choose_launches(board.votes, buckets, launched, &launches);
  return launches;
}

// Buckets 0..3 hold parameters 3..0.
TEST(Votes, LetTheBucketGoThatIsNeededFirstAmongThoseReadyEverywhere) {
  const std::vector<Bucket> buckets = buckets_of_one(4);
  ASSERT_EQ(buckets[0].parts[0].parameter, 3U);
  using List = std::vector<uint32_t>;
  const std::vector<bool> none(4, false);
  EXPECT_EQ(launches_of(Board(4, {{3}, {3}}), buckets, none), List({0}));
  EXPECT_EQ(launches_of(Board(4, {{3, 2, 1}, {3, 1}}), buckets, none), List({2}));
  EXPECT_EQ(launches_of(Board(4, {{3, 1}, {3, 2}}), buckets, none), List({0}));
  EXPECT_EQ(launches_of(Board(4, {{3, 2, 1}, {3, 2, 1}}), buckets, {false, false, true, false}),
            List({1}));
  // Nothing can come any more: all of them.
  EXPECT_EQ(launches_of(Board(4, {{3, 2, 1, 0}, {3, 2, 1, 0}}), buckets, none), List({3, 2, 1, 0}));
  EXPECT_EQ(launches_of(Board(4, {{3, 2, 0}, {3, 2, 0}}), buckets, {false, false, true, false}),
            List({3, 1, 0}));
}

TEST(Votes, CountContributionsAndTellWhoFailed) {
  const ParameterList list = list_from(some_model(11, 10, 2));
  Board board(11, {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, {0, 1}, {}});
  EXPECT_EQ(board.votes.contributors(1), 2U);
  EXPECT_EQ(board.votes.contributors(10), 1U);
  EXPECT_TRUE(board.votes.check());
  EXPECT_EQ(board.votes.first_failed(), -1);
  VoteBoard other(1, 3, 11);
  other.clear(3, 17);
  other.set_ready(0, false);
  for (size_t p = 2; p < 11; ++p) other.set_ready(p, p != 5);
  other.set_not_finite(7);
  other.set_failure(Code::kTimeout);
  board.copy(other, 1);
  EXPECT_EQ(board.votes.contributors(0), 1U);
  EXPECT_TRUE(board.votes.ready(1, 5));
  EXPECT_FALSE(board.votes.contributes(1, 5));
  size_t parameter = 0;
  EXPECT_EQ(board.votes.first_not_finite(&parameter), 1);
  EXPECT_EQ(parameter, 7U);
  EXPECT_EQ(board.votes.first_failed(), 1);
  expect_status(board.votes.describe_failure(list), Code::kTimeout, "'layer1'");
  EXPECT_EQ(board.votes.describe_failure(list).rank(), 1);
  other.clear(4, 17);
  board.copy(other, 1);
  expect_status(board.votes.check(), Code::kMismatch, "iteration 4");
  other.clear(3, 18);
  board.copy(other, 1);
  expect_status(board.votes.check(), Code::kMismatch, "other buckets");
}

// --- values --------------------------------------------------------------------------------------

TEST(HookValues, SeeWhatIsNotFiniteAtAnyPlace) {
  for (const DataType type : {DataType::kFloat64, DataType::kFloat32, DataType::kFloat16,
                              DataType::kBfloat16, DataType::kFloat8E5M2, DataType::kFloat8E4M3}) {
    for (const uint64_t count : {1U, 3U, 100U, 40'000U}) {
      Values from(type, count);
      for (uint64_t i = 0; i < count; ++i) from.set(i, i % 2 == 0 ? -448 : 440);  // e4m3's largest
      Values into(type, count);
      const auto* const values = static_cast<const std::byte*>(from.data());
      EXPECT_TRUE(copy_finite(type, static_cast<std::byte*>(into.data()), values, count));
      EXPECT_EQ(into, from);
      for (const double bad : {std::numeric_limits<double>::infinity(), -std::nan("")}) {
        for (const uint64_t at : {uint64_t{0}, count / 2, count - 1}) {
          const double good = from.get(at);
          from.set(at, bad);
          EXPECT_FALSE(copy_finite(type, static_cast<std::byte*>(into.data()), values, count));
          EXPECT_FALSE(all_finite(type, values, count));
          from.set(at, good);
        }
      }
    }
  }
}

TEST(HookValues, AreDividedOnce) {
  Values from(DataType::kFloat32, 50'000), into(DataType::kFloat32, 50'000);
  for (uint64_t i = 0; i < 50'000; ++i) from.set(i, static_cast<double>(i) + 1);
  auto* const target = static_cast<std::byte*>(into.data());
  const auto* const values = static_cast<const std::byte*>(from.data());
  EXPECT_TRUE(divide_finite(DataType::kFloat32, target, values, 50'000, {.divide = 3}));
  for (uint64_t i = 0; i < 50'000; ++i) {
    ASSERT_EQ(into.get(i), static_cast<float>(i + 1) / 3.0F);
  }
  EXPECT_TRUE(divide_finite(DataType::kFloat32, target, values, 50'000, {.times = 0.5}));
  EXPECT_EQ(into.get(7), 4);
  EXPECT_FALSE(divide_finite(DataType::kFloat32, target, values, 50'000, {.times = 1e35}));
}

}  // namespace
}  // namespace gossamer
