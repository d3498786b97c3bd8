// Push-sum with running sums: see the header. This file is the sums; nothing in it waits but
// step().

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"
#include "gossip/methods/wait_all.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Places in the sums of an edge.
constexpr size_t kVersion = 0;
constexpr size_t kWeight = 1;
constexpr size_t kBefore = 2;  // elements

uint64_t version_of(const std::vector<double>& sums) {
  return sums.empty() ? 0 : std::bit_cast<uint64_t>(sums[kVersion]);
}

template <class T>
void subtract_scaled(double* x, const void* gradient, uint64_t count, double rate) {
  const T* const g = static_cast<const T*>(gradient);
  for (uint64_t i = 0; i < count; ++i) x[i] -= rate * static_cast<double>(g[i]);
}

template <class T>
void divide(void* z, const double* x, uint64_t count, double weight) {
  T* const out = static_cast<T*>(z);
  for (uint64_t i = 0; i < count; ++i) out[i] = static_cast<T>(x[i] / weight);
}

template <class T>
void widen(double* x, const void* z, uint64_t count) {
  const T* const from = static_cast<const T*>(z);
  for (uint64_t i = 0; i < count; ++i) x[i] = static_cast<double>(from[i]);
}

}  // namespace

Result<std::unique_ptr<RunningPushSum>> RunningPushSum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return invalid(fmt::format("there is no rank {} in a group of {}", options.rank, options.size));
  }
  return std::unique_ptr<RunningPushSum>(new RunningPushSum(options));
}

RunningPushSum::RunningPushSum(const Options& options)
    : options_(options),
      out_(static_cast<size_t>(options.size)),
      in_(static_cast<size_t>(options.size)) {}

Status RunningPushSum::start(const void* z) {
  if (!mass_.empty()) return invalid("start() comes once, before the first step");
  if (Status sound = check_buffer(z, "value"); !sound) return sound;
  mass_.resize(options_.count + 1);
  mass_[0] = 1;
  const auto fill = options_.type == DataType::kFloat64 ? widen<double> : widen<float>;
  fill(mass_.data() + 1, z, options_.count);
  return Status::ok();
}

Status RunningPushSum::check_graph_of(const Graph& graph) {
  if (graph.size() != options_.size) {
    return invalid(fmt::format("the graph {} is of {} ranks and this method of {}", graph.name(),
                               graph.size(), options_.size));
  }
  if (admitted_ == graph.identity()) return Status::ok();
  if (Status sound = check_graph(graph, Stochastic::kColumn, false); !sound) return sound;
  admitted_ = graph.identity();
  return Status::ok();
}

Status RunningPushSum::push(const Graph& graph, const void* gradient, double rate) {
  if (mass_.empty()) return invalid("call start() with the first values before push()");
  if (gradient != nullptr) {
    if (Status sound = check_rate(rate, "step size"); !sound) return sound;
  }
  if (Status sound = check_graph_of(graph); !sound) return sound;
  if (gradient != nullptr) {
    const auto adapt =
        options_.type == DataType::kFloat64 ? subtract_scaled<double> : subtract_scaled<float>;
    adapt(mass_.data() + 1, gradient, options_.count, rate);
  }
  const std::shared_ptr<const Mixing> mixing = graph.mixing(round_);
  ++round_;
  for (const Rank to : mixing->targets(options_.rank)) {
    Sums& sums = out_[static_cast<size_t>(to)];
    if (sums.empty()) sums.resize(kBefore + options_.count);
    const double share = mixing->weight(to, options_.rank);
    sums[kVersion] = std::bit_cast<double>(round_);
    for (size_t i = 0; i < mass_.size(); ++i) sums[kWeight + i] += share * mass_[i];
  }
  const double own = mixing->weight(options_.rank, options_.rank);
  for (double& mass : mass_) mass *= own;
  return Status::ok();
}

std::span<const std::byte> RunningPushSum::packet(Rank to) const {
  if (to < 0 || to >= options_.size) return {};
  return std::as_bytes(std::span(out_[static_cast<size_t>(to)]));
}

Result<bool> RunningPushSum::take(Rank from, std::span<const std::byte> packet) {
  if (mass_.empty()) return invalid("call start() with the first values before take()");
  if (from < 0 || from >= options_.size || from == options_.rank) {
    return invalid(
        fmt::format("a packet from rank {}, which is no other rank of {}", from, options_.size));
  }
  const size_t numbers = kBefore + options_.count;
  if (packet.size() != numbers * sizeof(double)) {
    return invalid(fmt::format("a packet of {} bytes from rank {}; of {} elements it has {}",
                               packet.size(), from, options_.count, numbers * sizeof(double)));
  }
  const auto at = [&](size_t i) {  // a datagram need not be aligned
    double value = 0;
    std::memcpy(&value, packet.data() + i * sizeof value, sizeof value);
    return value;
  };
  Sums& seen = in_[static_cast<size_t>(from)];
  if (std::bit_cast<uint64_t>(at(kVersion)) <= version_of(seen)) return false;
  const double weight = at(kWeight);
  if (!std::isfinite(weight) || weight < (seen.empty() ? 0 : seen[kWeight])) {
    return invalid(fmt::format("the weights in a packet from rank {} sum to {}, after {}", from,
                               weight, seen.empty() ? 0 : seen[kWeight]));
  }
  if (seen.empty()) seen.resize(numbers);
  seen[kVersion] = at(kVersion);
  for (size_t i = 0; i < mass_.size(); ++i) {
    const double sum = at(kWeight + i);
    mass_[i] += sum - seen[kWeight + i];
    seen[kWeight + i] = sum;
  }
  return true;
}

Status RunningPushSum::value(void* z) const {
  if (mass_.empty()) return invalid("call start() with the first values before value()");
  if (Status sound = check_buffer(z, "value"); !sound) return sound;
  if (mass_[0] < std::numeric_limits<double>::min()) return Status::ok();
  const auto fill = options_.type == DataType::kFloat64 ? divide<double> : divide<float>;
  fill(z, mass_.data() + 1, options_.count, mass_[0]);
  return Status::ok();
}

Status RunningPushSum::step(Communicator& comm, const Graph& graph, void* z, const void* gradient,
                            double rate) {
  if (comm.rank() != options_.rank || comm.size() != options_.size) {
    return invalid(fmt::format("the method is rank {} of {} and this communicator rank {} of {}",
                               options_.rank, options_.size, comm.rank(), comm.size()));
  }
  const uint64_t bytes = options_.count * size_of(options_.type);
  if (Status sound = check_step(z, gradient, rate, bytes); !sound) return sound;
  if (Status sound = check_graph_of(graph); !sound) return sound;
  if (mass_.empty()) {
    if (Status started = start(z); !started) return started;
  }
  const std::shared_ptr<const Mixing> mixing = graph.mixing(round_);
  if (Status pushed = push(graph, gradient, rate); !pushed) return pushed;
  const uint64_t numbers = kBefore + options_.count;
  size_t sources = 0;
  for (const Weight& w : mixing->row(options_.rank)) {
    if (w.rank == options_.rank) continue;
    if (sources == arriving_.size()) arriving_.emplace_back(numbers);
    works_.push_back(
        comm.start_recv(arriving_[sources++].data(), numbers, DataType::kFloat64, w.rank));
  }
  for (const Rank to : mixing->targets(options_.rank)) {
    const Sums& sums = out_[static_cast<size_t>(to)];
    works_.push_back(comm.start_send(sums.data(), numbers, DataType::kFloat64, to));
  }
  if (Status done = wait_all(&works_); !done) return done;
  sources = 0;
  for (const Weight& w : mixing->row(options_.rank)) {
    if (w.rank == options_.rank) continue;
    const Result<bool> taken = take(w.rank, std::as_bytes(std::span(arriving_[sources++])));
    if (!taken) return Status::error(Code::kMismatch, taken.status().message(), w.rank);
  }
  return value(z);
}

double RunningPushSum::pushed(Rank to) const {
  if (to < 0 || to >= options_.size || out_[static_cast<size_t>(to)].empty()) return 0;
  return out_[static_cast<size_t>(to)][kWeight];
}

double RunningPushSum::taken(Rank from) const {
  if (from < 0 || from >= options_.size || in_[static_cast<size_t>(from)].empty()) return 0;
  return in_[static_cast<size_t>(from)][kWeight];
}

std::vector<std::byte> RunningPushSum::save() const {
  size_t numbers = mass_.size();
  for (const auto* side : {&out_, &in_}) {
    for (const Sums& sums : *side) numbers += sums.size() + 1;
  }
  StateWriter out(MethodKind::kRunningPushSum, (numbers + 6) * sizeof(double));
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.rank));
  out.number(static_cast<uint64_t>(options_.size));
  out.number(round_);
  out.number(mass_.size());
  out.bytes(std::as_bytes(std::span(mass_)));
  for (const auto* side : {&out_, &in_}) {
    for (const Sums& sums : *side) {
      out.number(sums.size());
      out.bytes(std::as_bytes(std::span(sums)));
    }
  }
  return out.finish();
}

Status RunningPushSum::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kRunningPushSum, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.rank), "rank");
  in->expect(static_cast<uint64_t>(options_.size), "size");
  in->take(&round_);
  const auto vector_of = [&](uint64_t numbers_max) {
    const uint64_t numbers = in->number();
    if (numbers != 0 && numbers != numbers_max) {
      in->refuse(
          fmt::format("the saved state has sums of {} numbers, not {}", numbers, numbers_max));
    }
    const auto bytes = in->bytes(numbers == numbers_max ? numbers * sizeof(double) : 0);
    std::vector<double> numbers_read(bytes.size() / sizeof(double));
    if (!bytes.empty()) std::memcpy(numbers_read.data(), bytes.data(), bytes.size());
    return numbers_read;
  };
  Sums mass = vector_of(options_.count + 1);
  std::vector<Sums> out(out_.size());
  std::vector<Sums> taken(in_.size());
  for (auto* side : {&out, &taken}) {
    for (Sums& sums : *side) sums = vector_of(kBefore + options_.count);
  }
  if (Status sound = in->finish(); !sound) return sound;
  mass_ = std::move(mass);
  out_ = std::move(out);
  in_ = std::move(taken);
  return Status::ok();
}

}  // namespace gossamer
