#include "perf/training_task.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace gossamer {
namespace {

constexpr size_t kClusters = 6;  // of each class
constexpr size_t kScoredAtOnce = 256;

// into[i][j] += sum over k of a(i, k) b[k][j], with a(i, k) = a[i * row + k * column]. What is
// added to one element is added in the order of k, whatever the vectors' length: the same bits
// everywhere.
inline __attribute__((always_inline)) void multiply_add(const float* a, size_t row, size_t column,
                                                        const float* b, float* into, size_t rows,
                                                        size_t inner, size_t columns) {
  for (size_t i = 0; i < rows; ++i) {
    float* const __restrict target = into + i * columns;
    for (size_t k = 0; k < inner; ++k) {
      const float factor = a[i * row + k * column];
      const float* const __restrict from = b + k * columns;
      for (size_t j = 0; j < columns; ++j) target[j] += factor * from[j];
    }
  }
}

void multiply_add_plain(const float* a, size_t row, size_t column, const float* b, float* into,
                        size_t rows, size_t inner, size_t columns) {
  multiply_add(a, row, column, b, into, rows, inner, columns);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) void multiply_add_avx2(const float* a, size_t row, size_t column,
                                                       const float* b, float* into, size_t rows,
                                                       size_t inner, size_t columns) {
  multiply_add(a, row, column, b, into, rows, inner, columns);
}
#endif

using Multiply = void (*)(const float*, size_t, size_t, const float*, float*, size_t, size_t,
                          size_t);
Multiply choose() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return multiply_add_avx2;
#endif
  return multiply_add_plain;
}
const Multiply kMultiply = choose();

struct Sampler {
  std::mt19937_64 generator;
  std::normal_distribution<double> normal;
  std::vector<float> centres;

  void fill(size_t points, std::vector<float>* into, std::vector<uint8_t>* labels) {
    constexpr size_t kDimensions = TrainingData::kDimensions;
    constexpr uint64_t kClasses = TrainingData::kClasses;
    for (size_t n = 0; n < points; ++n) {
      const uint64_t cluster = generator() % (kClasses * kClusters);
      for (size_t d = 0; d < kDimensions; ++d) {
        into->push_back(centres[cluster * kDimensions + d] +
                        static_cast<float>(0.75 * normal(generator)));
      }
      const bool noisy = generator() % 100 < 2;
      labels->push_back(static_cast<uint8_t>((noisy ? generator() : cluster) % kClasses));
    }
  }
};

}  // namespace

TrainingData TrainingData::make(uint64_t seed, size_t train_points, size_t test_points) {
  Sampler sampler;
  sampler.generator.seed(seed);
  for (size_t i = 0; i < kClasses * kClusters * kDimensions; ++i) {
    sampler.centres.push_back(static_cast<float>(0.9 * sampler.normal(sampler.generator)));
  }
  TrainingData data;
  sampler.fill(train_points, &data.train, &data.train_labels);
  sampler.fill(test_points, &data.test, &data.test_labels);
  return data;
}

Network::Network(const std::vector<size_t>& widths, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  for (size_t l = 0; l + 1 < widths.size(); ++l) {
    Layer layer;
    layer.inputs = widths[l];
    layer.outputs = widths[l + 1];
    const double spread = std::sqrt(2.0 / static_cast<double>(layer.inputs));
    layer.weights.resize(layer.inputs * layer.outputs);
    for (float& w : layer.weights) w = static_cast<float>(spread * normal(generator));
    layer.biases.resize(layer.outputs, 0.0F);
    layer.weight_gradient.resize(layer.weights.size());
    layer.bias_gradient.resize(layer.outputs);
    layers_.push_back(std::move(layer));
  }
  values_.resize(widths.size());
}

void Network::forward(std::span<const float> points, size_t count) {
  values_[0].assign(points.begin(), points.end());
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    std::vector<float>& out = values_[l + 1];
    out.resize(count * layer.outputs);
    for (size_t i = 0; i < count; ++i) {
      std::copy(layer.biases.begin(), layer.biases.end(),
                out.begin() + static_cast<ptrdiff_t>(i * layer.outputs));
    }
    kMultiply(values_[l].data(), layer.inputs, 1, layer.weights.data(), out.data(), count,
              layer.inputs, layer.outputs);
    if (l + 1 == layers_.size()) continue;
    for (float& value : out) value = std::max(value, 0.0F);
  }
}

// The output becomes its gradient times the number of points; returns the sum of losses.
double Network::softmax(std::span<const uint8_t> labels, size_t* right) {
  std::vector<float>& out = values_.back();
  const size_t classes = layers_.back().outputs;
  double loss = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    float* const row = out.data() + i * classes;
    const float* const most = std::max_element(row, row + classes);
    if (most - row == labels[i]) ++*right;
    const float top = *most;
    double sum = 0;
    for (size_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(row[c] - top));
    loss += std::log(sum) - static_cast<double>(row[labels[i]] - top);
    for (size_t c = 0; c < classes; ++c) {
      const double share = std::exp(static_cast<double>(row[c] - top)) / sum;
      row[c] = static_cast<float>(share) - (c == labels[i] ? 1.0F : 0.0F);
    }
  }
  return loss;
}

double Network::gradients(std::span<const float> points, std::span<const uint8_t> labels) {
  const size_t count = labels.size();
  forward(points, count);
  size_t right = 0;
  const double loss = softmax(labels, &right) / static_cast<double>(count);
  error_ = values_.back();
  for (float& value : error_) value /= static_cast<float>(count);
  for (size_t l = layers_.size(); l-- > 0;) {
    Layer& layer = layers_[l];
    std::fill(layer.weight_gradient.begin(), layer.weight_gradient.end(), 0.0F);
    std::fill(layer.bias_gradient.begin(), layer.bias_gradient.end(), 0.0F);
    kMultiply(values_[l].data(), 1, layer.inputs, error_.data(), layer.weight_gradient.data(),
              layer.inputs, count, layer.outputs);
    for (size_t i = 0; i < count * layer.outputs; ++i) {
      layer.bias_gradient[i % layer.outputs] += error_[i];
    }
    if (l == 0) break;
    // Through the weights, transposed, and where the ReLU let something pass.
    error_before_.assign(count * layer.inputs, 0.0F);
    std::vector<float> transposed(layer.weights.size());
    for (size_t k = 0; k < layer.inputs; ++k) {
      for (size_t j = 0; j < layer.outputs; ++j) {
        transposed[j * layer.inputs + k] = layer.weights[k * layer.outputs + j];
      }
    }
    kMultiply(error_.data(), layer.outputs, 1, transposed.data(), error_before_.data(), count,
              layer.outputs, layer.inputs);
    for (size_t i = 0; i < error_before_.size(); ++i) {
      if (values_[l][i] <= 0) error_before_[i] = 0;
    }
    error_.swap(error_before_);
  }
  return loss;
}

Network::Score Network::score(std::span<const float> points, std::span<const uint8_t> labels) {
  const size_t inputs = layers_[0].inputs;
  double loss = 0;
  size_t right = 0;
  for (size_t at = 0; at < labels.size(); at += kScoredAtOnce) {
    const size_t count = std::min(kScoredAtOnce, labels.size() - at);
    forward(points.subspan(at * inputs, count * inputs), count);
    loss += softmax(labels.subspan(at, count), &right);
  }
  const auto all = static_cast<double>(labels.size());
  return {loss / all, static_cast<double>(right) / all};
}

}  // namespace gossamer
