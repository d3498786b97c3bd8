#include "gossip/methods/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossip/analysis.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Whether all eigenvalues are above `bound`, which rounding may not decide.
Status check_spectrum(const Graph& graph, double bound, const char* remedy) {
  constexpr double kRounding = 1e-9;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  double kept = 1;
  for (Rank i = 0; i < mixing->size(); ++i) kept = std::min(kept, mixing->weight(i, i));
  // Gershgorin: none is below 2 w_ii - 1 for all i.
  if (2 * kept - 1 > bound + kRounding) return Status::ok();
  if (graph.size() > kSpectrumRanksMax) {
    return invalid(
        fmt::format("graph {} may have an eigenvalue of {:.4f}, and of more than {} "
                    "ranks they are not computed; {}",
                    graph.name(), 2 * kept - 1, kSpectrumRanksMax, remedy));
  }
  const double least = least_eigenvalue(*mixing);
  if (least > bound + kRounding) return Status::ok();
  return invalid(
      fmt::format("the least eigenvalue of graph {} is {:.4f} and must be above {:.4f}, "
                  "or values grow without bound; {}",
                  graph.name(), least, bound, remedy));
}

}  // namespace

Status check_elements(uint64_t count, DataType type, bool wide_only) {
  const uint64_t element = size_of(type);
  if (element == 0) return invalid("the element type is none of gossamer::DataType");
  if (mix_kernel(type) == nullptr) {
    return invalid(
        fmt::format("a mean of {} is no {}; use a float type", name_of(type), name_of(type)));
  }
  if (wide_only && is_narrow_float(type)) {
    return invalid(
        fmt::format("this method keeps its state in float32 or float64, not in {}", name_of(type)));
  }
  if (count == 0) return invalid("a method of no elements; give count, in elements");
  // Methods keep several vectors, and a few numbers beside them.
  if (count > INT64_MAX / 256 / element) {
    return invalid(
        fmt::format("count {} of {} is more than any memory; counts are elements, not "
                    "bytes",
                    count, name_of(type)));
  }
  return Status::ok();
}

Status check_buffer(const void* data, const char* what) {
  if (data != nullptr) return Status::ok();
  return invalid(fmt::format("the {} buffer is null", what));
}

Status check_rate(double rate, const char* what) {
  if (std::isfinite(rate)) return Status::ok();
  return invalid(fmt::format("the {} is {}; it must be finite", what, rate));
}

Status check_apart(const void* a, const void* b, uint64_t bytes) {
  const auto* const first = static_cast<const std::byte*>(a);
  const auto* const second = static_cast<const std::byte*>(b);
  if (first + bytes <= second || second + bytes <= first) return Status::ok();
  return invalid("values and gradient overlap; they are two buffers");
}

Status check_step(const void* x, const void* gradient, double rate, uint64_t bytes) {
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  if (gradient == nullptr) return Status::ok();
  if (Status sound = check_rate(rate, "step size"); !sound) return sound;
  return check_apart(x, gradient, bytes);
}

Status admit(uint64_t* admitted, const Communicator& comm, const Graph& graph, Stochastic sums,
             bool symmetric) {
  if (graph.size() != comm.size()) {
    return invalid(fmt::format("the graph {} is of {} ranks and this communicator of {}",
                               graph.name(), graph.size(), comm.size()));
  }
  if (*admitted == graph.identity()) return Status::ok();
  if (Status sound = check_graph(graph, sums, symmetric); !sound) return sound;
  *admitted = graph.identity();
  return Status::ok();
}

Status check_gradient_step(const void* x, const void* gradient, double rate, uint64_t bytes) {
  if (Status sound = check_buffer(gradient, "gradient"); !sound) return sound;
  return check_step(x, gradient, rate, bytes);
}

Status admit_static(uint64_t* admitted, const Communicator& comm, const Graph& graph,
                    uint64_t belongs_to, double eigenvalue_above, const char* remedy) {
  if (belongs_to != 0 && belongs_to != graph.identity()) {
    return invalid(
        fmt::format("graph {} is not the one of the last step; call reset() on all "
                    "ranks where it changes",
                    graph.name()));
  }
  uint64_t sums = *admitted;
  if (Status sound = admit(&sums, comm, graph, Stochastic::kDouble, true); !sound) return sound;
  if (*admitted == graph.identity()) return Status::ok();
  if (graph.period() != 1) {
    return invalid(
        fmt::format("graph {} has rounds that differ; this method needs one matrix", graph.name()));
  }
  if (Status sound = check_spectrum(graph, eigenvalue_above, remedy); !sound) return sound;
  *admitted = graph.identity();
  return Status::ok();
}

void add_scaled(DataType type, void* target, const void* x, const void* g, uint64_t count,
                double scale) {
  auto* const out = static_cast<std::byte*>(target);
  const auto* const operand = static_cast<const std::byte*>(x);
  if (g != nullptr) {
    mix_kernel(type)(out, operand, static_cast<const std::byte*>(g), count, 1, scale);
  } else if (out != operand) {
    std::memcpy(out, operand, count * size_of(type));
  }
}

}  // namespace gossamer
