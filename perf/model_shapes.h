// The parameters of well-known models as matrices: the first dimension by all others.

#pragma once

#include <array>
#include <string>
#include <vector>

#include "gossamer/power_sgd.h"

namespace gossamer {

class ModelShapes {
 public:
  const std::vector<MatrixShape>& all() const { return shapes_; }
  uint64_t elements() const {
    uint64_t sum = 0;
    for (const MatrixShape& one : shapes_) sum += one.rows * one.columns;
    return sum;
  }

  void matrix(uint64_t rows, uint64_t columns) {
    shapes_.push_back({parameter_key(std::to_string(shapes_.size())), rows, columns});
  }
  void vector(uint64_t count) { matrix(count, 1); }
  void normalisation(uint64_t channels) {
    vector(channels);
    vector(channels);
  }
  void linear(uint64_t outputs, uint64_t inputs) {
    matrix(outputs, inputs);
    vector(outputs);
  }
  void convolution_normalised(uint64_t outputs, uint64_t inputs, uint64_t width) {
    matrix(outputs, inputs * width * width);
    normalisation(outputs);
  }

 private:
  std::vector<MatrixShape> shapes_;
};

inline ModelShapes resnet18(uint64_t first_width, uint64_t classes) {
  ModelShapes model;
  model.convolution_normalised(64, 3, first_width);
  uint64_t inputs = 64;
  for (const uint64_t planes : {64, 128, 256, 512}) {
    for (int block = 0; block < 2; ++block) {
      model.convolution_normalised(planes, inputs, 3);
      model.convolution_normalised(planes, planes, 3);
      if (inputs != planes) model.convolution_normalised(planes, inputs, 1);
      inputs = planes;
    }
  }
  model.linear(classes, 512);
  return model;
}

inline ModelShapes resnet50() {
  ModelShapes model;
  model.convolution_normalised(64, 3, 7);
  uint64_t inputs = 64;
  const std::array<int, 4> blocks = {3, 4, 6, 3};
  for (size_t stage = 0; stage < blocks.size(); ++stage) {
    const uint64_t planes = uint64_t{64} << stage;
    for (int block = 0; block < blocks[stage]; ++block) {
      model.convolution_normalised(planes, inputs, 1);
      model.convolution_normalised(planes, planes, 3);
      model.convolution_normalised(planes * 4, planes, 1);
      if (block == 0) model.convolution_normalised(planes * 4, inputs, 1);
      inputs = planes * 4;
    }
  }
  model.linear(1000, 2048);
  return model;
}

// Repeats of the convolutions of each of the five sizes.
inline ModelShapes vgg(std::array<int, 5> repeats, bool normalised, bool small_head) {
  ModelShapes model;
  uint64_t inputs = 3;
  for (size_t stage = 0; stage < repeats.size(); ++stage) {
    const uint64_t outputs = stage < 4 ? uint64_t{64} << stage : 512;
    for (int i = 0; i < repeats[stage]; ++i) {
      model.linear(outputs, inputs * 9);
      if (normalised) model.normalisation(outputs);
      inputs = outputs;
    }
  }
  if (small_head) {
    model.linear(10, 512);
  } else {
    model.linear(4096, 25088);
    model.linear(4096, 4096);
    model.linear(1000, 4096);
  }
  return model;
}

inline ModelShapes lstm_wikitext() {
  ModelShapes model;
  model.matrix(28869, 650);  // of words, also the decoder's
  for (int layer = 0; layer < 3; ++layer) {
    model.linear(2600, 650);
    model.linear(2600, 650);
  }
  model.vector(28869);
  return model;
}

inline ModelShapes gpt2_small() {
  ModelShapes model;
  model.matrix(50257, 768);
  model.matrix(1024, 768);
  const auto projection = [&](uint64_t inputs, uint64_t outputs) {
    model.matrix(inputs, outputs);
    model.vector(outputs);
  };
  for (int layer = 0; layer < 12; ++layer) {
    model.normalisation(768);
    projection(768, 2304);
    projection(768, 768);
    model.normalisation(768);
    projection(768, 3072);
    projection(3072, 768);
  }
  model.normalisation(768);
  return model;
}

}  // namespace gossamer
