// E7: where signs alone go astray, and error feedback does not. Counterexamples of Karimireddy,
// Rebjock, Stich and Jaggi, "Error feedback fixes SignSGD and other gradient compression schemes",
// ICML 2019.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "gossamer/feedback.h"

namespace gossamer {
namespace {

enum class Way { kSgd, kSign, kScaledSign, kFeedback };

// Makes steps of gradients that have been multiplied by the rate.
class Stepper {
 public:
  Stepper(Way way, size_t width) : way_(way), values_(width), decoded_(width) {
    codec_ = make_codec("sign").value();
    code_.resize(codec_->bytes_max(width));
    workspace_.resize(codec_->workspace_bytes(width));
    feedback_ = make_feedback("ef14", store_).value();
    EXPECT_TRUE(feedback_->arrange(std::vector<StateBucket>{{{1, 0, width}}}));
  }
  void step(const std::vector<double>& gradient, double rate, std::vector<double>* x) {
    for (size_t i = 0; i < values_.size(); ++i) {
      const double g = way_ == Way::kSign ? (gradient[i] < 0 ? -1 : 1) : gradient[i];
      values_[i] = static_cast<float>(rate * g);
    }
    if (way_ == Way::kFeedback) feedback_->compensate(0, values_, values_);
    decoded_ = values_;
    if (way_ != Way::kSgd) {
      const Encoded made = codec_->encode(values_, {}, code_, workspace_);
      codec_->decode(std::span(code_).first(made.bytes), decoded_);
    }
    if (way_ == Way::kFeedback) {
      feedback_->settle(0, values_, decoded_);
      store_.commit();
    }
    for (size_t i = 0; i < values_.size(); ++i) (*x)[i] -= static_cast<double>(decoded_[i]);
  }

 private:
  Way way_;
  StateStore store_;
  std::unique_ptr<Feedback> feedback_;
  std::unique_ptr<Codec> codec_;
  std::vector<float> values_;
  std::vector<float> decoded_;
  std::vector<std::byte> code_;
  std::vector<std::byte> workspace_;
};

double sign_of(double value) {
  return value < 0 ? -1 : 1;
}

// (a) In [-1, 1], gradient 4 with probability 1/4 and -1 else: the mean leads to -1, signs to 1.
TEST(Sign, E7aFollowsTheMajorityOfGradients) {
  const auto mean_of = [](Way way) {
    Stepper stepper(way, 1);
    std::mt19937_64 generator(3);
    std::vector<double> x = {0};
    double sum = 0;
    for (int t = 1; t <= 20'000; ++t) {
      const double g = generator() % 4 == 0 ? 4 : -1;
      stepper.step({g}, 0.05 / std::sqrt(t), &x);
      x[0] = std::clamp(x[0], -1.0, 1.0);
      if (t > 10'000) sum += x[0] / 10'000;
    }
    return sum;
  };
  EXPECT_NEAR(mean_of(Way::kSgd), -0.996, 0.02);
  EXPECT_NEAR(mean_of(Way::kSign), 1, 0.02);
  EXPECT_NEAR(mean_of(Way::kFeedback), -0.997, 0.02);
}

// (b) f = e |x1 + x2| + |x1 - x2|: signs of its subgradients are (1, -1) or (-1, 1).
TEST(Sign, E7bNeverLeavesALine) {
  const auto f = [](const std::vector<double>& x) {
    return 0.5 * std::abs(x[0] + x[1]) + std::abs(x[0] - x[1]);
  };
  for (const Way way : {Way::kSgd, Way::kSign, Way::kScaledSign, Way::kFeedback}) {
    Stepper stepper(way, 2);
    std::vector<double> x = {1, 1};
    double best = f(x);
    for (int t = 1; t <= 100'000; ++t) {
      const double along = 0.5 * sign_of(x[0] + x[1]);
      const double across = sign_of(x[0] - x[1]);
      stepper.step({along + across, along - across}, 0.1 / std::sqrt(t), &x);
      best = std::min(best, f(x));
    }
    if (way == Way::kSgd || way == Way::kFeedback) {
      EXPECT_LT(best, 1e-3);
      EXPECT_LT(f(x), 1e-3);
    } else {
      EXPECT_GE(best, 1 - 1e-12);
      EXPECT_NEAR(x[0] + x[1], 2, 1e-12);
    }
  }
}

// (c) f = <a1, x>^2 + <a2, x>^2, one of the two at a time: smooth, and the same line.
TEST(Sign, E7cNeverLeavesTheLineOfASmoothOneEither) {
  const double a[2][2] = {{1.5, -0.5}, {-0.5, 1.5}};
  const auto f = [&](const std::vector<double>& x) {
    double sum = 0;
    for (const auto& row : a) sum += std::pow(row[0] * x[0] + row[1] * x[1], 2);
    return sum;
  };
  for (const Way way : {Way::kSgd, Way::kSign, Way::kScaledSign, Way::kFeedback}) {
    Stepper stepper(way, 2);
    std::mt19937_64 generator(5);
    std::vector<double> x = {1, 1};
    const double first = f(x);
    EXPECT_EQ(first, 2);
    for (int t = 0; t < 5000; ++t) {
      const auto& row = a[generator() % 2];
      const double product = 2 * (row[0] * x[0] + row[1] * x[1]);
      stepper.step({product * row[0], product * row[1]}, 0.02, &x);
    }
    if (way == Way::kSgd || way == Way::kFeedback) {
      EXPECT_LT(f(x), 1e-3 * first);
      EXPECT_LT(f(x), 1e-30);
    } else {
      EXPECT_GE(f(x), 2 - 1e-12);
      EXPECT_NEAR(x[0] + x[1], 2, 1e-12);
    }
  }
}

// (d) Least squares of 20 unknowns from rows whose signs are those of one vector s, or opposite:
// signs of gradients only lead along s.
class AlignedRows {
 public:
  static constexpr size_t kWidth = 20;
  static constexpr size_t kRows = 40;
  AlignedRows() {
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    for (double& s : signs_) s = generator() % 2 == 0 ? 1 : -1;
    for (auto& row : rows_) {
      const double side = generator() % 2 == 0 ? 1 : -1;
      for (size_t k = 0; k < kWidth; ++k) row[k] = side * signs_[k] * std::abs(normal(generator));
    }
    for (double& best : best_) best = normal(generator);
  }
  double error(size_t row, const std::vector<double>& x) const {
    double sum = 0;
    for (size_t k = 0; k < kWidth; ++k) sum += rows_[row][k] * (x[k] - best_[k]);
    return sum;
  }
  double f(const std::vector<double>& x) const {
    double sum = 0;
    for (size_t j = 0; j < kRows; ++j) sum += std::pow(error(j, x), 2) / kRows;
    return sum;
  }
  std::vector<double> gradient(size_t row, const std::vector<double>& x) const {
    std::vector<double> g(kWidth);
    for (size_t k = 0; k < kWidth; ++k) g[k] = 2 * error(row, x) * rows_[row][k];
    return g;
  }
  // The least on the line of x + t s.
  double least_along_signs(const std::vector<double>& x) const {
    double up = 0;
    double down = 0;
    for (size_t j = 0; j < kRows; ++j) {
      double along = 0;
      for (size_t k = 0; k < kWidth; ++k) along += rows_[j][k] * signs_[k];
      up += along * error(j, x);
      down += along * along;
    }
    std::vector<double> there = x;
    for (size_t k = 0; k < kWidth; ++k) there[k] -= up / down * signs_[k];
    return f(there);
  }

 private:
  double signs_[kWidth];
  double rows_[kRows][kWidth];
  double best_[kWidth];
};

TEST(Sign, E7dIsBoundedByTheLineOfAlignedRows) {
  const AlignedRows rows;
  for (const Way way : {Way::kSgd, Way::kSign, Way::kScaledSign, Way::kFeedback}) {
    Stepper stepper(way, AlignedRows::kWidth);
    std::mt19937_64 generator(9);
    std::vector<double> x(AlignedRows::kWidth, 0);
    const double first = rows.f(x);
    const double bound = rows.least_along_signs(x);
    ASSERT_GT(bound, 0.05 * first);
    for (int t = 0; t < 200'000; ++t) {
      const size_t row = generator() % AlignedRows::kRows;
      stepper.step(rows.gradient(row, x), 0.002, &x);
    }
    if (way == Way::kSgd || way == Way::kFeedback) {
      EXPECT_LT(rows.f(x), 1e-3 * first) << static_cast<int>(way);
    } else {
      EXPECT_GE(rows.f(x), bound * (1 - 1e-6)) << static_cast<int>(way);
    }
  }
}

}  // namespace
}  // namespace gossamer
