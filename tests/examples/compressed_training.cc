// Training with compressed gradients: each rank computes gradients on data of its own and hands
// them to the hook as they become ready; the hook averages them, one value in a hundred at a time,
// and keeps the others for later iterations.
//
//   mpirun -n 4 example_compressed_training
//
// The model is a matrix W; each rank has points x and the answers A x of the same unknown matrix A,
// which W finds although 1 % of its gradient travels per step.
//
// run: 4 processes

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "gossamer/gradient_hook.h"

namespace {

constexpr size_t kRows = 40;
constexpr size_t kColumns = 50;

int fail(const gossamer::Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

std::vector<float> normal_numbers(size_t count, std::mt19937* generator) {
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(*generator);
  return numbers;
}

}  // namespace

int main() {
  auto joined = gossamer::Communicator::from_environment();
  if (!joined) return fail(joined.status());
  gossamer::Communicator& comm = **joined;

  gossamer::GradientHook::Options options;
  options.rules = {{.codec = "topk:ratio=0.01", .feedback = "ef14"}};
  auto hook = gossamer::GradientHook::create(
      comm, {{"weight", {kRows, kColumns}}, {"bias", {kRows}}}, options);
  if (!hook) return fail(hook.status());

  std::mt19937 everybody(7);
  std::mt19937 own(100 + static_cast<unsigned>(comm.rank()));
  const std::vector<float> wanted = normal_numbers(kRows * kColumns, &everybody);
  std::vector<float> weight(kRows * kColumns, 0.0F), bias(kRows, 0.0F);
  std::vector<float> weight_gradient(weight.size()), bias_gradient(bias.size());
  for (int step = 0; step < 6000; ++step) {
    const std::vector<float> x = normal_numbers(kColumns, &own);
    for (size_t i = 0; i < kRows; ++i) {
      float error = bias[i];
      for (size_t j = 0; j < kColumns; ++j) {
        error += (weight[i * kColumns + j] - wanted[i * kColumns + j]) * x[j];
      }
      bias_gradient[i] = error;
      for (size_t j = 0; j < kColumns; ++j) weight_gradient[i * kColumns + j] = error * x[j];
    }
    gossamer::Status ready = (*hook)->ready("bias", bias_gradient.data());
    if (ready) ready = (*hook)->ready("weight", weight_gradient.data());
    if (!ready) return fail(ready);
    const auto done = (*hook)->wait();
    if (!done) return fail(done.status());
    if (!done->finite) continue;
    for (size_t i = 0; i < weight.size(); ++i) weight[i] -= 0.002F * weight_gradient[i];
    for (size_t i = 0; i < bias.size(); ++i) bias[i] -= 0.002F * bias_gradient[i];
  }

  double away = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    away = std::fmax(away, std::fabs(static_cast<double>(weight[i] - wanted[i])));
  }
  if (comm.rank() == 0) std::printf("the furthest weight is %.4f from what it should be\n", away);
  const gossamer::Status left = comm.barrier();  // nobody leaves while another averages
  if (!left) return fail(left);
  return away < 0.1 ? 0 : 1;
}
