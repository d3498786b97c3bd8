// E12: a network trained through the gradient hook learns with each codec and its feedback what it
// learns without, and not without the feedback. Expectations are those of a comparison in numpy of
// the same task (dense: loss 0.003, accuracy 96.1 %). GOSSAMER_SOAK=1: all 16 epochs, three seeds.
//
// ctest: TIMEOUT 1800

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "perf/training.h"
#include "tests/gossamer_command.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

Trained mean_of_seeds(const TrainingMethod& method, int seeds, size_t epochs) {
  Trained mean;
  for (int seed = 0; seed < seeds; ++seed) {
    Training training;
    training.epochs = epochs;
    training.seed = static_cast<uint64_t>(seed);
    const Result<Trained> trained = train(training, method);
    EXPECT_TRUE(trained) << method.name << ": " << trained.status().to_string();
    if (!trained) return mean;
    mean.train.loss += trained->train.loss / seeds;
    mean.test.accuracy += 100 * trained->test.accuracy / seeds;
    mean.last_bytes_per_step += trained->last_bytes_per_step / seeds;
    mean.steps = trained->steps;
  }
  std::printf("%-24s loss %.4f  accuracy %.2f %%  %.0f bytes per step\n", method.name.c_str(),
              mean.train.loss, mean.test.accuracy, mean.last_bytes_per_step);
  return mean;
}

Trained mean_of_seeds(const std::string& name, int seeds, size_t epochs) {
  for (const TrainingMethod& method : training_methods()) {
    if (method.name == name) return mean_of_seeds(method, seeds, epochs);
  }
  ADD_FAILURE() << "no method " << name;
  return {};
}

// The scaled sign as it is published: of 0 it is 0, which the bit of codec `sign` cannot say, and
// where units rest many gradients are 0. A byte per element, as only what is learned counts here.
class SignOrZero final : public Codec {
 public:
  CodecTraits traits() const override { return {.needs_feedback = true}; }
  uint64_t bytes_max(uint64_t count) const override { return sizeof(float) + count; }
  double error_max(uint64_t /*count*/) const override { return 1; }
  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> /*workspace*/) const override {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += std::abs(static_cast<double>(values[i]));
      const int sign = (values[i] > 0 ? 1 : 0) - (values[i] < 0 ? 1 : 0);
      code[sizeof(float) + i] = static_cast<std::byte>(sign);
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(values.size()));
    std::memcpy(code.data(), &mean, sizeof mean);
    return {.bytes = bytes_max(values.size())};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (code.size() == bytes_max(count)) return Status::ok();
    return Status::error(Code::kMismatch, "of another length");
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    std::fill(into.begin(), into.end(), 0.0F);
    add(code, 1, into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    float mean = 0;
    std::memcpy(&mean, code.data(), sizeof mean);
    for (size_t i = 0; i < into.size(); ++i) {
      into[i] += factor * mean * static_cast<float>(static_cast<int8_t>(code[sizeof mean + i]));
    }
  }
};

TEST(Training, LearnsTheSameWithFeedback) {
  const int seeds = times(1, 3);
  const auto epochs = static_cast<size_t>(times(5, 16));
  const Trained dense = mean_of_seeds("dense", seeds, epochs);
  EXPECT_EQ(dense.steps, 64 * epochs);
  EXPECT_GT(dense.test.accuracy, 95);
  const std::vector<std::string> sample = {"int8", "sign + EF", "DGC 0.1 %, warm-up",
                                           "PowerSGD rank 2"};
  const std::vector<std::string> all = {"bf16",
                                        "int8",
                                        "qsgd 4 bits",
                                        "1-bit + EF",
                                        "1-bit + EF, by owners",
                                        "sign + EF",
                                        "sign + EF, by owners",
                                        "DGC 0.1 %, warm-up",
                                        "top-0.1 % + EF, warm-up",
                                        "PowerSGD rank 1",
                                        "PowerSGD rank 2",
                                        "PowerSGD rank 4"};
  for (const std::string& name : soaking() ? all : sample) {
    const Trained trained = mean_of_seeds(name, seeds, epochs);
    EXPECT_GT(trained.test.accuracy, dense.test.accuracy - times(3, 1)) << name;
    EXPECT_LT(trained.last_bytes_per_step, dense.last_bytes_per_step * 1.02) << name;
    if (!soaking()) continue;
    // Where owners encode sums once more, that costs something too.
    const bool crude = name == "PowerSGD rank 1" || name.ends_with("by owners");
    EXPECT_LT(trained.train.loss, crude ? 0.06 : 0.03) << name;
    if (name.starts_with("DGC")) {
      EXPECT_LT(trained.train.loss, 0.012);
    }
  }
}

// The controls: what is dropped and not made up for is missed.
TEST(Training, LearnsLessWithoutFeedback) {
  const int seeds = times(1, 3);
  const auto epochs = static_cast<size_t>(times(5, 16));
  const Trained with = mean_of_seeds("top-0.1 % + EF, warm-up", seeds, epochs);
  const Trained without = mean_of_seeds("top-0.1 %, no EF", seeds, epochs);
  EXPECT_LT(without.test.accuracy, with.test.accuracy - 4);
  EXPECT_GT(without.train.loss, 3 * with.train.loss);
}

TEST(Training, LearnsLessFromSignsWithoutFeedback) {
  const int seeds = times(1, 3);
  const auto epochs = static_cast<size_t>(times(5, 16));
  const SignOrZero published;
  const TrainingMethod feedback{
      .name = "sign or zero + EF", .codec = "", .feedback = "ef14:sides=1", .own = &published};
  const TrainingMethod none{
      .name = "sign or zero, no EF", .codec = "", .feedback = "", .own = &published};
  const Trained with = mean_of_seeds(feedback, seeds, epochs);
  const Trained without = mean_of_seeds(none, seeds, epochs);
  EXPECT_GT(without.train.loss, times(1, 3) * with.train.loss);
  if (!soaking()) return;  // few units rest yet
  EXPECT_LT(without.test.accuracy, with.test.accuracy - 2);
  // What `sign` makes of zeros costs less, but is no substitute for feedback.
  const Trained ours = mean_of_seeds("sign, no EF", seeds, epochs);
  const Trained ours_with = mean_of_seeds("sign + EF", seeds, epochs);
  EXPECT_LT(ours.test.accuracy, ours_with.test.accuracy - 0.5);
  EXPECT_GT(ours.train.loss, 5 * ours_with.train.loss);
}

// Logistic regression for one epoch, with every codec there is.
TEST(Training, LearnsWithEveryCodec) {
  Training training;
  training.epochs = 1;
  training.widths = {TrainingData::kDimensions, TrainingData::kClasses};
  const TrainingData data = TrainingData::make(training.seed + 1);
  const double before =
      Network(training.widths, training.seed + 77).score(data.train, data.train_labels).loss;
  for (const CodecInfo& info : codecs()) {
    const std::string name(info.name);
    const auto codec = make_codec(name);
    // Steps of another length: votes say no more than a direction, and estimates may be far off.
    if (std::isinf((*codec)->error_max(TrainingData::kDimensions))) continue;
    const bool loses = (*codec)->traits().needs_feedback;
    const TrainingMethod method{
        .name = name, .codec = name, .feedback = loses ? "ef14" : "", .vectors_too = true};
    const Result<Trained> trained = train(training, method);
    ASSERT_TRUE(trained) << name << ": " << trained.status().to_string();
    EXPECT_LT(trained->train.loss, 0.9 * before) << name;
  }
}

// The same seed gives the same numbers, bit for bit.
TEST(Training, IsReproducible) {
  Training training;
  training.epochs = 1;
  training.widths = {TrainingData::kDimensions, TrainingData::kClasses};
  const TrainingMethod method{.name = "qsgd", .codec = "qsgd:levels=7", .feedback = ""};
  const Result<Trained> first = train(training, method);
  const Result<Trained> second = train(training, method);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->train.loss, second->train.loss);
  EXPECT_EQ(first->test.accuracy, second->test.accuracy);
  training.seed = 5;
  EXPECT_NE(train(training, method)->train.loss, first->train.loss);
}

// Gradients by hand against differences of the loss.
TEST(Training, HasGradientsThatAreTheLosss) {
  const TrainingData data = TrainingData::make(3, 64, 1);
  Network network({TrainingData::kDimensions, 16, 12, TrainingData::kClasses}, 4);
  network.gradients(data.train, data.train_labels);
  for (Network::Layer& layer : network.layers()) {
    const std::vector<float> weight_gradient = layer.weight_gradient;
    const std::vector<float> bias_gradient = layer.bias_gradient;
    const auto slope = [&](float* value) {
      constexpr float kStep = 1e-3F;
      const float kept = *value;
      *value = kept + kStep;
      const double above = network.score(data.train, data.train_labels).loss;
      *value = kept - kStep;
      const double below = network.score(data.train, data.train_labels).loss;
      *value = kept;
      return (above - below) / (2 * static_cast<double>(kStep));
    };
    for (const size_t i : {size_t{0}, layer.weights.size() / 2, layer.weights.size() - 1}) {
      EXPECT_NEAR(weight_gradient[i], slope(&layer.weights[i]), 2e-3);
    }
    EXPECT_NEAR(bias_gradient[3], slope(&layer.biases[3]), 2e-3);
  }
}

using TrainLab = CommandTest;

TEST_F(TrainLab, TellsWhatItsMethodsAre) {
  const Outcome listed = run("train-lab --list");
  EXPECT_EQ(listed.code, 0) << listed.text();
  for (const TrainingMethod& method : training_methods()) {
    EXPECT_TRUE(listed.says(method.name) && listed.says(method.codec)) << method.name;
  }
  const Outcome none = run("train-lab --only frob");
  EXPECT_EQ(none.code, 2) << none.text();
  EXPECT_TRUE(none.says("no method's name contains 'frob'")) << none.text();
}

TEST_F(TrainLab, TrainsWithTheCodecGiven) {
  const std::string brief = "train-lab --regression --epochs 1 --seeds 1 ";
  const Outcome one = run(brief + "--codec topk:ratio=0.05 --feedback dgc --rest-codec bf16");
  EXPECT_EQ(one.code, 0) << one.text();
  EXPECT_TRUE(one.says("\ndense ") && one.says("\ntopk:ratio=0.05 + dgc ")) << one.text();
  EXPECT_NE(run(brief + "--codec frob").code, 0);
  EXPECT_EQ(run(brief + "--feedback dgc").code, 2);
  EXPECT_EQ(run(brief + "--rest-codec bf16").code, 2);
}

TEST(Training, RefusesWhatIsNoStep) {
  Training training;
  training.batch = 5000;
  EXPECT_EQ(train(training, training_methods()[0]).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace gossamer
