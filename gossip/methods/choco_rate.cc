// The proved consensus rate of CHOCO.

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "gossamer/gossip_methods.h"

namespace gossamer {
namespace {

constexpr Rank kRanksMax = 1024;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

Result<double> choco_rate(const Graph& graph, double delta) {
  if (!(delta > 0 && delta <= 1)) {
    return invalid(fmt::format("delta is {}; a codec's is in (0, 1]", delta));
  }
  if (graph.period() != 1) {
    return invalid(fmt::format("graph {} has rounds that differ", graph.name()));
  }
  const Rank n = graph.size();
  if (n > kRanksMax) {
    return invalid(
        fmt::format("the spectrum of {} ranks is too much work, {} are the limit", n, kRanksMax));
  }
  if (Status sound = check_graph(graph, Stochastic::kDouble, true); !sound) return sound;
  Eigen::MatrixXd w = Eigen::MatrixXd::Zero(n, n);
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  for (Rank i = 0; i < n; ++i) {
    for (const Weight& e : mixing->row(i)) w(i, e.rank) = e.value;
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(w, Eigen::EigenvaluesOnly);
  const auto& eigenvalues = solver.eigenvalues();  // ascending; the last is 1, the mean's
  const double second =
      n == 1 ? 0 : std::max(std::abs(eigenvalues[0]), std::abs(eigenvalues[n - 2]));
  const double p = 1 - second;
  const double b = 1 - eigenvalues[0];
  return p * p * delta / (16 * p + p * p + 4 * b * b + 2 * p * b * b - 8 * p * delta);
}

}  // namespace gossamer
