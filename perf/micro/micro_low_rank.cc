// A step of PowerSGD of one rank on the shapes of ResNet-50, against the three products of each
// matrix in plain Eigen: P = M Q, Q = M^T P, mean = P Q^T.
//
//   micro_low_rank --benchmark_repetitions=5
//
// Units      Time per step. The step also adds the residual, makes P orthonormal, subtracts the
//            product to keep a residual, and copies what the all-reduce of one rank copies.

#include <benchmark/benchmark.h>

#include <Eigen/Dense>
#include <memory>
#include <random>
#include <vector>

#include "gossamer/power_sgd.h"
#include "perf/model_shapes.h"

namespace gossamer {
namespace {

using Wide = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Thin = Eigen::MatrixXf;

std::vector<float> gaussian(uint64_t count) {
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

void step(benchmark::State& state) {
  const auto rank = static_cast<uint64_t>(state.range(0));
  const UniqueId id = UniqueId::create().value();
  Communicator::Options options;
  options.rank = 0;
  options.size = 1;
  options.id = &id;
  const auto comm = std::move(Communicator::create(options)).value();
  const auto power = std::move(PowerSgd::create({.rank = rank}, resnet50().all())).value();
  const std::vector<float> gradient = gaussian(power->count());
  std::vector<float> mean(gradient.size());
  for (auto _ : state) {
    if (!power->step(*comm, gradient, mean)) state.SkipWithError("the step failed");
    benchmark::ClobberMemory();
  }
}

struct Products {
  Thin p;
  Thin q;
};

void eigen(benchmark::State& state) {
  const ModelShapes model = resnet50();
  std::vector<float> gradient = gaussian(model.elements());
  std::vector<float> mean(gradient.size());
  std::vector<Products> products;
  for (const MatrixShape& shape : model.all()) {
    products.push_back({Thin(shape.rows, state.range(0)),
                        Thin::Random(static_cast<Eigen::Index>(shape.columns), state.range(0))});
  }
  for (auto _ : state) {
    uint64_t first = 0;
    for (size_t i = 0; i < products.size(); ++i) {
      const MatrixShape& shape = model.all()[i];
      const auto rows = static_cast<Eigen::Index>(shape.rows);
      const auto columns = static_cast<Eigen::Index>(shape.columns);
      if (columns > 1) {
        const Eigen::Map<const Wide> m(gradient.data() + first, rows, columns);
        Eigen::Map<Wide> into(mean.data() + first, rows, columns);
        products[i].p.noalias() = m * products[i].q;
        products[i].q.noalias() = m.transpose() * products[i].p;
        // Else numbers would grow from step to step.
        products[i].q *= 1 / products[i].q.norm();
        into.noalias() = products[i].p * products[i].q.transpose();
      }
      first += shape.rows * shape.columns;
    }
    benchmark::ClobberMemory();
  }
}

BENCHMARK(eigen)->Arg(1)->Arg(2)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);
BENCHMARK(step)->Arg(1)->Arg(2)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace gossamer

BENCHMARK_MAIN();
