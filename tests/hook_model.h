// A model for tests of the gradient hook: parameters of awkward sizes, gradients whose sums are
// exact in every type and order, and what the averages must be.
//
// Threads    A Model is one rank's.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gossamer/gradient_hook.h"
#include "src/reduce.h"

namespace gossamer {

using Model = std::vector<GradientHook::Parameter>;

// Sizes from 1 to about `count_max`, types in turn.
inline Model some_model(size_t parameters, uint64_t count_max, uint64_t seed,
                        const std::vector<DataType>& types = {DataType::kFloat32}) {
  std::mt19937_64 generator(seed);
  Model model;
  for (size_t i = 0; i < parameters; ++i) {
    const uint64_t rows = 1 + generator() % 7;
    const uint64_t columns = 1 + generator() % std::max<uint64_t>(count_max / rows, 1);
    model.push_back({"layer" + std::to_string(i), {rows, columns}, types[i % types.size()]});
  }
  return model;
}

inline uint64_t count_of(const GradientHook::Parameter& parameter) {
  uint64_t count = 1;
  for (const uint64_t extent : parameter.shape) count *= extent;
  return count;
}

// Values of one type, read and written as doubles.
class Values {
 public:
  Values() = default;
  Values(DataType type, uint64_t count) : type_(type), bytes_(count * size_of(type)) {}
  void* data() { return bytes_.data(); }
  uint64_t count() const { return bytes_.size() / size_of(type_); }
  double get(uint64_t i) const {
    const std::byte* const at = bytes_.data() + i * size_of(type_);
    if (type_ == DataType::kFloat64) return read<double>(at);
    return type_ == DataType::kFloat32 ? read<float>(at) : widen_one(type_, at);
  }
  void set(uint64_t i, double value) {
    std::byte* const at = bytes_.data() + i * size_of(type_);
    const auto narrow = static_cast<float>(value);
    if (type_ == DataType::kFloat64) {
      std::memcpy(at, &value, sizeof value);
    } else if (type_ == DataType::kFloat32) {
      std::memcpy(at, &narrow, sizeof narrow);
    } else {
      narrow_one(type_, narrow, at);
    }
  }
  friend bool operator==(const Values&, const Values&) = default;

 private:
  template <class T>
  static T read(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  DataType type_ = DataType::kFloat32;
  std::vector<std::byte> bytes_;
};

// Rank r's gradient of parameter p in iteration t: small whole numbers times 12, so that averages
// over 1, 2, 3 and 4 ranks are whole too and exact in all types.
inline double gradient_value(Rank r, size_t p, uint64_t t, uint64_t i) {
  return 12.0 * static_cast<double>((i * 7 + p * 3 + t * 5 + static_cast<uint64_t>(r) * 11) % 5) -
         24.0;
}

inline std::vector<Values> gradients_of(const Model& model, Rank r, uint64_t t) {
  std::vector<Values> all;
  for (size_t p = 0; p < model.size(); ++p) {
    Values& values = all.emplace_back(model[p].type, count_of(model[p]));
    for (uint64_t i = 0; i < values.count(); ++i) values.set(i, gradient_value(r, p, t, i));
  }
  return all;
}

// The average over the ranks for which `contributes`.
template <class Contributes>
double average_value(Rank size, size_t p, uint64_t t, uint64_t i, const Contributes& contributes) {
  double sum = 0;
  int from = 0;
  for (Rank r = 0; r < size; ++r) {
    if (!contributes(r)) continue;
    sum += gradient_value(r, p, t, i);
    ++from;
  }
  return sum / from;
}

inline double average_value(Rank size, size_t p, uint64_t t, uint64_t i) {
  return average_value(size, p, t, i, [](Rank) { return true; });
}

// Places in the list, shuffled.
inline std::vector<size_t> shuffled(size_t count, uint64_t seed) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  std::mt19937_64 generator(seed);
  std::shuffle(order.begin(), order.end(), generator);
  return order;
}

inline std::unique_ptr<GradientHook> hook_of(Communicator& comm, const Model& model,
                                             const GradientHook::Options& options) {
  Result<std::unique_ptr<GradientHook>> made = GradientHook::create(comm, model, options);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return made ? std::move(made).value() : nullptr;
}

// Buckets small enough for several of them.
inline GradientHook::Options hook_options(
    std::chrono::milliseconds ready_timeout = std::chrono::milliseconds(10'000)) {
  GradientHook::Options options;
  options.bucket_bytes_max = 4000;
  options.first_bucket_bytes_max = 600;
  options.ready_timeout = ready_timeout;
  return options;
}

// All parameters in an order of the rank's own, then wait().
inline Result<GradientHook::Step> iterate_model(GradientHook& hook, const Model& model, Rank rank,
                                                uint64_t t, std::vector<Values>* gradients) {
  *gradients = gradients_of(model, rank, t);
  for (const size_t p : shuffled(model.size(), t * 31 + static_cast<uint64_t>(rank))) {
    if (!hook.ready_at(p, (*gradients)[p].data())) break;  // it has failed, and wait() says why
  }
  return hook.wait();
}

inline void expect_averages(const Model& model, const std::vector<Values>& got, Rank size,
                            uint64_t t) {
  for (size_t p = 0; p < model.size(); ++p) {
    for (uint64_t i = 0; i < got[p].count(); ++i) {
      ASSERT_EQ(got[p].get(i), average_value(size, p, t, i)) << model[p].key << " at " << i;
    }
  }
}

inline void expect_status(const Status& status, Code code, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.to_string();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

}  // namespace gossamer
