// The own value, and mixing it with what neighbors have put. Nothing here waits for another rank.

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "gossip/windows/window_impl.h"
#include "src/reduce.h"

namespace gossamer {

Status Window::Impl::set(const void* value) {
  if (value == nullptr) return invalid("the value buffer is null");
  const std::lock_guard lock(mutex_);
  std::memcpy(own_.data(), value, bytes);
  ++own_version_;
  return Status::ok();
}

Status Window::Impl::value(void* out) const {
  if (out == nullptr) return invalid("the output buffer is null");
  const std::lock_guard lock(mutex_);
  std::memcpy(out, own_.data(), bytes);
  return Status::ok();
}

Status Window::Impl::mix(void* out, const Graph& graph, uint64_t round) {
  if (Status sound = check_graph_size(graph); !sound) return sound;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(round);
  std::vector<Weight> sources;
  for (const Weight& weight : mixing->row(rank)) {
    if (weight.rank != rank) sources.push_back(weight);
  }
  return mix(out, mixing->weight(rank, rank), sources, false);
}

Status Window::Impl::mix(void* out, double self_weight, std::span<const Weight> sources,
                         bool collects) {
  const auto unsound = [this](double weight, Rank of) {
    return invalid(fmt::format("the weight of rank {} is {}; it must be finite", of, weight));
  };
  if (!std::isfinite(self_weight)) return unsound(self_weight, rank);
  std::vector<bool> seen(static_cast<size_t>(size));
  for (const Weight& source : sources) {
    if (Status sound = check_other(source.rank, "source"); !sound) return sound;
    if (!std::isfinite(source.value)) return unsound(source.value, source.rank);
    if (seen[static_cast<size_t>(source.rank)]) {
      return invalid(fmt::format("rank {} is given twice among the sources", source.rank));
    }
    seen[static_cast<size_t>(source.rank)] = true;
  }
  const std::lock_guard lock(mutex_);
  double own = self_weight;
  for (const Weight& source : sources) {
    if (!collects && !peer(source.rank).filled) own += source.value;
  }
  const bool narrow = is_narrow_float(shape.type);
  if (narrow) wide_.resize(shape.count * sizeof(float));
  std::byte* const sum = narrow ? wide_.data() : own_.data();
  MixKernel kernel = narrow ? mix_widening_kernel(shape.type) : mix_kernel(shape.type);
  const std::byte* operand = own_.data();
  bool first = true;
  for (const Weight& source : sources) {
    WindowPeer& from = peer(source.rank);
    if (!from.filled) continue;
    kernel(sum, operand, from.buffer.data(), shape.count, first ? own : 1, source.value);
    if (first && narrow) kernel = mix_wide_kernel(shape.type);
    first = false;
    operand = sum;
    if (collects) from.filled = false;
  }
  if (first) {
    if (own != 1) scale_kernel(shape.type)(own_.data(), own_.data(), shape.count, own);
  } else if (narrow) {
    narrow_kernel(shape.type)(own_.data(), sum, shape.count, 1);
  }
  ++own_version_;
  if (out != nullptr) std::memcpy(out, own_.data(), bytes);
  return Status::ok();
}

}  // namespace gossamer
