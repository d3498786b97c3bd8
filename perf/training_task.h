// A task to train on for real, small enough for seconds: Gaussian clusters in 32 dimensions, and
// networks that tell their classes apart, with gradients by hand.
//
// Threads    Data are constant; a Network is one thread's.
// Units      Counts are elements.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace gossamer {

// 10 classes of 6 clusters each: centres 0.9 N(0, I), points around them 0.75 N(0, I), 2 % of
// labels drawn at random.
struct TrainingData {
  static constexpr size_t kDimensions = 32;
  static constexpr size_t kClasses = 10;
  std::vector<float> train;  // points one after another
  std::vector<uint8_t> train_labels;
  std::vector<float> test;
  std::vector<uint8_t> test_labels;

  static TrainingData make(uint64_t seed, size_t train_points = 8192, size_t test_points = 4096);
};

// Fully connected layers with ReLU between them and softmax at the end. With no hidden layer it is
// logistic regression.
class Network {
 public:
  struct Layer {
    size_t inputs = 0;
    size_t outputs = 0;
    std::vector<float> weights;  // inputs x outputs, row by row
    std::vector<float> biases;
    std::vector<float> weight_gradient;
    std::vector<float> bias_gradient;
  };
  // `widths` from the input to the classes; weights are drawn from the seed.
  Network(const std::vector<size_t>& widths, uint64_t seed);

  std::vector<Layer>& layers() { return layers_; }
  // Mean cross-entropy of the points, and its gradients into the layers.
  double gradients(std::span<const float> points, std::span<const uint8_t> labels);

  struct Score {
    double loss = 0;
    double accuracy = 0;
  };
  Score score(std::span<const float> points, std::span<const uint8_t> labels);

 private:
  void forward(std::span<const float> points, size_t count);
  double softmax(std::span<const uint8_t> labels, size_t* right);

  std::vector<Layer> layers_;
  std::vector<std::vector<float>> values_;  // of each layer's input, then of the output
  std::vector<float> error_;
  std::vector<float> error_before_;
};

}  // namespace gossamer
