#include <algorithm>
#include <cmath>

#include "perf/gossip_demo.h"

namespace gossamer {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double dot(const double* a, const double* b, uint64_t count) {
  double sum = 0;
  for (uint64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

// Each shard's inputs lie around a centre of its own, so that no member could learn the model well
// from its own samples alone.
DemoSamples::DemoSamples(uint64_t seed, uint64_t dimension, int shard, int count)
    : dim(dimension), inputs(dimension * static_cast<uint64_t>(count)) {
  std::mt19937_64 same(seed);
  std::normal_distribution<> normal;
  std::vector<double> model(dim);
  for (double& value : model) value = normal(same) * 3 / std::sqrt(static_cast<double>(dim));
  std::mt19937_64 own(seed * 1'000 + static_cast<uint64_t>(shard + 1));
  std::vector<double> centre(dim);
  for (double& value : centre) value = shard < 0 ? 0 : normal(own);
  std::uniform_real_distribution<> uniform;
  for (int i = 0; i < count; ++i) {
    double* const input = inputs.data() + static_cast<uint64_t>(i) * dim;
    for (uint64_t k = 0; k < dim; ++k) input[k] = centre[k] + normal(own);
    labels.push_back(uniform(own) < sigmoid(dot(model.data(), input, dim)) ? 1 : 0);
  }
}

double DemoSamples::loss(const double* model) const {
  double sum = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double margin = dot(model, inputs.data() + i * dim, dim) * (labels[i] > 0 ? 1 : -1);
    sum += margin > 0 ? std::log1p(std::exp(-margin)) : std::log1p(std::exp(margin)) - margin;
  }
  return sum / static_cast<double>(labels.size());
}

double DemoSamples::accuracy(const double* model) const {
  size_t right = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    right += (dot(model, inputs.data() + i * dim, dim) > 0) == (labels[i] > 0) ? 1 : 0;
  }
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

void DemoSamples::gradient(const double* model, int batch, std::mt19937_64* random,
                           double* into) const {
  std::fill(into, into + dim, 0);
  for (int i = 0; i < batch; ++i) {
    const size_t s = (*random)() % labels.size();
    const double* const input = inputs.data() + s * dim;
    const double error = sigmoid(dot(model, input, dim)) - labels[s];
    for (uint64_t k = 0; k < dim; ++k) into[k] += error * input[k] / batch;
  }
}

}  // namespace gossamer
