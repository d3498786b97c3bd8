// The gradient hook where gradients are encoded, and averages written, in the caller's memory: the
// same bits as by way of a bucket, and nothing else touched. And buckets of which one is under way
// while another is written back.

#include <barrier>
#include <cstring>
#include <limits>

#include "gossamer/feedback.h"
#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Rule = GradientHook::Rule;
using Step = GradientHook::Step;

// --- feedback with a codec -----------------------------------------------------------------------

// A codec behind feedback, over one parameter.
struct Seat {
  Seat(const std::string& codec_text, const std::string& kind, size_t elements)
      : codec(make_codec(codec_text).value()),
        feedback(make_feedback(kind, store).value()),
        count(elements),
        code(codec->bytes_max(count)),
        workspace(codec->workspace_bytes(count)) {
    EXPECT_TRUE(feedback->arrange(std::vector<StateBucket>{{{1, 0, count}}}));
  }
  StateStore store;
  std::unique_ptr<Codec> codec;
  std::unique_ptr<Feedback> feedback;
  size_t count;
  std::vector<std::byte> code;
  std::vector<std::byte> workspace;
};

TEST(FeedbackInOne, HasTheBitsOfItsThreeSteps) {
  for (const char* codec : {"sign", "sign:block=33", "sign:block=0", "topk:ratio=0.01", "one_bit",
                            "int8:block=20000", "int4:rounding=stochastic", "mxfp4"}) {
    for (const char* kind : {"ef14", "ef14:decay=0.9", "ef21", "dgc:clip=1"}) {
      for (const size_t count : {size_t{1}, size_t{8192}, size_t{40'007}}) {
        Seat one(codec, kind, count);
        Seat three(codec, kind, count);
        std::vector<float> scratch(one.feedback->scratch_count(count));
        std::vector<float> values(count), decoded(count);
        for (uint64_t t = 0; t < 3; ++t) {
          const auto row = gaussian_rows(1, count, 7 + t);
          const std::vector<float> gradient(row.begin(), row.end());
          const Draws draws{.own = t + 3, .shared = t};
          std::vector<float> lent = gradient;
          const Encoded made =
              one.feedback->encode(0, lent, *one.codec, draws, one.code, scratch, one.workspace);
          EXPECT_EQ(lent, gradient);
          three.feedback->compensate(0, gradient, values);
          const Encoded as = three.codec->encode(values, draws, three.code, three.workspace);
          three.codec->decode(std::span(three.code).first(as.bytes), decoded);
          three.feedback->settle(0, values, decoded);
          EXPECT_EQ(made.bytes, as.bytes);
          EXPECT_EQ(made.not_finite, as.not_finite);
          EXPECT_EQ(one.code, three.code) << codec << ", " << kind << ", " << count;
          one.store.commit();
          three.store.commit();
          ASSERT_EQ(one.store.save(), three.store.save()) << codec << ", " << kind << ", " << count;
        }
      }
    }
  }
}

// --- in place ------------------------------------------------------------------------------------

// Longer than what is worked on at a time, and shorter.
Model long_layers(DataType type) {
  return {{"a", {97, 211}, type}, {"b", {37, 61}, type}, {"c", {64, 128}, type}};
}

// A hook that shows its buckets to somebody, who only looks: gradients go by way of them.
Options shown(Options options) {
  const auto look = [](const GradientHook::BucketView& /*bucket*/, void* /*context*/) {
    return Status::ok();
  };
  options.callbacks = {{nullptr, look, nullptr}};
  return options;
}

// Iterations 0 to 3, in which parameters are skipped, with somewhere to put the average and not.
std::vector<Values> run_skipping(GradientHook& hook, const Model& model, Rank rank) {
  std::vector<Values> all;
  for (uint64_t t = 0; t < 4; ++t) {
    std::vector<Values> gradients = gradients_of(model, rank, t);
    for (size_t p = 0; p < model.size(); ++p) {
      const bool skips = p == 1 && t > 0 && rank == static_cast<Rank>(t % kRanks);
      void* const into = t == 2 ? nullptr : gradients[p].data();
      EXPECT_TRUE(skips ? hook.skip_at(p, into) : hook.ready_at(p, gradients[p].data()));
    }
    const Result<Step> step = hook.wait();
    EXPECT_TRUE(step) << step.status().to_string();
    for (Values& values : gradients) all.push_back(std::move(values));
  }
  return all;
}

TEST(HookInPlace, HasTheBitsOfBuckets) {
  const std::vector<Rule> rules = {{.codec = "sign", .feedback = "ef14"},
                                   {.codec = "topk:ratio=0.01", .feedback = "ef14"},
                                   {.codec = "topk:ratio=0.01,index=rice", .feedback = "dgc"},
                                   {.codec = "topk:ratio=0.01", .feedback = "ef21"},
                                   {.codec = "int8:block=256", .feedback = "ef14"},
                                   {.codec = "topk:ratio=0.1"},
                                   {.codec = "powersgd:rank=6"}};
  for (const DataType type : {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64}) {
    const Model model = long_layers(type);
    for (const Rule& rule : rules) {
      RankGroup group(kRanks);
      group.each([&](Communicator& comm) {
        auto in_place = hook_of(comm, model, with_rule(rule));
        ASSERT_NE(in_place, nullptr);
        const auto got = run_skipping(*in_place, model, comm.rank());
        auto by_bucket = hook_of(comm, model, shown(with_rule(rule)));
        ASSERT_NE(by_bucket, nullptr);
        const auto expected = run_skipping(*by_bucket, model, comm.rank());
        EXPECT_EQ(got, expected) << rule.codec << ", " << rule.feedback;
        EXPECT_EQ(in_place->save().value(), by_bucket->save().value());
      });
    }
  }
}

TEST(HookInPlace, LeavesGradientsAsTheyAreWhereAnIterationFails) {
  const Model model = some_layers();
  for (const char* codec : {"topk:ratio=0.01", "powersgd:rank=2"}) {
    RankGroup group(kRanks);
    std::barrier all_have_ended(kRanks);
    group.each([&](Communicator& comm) {
      const std::string feedback = std::string(codec).starts_with("topk") ? "ef14" : "";
      auto hook = hook_of(comm, model, with_rule({.codec = codec, .feedback = feedback}));
      ASSERT_NE(hook, nullptr);
      Vectors gradients = random_gradients(model, comm.rank(), 0);
      ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), 0));
      all_have_ended.arrive_and_wait();
      const Vectors before = random_gradients(model, comm.rank(), 1);
      gradients = before;
      for (size_t p = 0; p < model.size(); ++p) {
        if (comm.rank() == 2) comm.abort();  // nothing is ready there
        (void)hook->ready_at(p, gradients[p].data());
      }
      EXPECT_FALSE(hook->wait());
      EXPECT_EQ(gradients, before);
    });
  }
}

// Sends everything as it is, and takes no code whose first value is 13.
class NoThirteen final : public Codec {
 public:
  CodecTraits traits() const override { return {}; }
  uint64_t bytes_max(uint64_t count) const override { return count * sizeof(float); }
  double error_max(uint64_t /*count*/) const override { return 0; }
  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    std::memcpy(code.data(), values.data(), values.size_bytes());
    return {values.size_bytes(), 0};
  }
  Status check(std::span<const std::byte> code, uint64_t /*count*/) const override {
    float first = 0;
    std::memcpy(&first, code.data(), sizeof first);
    return first == 13 ? Status::error(Code::kMismatch, "thirteen") : Status::ok();
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::memcpy(into.data(), code.data(), into.size_bytes());
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    for (size_t i = 0; i < into.size(); ++i) {
      float value = 0;
      std::memcpy(&value, &code[i * sizeof value], sizeof value);
      into[i] += factor * value;
    }
  }
};

TEST(HookInPlace, WritesNothingWhereACodeIsNone) {
  const NoThirteen codec;
  const Model model = {{"w", {40, 40}}, {"v", {40, 50}}};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, with_rule({.own = &codec}));
    ASSERT_NE(hook, nullptr);
    const float own = comm.rank() == 0 ? 1.0F : 3.0F;
    std::vector<float> w(1600, own), v(2000, own);
    if (comm.rank() == 1) v[0] = 13;
    const std::vector<float> before = v;
    ASSERT_TRUE(hook->ready("w", w.data()));
    ASSERT_TRUE(hook->ready("v", v.data()));
    expect_status(hook->wait().status(), Code::kMismatch, "thirteen");
    EXPECT_EQ(v, before);
    // The next iteration is whole.
    std::fill(w.begin(), w.end(), own);
    std::fill(v.begin(), v.end(), own);
    ASSERT_TRUE(hook->ready("w", w.data()));
    ASSERT_TRUE(hook->ready("v", v.data()));
    ASSERT_TRUE(hook->wait());
    EXPECT_EQ(w, std::vector<float>(1600, 2.0F));
    EXPECT_EQ(v, std::vector<float>(2000, 2.0F));
  });
}

// Of finite gradients; whether a bucket is shown or not, and found after the first part of it.
TEST(HookInPlace, TellsOfASumThatIsNotFinite) {
  const Model model = long_layers(DataType::kFloat32);
  for (const char* codec : {"sign", "topk:ratio=0.01", "powersgd:rank=2"}) {
    for (const bool shows : {false, true}) {
      RankGroup group(kRanks);
      group.each([&](Communicator& comm) {
        const std::string feedback = codec == std::string("powersgd:rank=2") ? "" : "ef14";
        const Options options = with_rule({.codec = codec, .feedback = feedback});
        auto hook = hook_of(comm, model, shows ? shown(options) : options);
        ASSERT_NE(hook, nullptr);
        Vectors gradients = random_gradients(model, comm.rank(), 0);
        std::fill(gradients[2].begin(), gradients[2].end(), 3e38F);
        const Result<Step> step = iterate(*hook, &gradients, comm.rank(), 0);
        ASSERT_TRUE(step) << step.status().to_string();
        EXPECT_FALSE(step->finite) << codec;
        EXPECT_EQ(step->rank, -1);
        EXPECT_EQ(step->key, "c");
      });
    }
  }
}

// A code of an infinity says something finite: that what was encoded was not is told all the same,
// by owners of sums and in a collective too.
TEST(HookOverflow, OfASumThatIsEncodedIsTold) {
  const Model model = long_layers(DataType::kFloat32);
  for (const GradientHook::Rule& rule : {GradientHook::Rule{.codec = "int8:block=256"},
                                         {.codec = "sign", .feedback = "ef14:sides=2"},
                                         {.codec = "int8", .feedback = "ef14:sides=2"}}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, model, with_rule(rule));
      ASSERT_NE(hook, nullptr);
      Vectors gradients = random_gradients(model, comm.rank(), 0);
      std::fill(gradients[2].begin(), gradients[2].end(), 3e38F);
      Result<Step> step = iterate(*hook, &gradients, comm.rank(), 0);
      ASSERT_TRUE(step) << step.status().to_string();
      EXPECT_FALSE(step->finite) << rule.codec << " " << rule.feedback;
      EXPECT_EQ(step->rank, -1);
      for (const Vectors& kept : {residuals_of(*hook, model), owned_of(*hook, model)}) {
        EXPECT_TRUE(std::all_of(kept[2].begin(), kept[2].end(), [](float x) { return x == 0; }));
      }
      gradients = random_gradients(model, comm.rank(), 1);
      step = iterate(*hook, &gradients, comm.rank(), 1);
      ASSERT_TRUE(step) << step.status().to_string();
      EXPECT_TRUE(step->finite);
    });
  }
}

// Of one rank's gradient and what it kept.
TEST(HookOverflow, OfWhatIsKeptIsToldAndNotKept) {
  const Model model = {{"w", {64, 64}}};
  const auto is_finite = [](float value) { return std::isfinite(value); };
  for (const GradientHook::Rule& rule :
       {GradientHook::Rule{.codec = "topk:ratio=0.001", .feedback = "ef14"},
        {.codec = "one_bit:column=0", .feedback = "ef14:sides=1"},
        {.codec = "one_bit:column=0", .feedback = "ef14:sides=2"}}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, model, with_rule(rule));
      ASSERT_NE(hook, nullptr);
      bool told = false;
      for (int t = 0; t < 3; ++t) {
        std::vector<float> gradient(4096);
        if (comm.rank() == 0) std::fill_n(gradient.begin(), 100, 3e38F);
        ASSERT_TRUE(hook->ready("w", gradient.data()));
        const Result<Step> step = hook->wait();
        ASSERT_TRUE(step) << step.status().to_string();
        told |= !step->finite;
        for (const Vectors& kept : {residuals_of(*hook, model), owned_of(*hook, model)}) {
          EXPECT_TRUE(std::all_of(kept[0].begin(), kept[0].end(), is_finite)) << rule.codec;
        }
      }
      EXPECT_TRUE(told) << rule.codec;
    });
  }
}

// --- one bucket after the other ------------------------------------------------------------------

// Large enough that the next one is carried on by another thread while this one is written back.
TEST(HookBuckets, FollowEachOtherWhileAveragesAreWrittenBack) {
  const Model model = {
      {"a", {700, 500}}, {"b", {600, 500}}, {"c", {900, 400}}, {"d", {10}}, {"e", {400, 1000}}};
  for (const char* transport : {"loopback", "shm", "tcp"}) {
    for (const bool coded : {false, true}) {
      RankGroup group(kRanks, transport);
      std::vector<std::vector<Values>> all(kRanks);
      group.each([&](Communicator& comm) {
        Options options;
        options.bucket_bytes_max = 1'500'000;
        if (coded) options.rules = {{.codec = "int8:block=256"}};
        auto hook = hook_of(comm, model, options);
        ASSERT_NE(hook, nullptr);
        EXPECT_EQ(hook->buckets().size(), 5U - (coded ? 0U : 1U));
        for (uint64_t t = 0; t < 4; ++t) {
          std::vector<Values>& gradients = all[static_cast<size_t>(comm.rank())];
          const Result<Step> step = iterate_model(*hook, model, comm.rank(), t, &gradients);
          ASSERT_TRUE(step) << step.status().to_string();
          if (!coded) expect_averages(model, gradients, kRanks, t);
        }
      });
      for (size_t r = 1; r < kRanks; ++r) EXPECT_EQ(all[r], all[0]);
    }
  }
}

// And where the communicator ends in the middle, all of them end.
TEST(HookBuckets, EndTogetherWithTheCommunicator) {
  const Model model = {{"a", {700, 500}}, {"b", {600, 500}}, {"c", {900, 400}}};
  for (const char* codec : {"", "int8:block=256"}) {
    RankGroup group(kRanks), other(kRanks);
    group.each([&](Communicator& comm) {
      Options options;
      options.bucket_bytes_max = 1'500'000;
      options.overlap = false;
      if (*codec != '\0') options.rules = {{.codec = codec}};
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      std::vector<Values> gradients;
      ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 0, &gradients));
      gradients = gradients_of(model, comm.rank(), 1);
      for (size_t p = 0; p < model.size(); ++p) {
        ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
      }
      if (comm.rank() == 1) comm.abort();
      EXPECT_FALSE(hook->wait());
      ASSERT_TRUE(hook->rebind(other[comm.rank()]));
      ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 1, &gradients));
      if (*codec == '\0') expect_averages(model, gradients, kRanks, 1);
    });
  }
}

}  // namespace
}  // namespace gossamer
