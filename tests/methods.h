// What tests of gossip methods share: values that differ among ranks, the same numbers for all of
// them as a dense matrix, and refusals.
//
// Threads    Any.

#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gossamer/gossip_methods.h"

namespace gossamer {

inline std::unique_ptr<Graph> graph_of(const std::string& text, Rank size, uint64_t seed = 1) {
  Result<std::unique_ptr<Graph>> made = make_graph(text, size, seed);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

// Row r is rank r's vector: n rows of `width` Gaussian numbers.
inline std::vector<double> gaussian_rows(Rank n, size_t width, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> rows(static_cast<size_t>(n) * width);
  for (double& value : rows) value = normal(generator);
  return rows;
}

inline std::vector<double> row_of(const std::vector<double>& rows, Rank r, size_t width) {
  const auto from = rows.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(r) * width);
  return {from, from + static_cast<ptrdiff_t>(width)};
}

inline std::vector<double> mean_of(const std::vector<double>& rows, size_t width) {
  const size_t n = rows.size() / width;
  std::vector<double> mean(width, 0);
  for (size_t i = 0; i < rows.size(); ++i) mean[i % width] += rows[i] / static_cast<double>(n);
  return mean;
}

// Distance of the rows from `center`, all together.
inline double distance(const std::vector<double>& rows, const std::vector<double>& center) {
  double sum = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double d = rows[i] - center[i % center.size()];
    sum += d * d;
  }
  return std::sqrt(sum);
}

// Rank j sends to j + 1, and even ranks to j + 3 too: out-degrees differ, in-degrees as well.
inline std::unique_ptr<Graph> directed_graph(Rank n) {
  std::vector<double> w(static_cast<size_t>(n) * static_cast<size_t>(n), 0);
  for (Rank j = 0; j < n; ++j) {
    const auto give = [&](Rank to, double share) {
      w[static_cast<size_t>(to % n) * static_cast<size_t>(n) + static_cast<size_t>(j)] += share;
    };
    const double share = j % 2 == 0 ? 1.0 / 3 : 0.5;
    give(j, share);
    give(j + 1, share);
    if (j % 2 == 0) give(j + 3, share);
  }
  Result<std::unique_ptr<Graph>> made = make_graph(n, w, Stochastic::kColumn);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

// Rank r's loss is half the curvature times the squared distance from its own target.
struct Quadratics {
  Rank n;
  size_t width;
  std::vector<double> targets = gaussian_rows(n, width, 5);
  double curvature(Rank r) const { return 0.5 + static_cast<double>(r * 7 % n) / (2 * n); }
  void gradient(Rank r, const double* x, double* g) const {
    for (size_t k = 0; k < width; ++k) {
      g[k] = curvature(r) * (x[k] - targets[static_cast<size_t>(r) * width + k]);
    }
  }
  std::vector<double> optimum() const {
    std::vector<double> best(width, 0);
    double sum = 0;
    for (Rank r = 0; r < n; ++r) sum += curvature(r);
    for (Rank r = 0; r < n; ++r) {
      for (size_t k = 0; k < width; ++k) {
        best[k] += curvature(r) / sum * targets[static_cast<size_t>(r) * width + k];
      }
    }
    return best;
  }
};

inline void expect_refused(const Status& status, const std::string& part) {
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

// load() of `other`, made as the one that saved these bytes was, refuses whatever was done to them.
template <class Method>
void expect_damage_noticed(Method& other, const std::vector<std::byte>& saved) {
  const std::vector<std::byte> before = other.save();
  expect_refused(other.load({}), "no saved state");
  for (size_t length = 1; length < saved.size(); length += 1 + saved.size() / 50) {
    EXPECT_EQ(other.load(std::span(saved).first(length)).code(), Code::kInvalidArgument) << length;
  }
  for (size_t at = 0; at < saved.size(); at += 1 + saved.size() / 100) {
    std::vector<std::byte> damaged = saved;
    damaged[at] ^= std::byte{4};
    EXPECT_EQ(other.load(damaged).code(), Code::kInvalidArgument) << "byte " << at;
  }
  EXPECT_EQ(other.save(), before) << "a refused load() changed something";
  const Status loaded = other.load(saved);
  EXPECT_TRUE(loaded.is_ok()) << loaded.to_string();
  EXPECT_EQ(other.save(), saved);
}

}  // namespace gossamer
