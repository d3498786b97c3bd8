// CHOCO: compressed differences to a copy that the neighbors have.

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

template <class T>
void subtract(std::span<float> difference, const void* x, std::span<const double> copy) {
  const T* const mine = static_cast<const T*>(x);
  for (size_t i = 0; i < copy.size(); ++i) {
    difference[i] = static_cast<float>(static_cast<double>(mine[i]) - copy[i]);
  }
}

template <class T>
void approach(void* x, std::span<const double> copy, std::span<const double> mixed, double rate) {
  T* const mine = static_cast<T*>(x);
  for (size_t i = 0; i < copy.size(); ++i) {
    mine[i] = static_cast<T>(static_cast<double>(mine[i]) + rate * (mixed[i] - copy[i]));
  }
}

// Of what neighbors must have in common.
uint64_t hash_of(const std::string& compressor, double rate) {
  uint64_t hash = 0xCBF29CE484222325 ^ std::bit_cast<uint64_t>(rate);
  for (const char c : compressor) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

}  // namespace

Result<std::unique_ptr<ChocoSgd>> ChocoSgd::create(const Options& options,
                                                   std::unique_ptr<Compressor> compressor) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.count > UINT32_MAX) {
    return invalid(fmt::format("{} elements; compressed positions have 32 bits: split the vector",
                               options.count));
  }
  if (compressor == nullptr) return invalid("there is no compressor; make_int8() makes one");
  if (!(options.consensus_rate > 0 && options.consensus_rate <= 1)) {
    return invalid(
        fmt::format("the consensus rate is {}; it must be in (0, 1]: choco_rate() gives "
                    "one that converges",
                    options.consensus_rate));
  }
  return std::unique_ptr<ChocoSgd>(new ChocoSgd(options, std::move(compressor)));
}

ChocoSgd::ChocoSgd(const Options& options, std::unique_ptr<Compressor> compressor)
    : options_(options),
      compressor_(std::move(compressor)),
      copy_(options.count),
      mixed_(options.count),
      difference_(options.count),
      code_(compressor_->bytes(options.count)) {}

Status ChocoSgd::check_graph_of(const Communicator& comm, const Graph& graph) {
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, true); !sound) {
    return sound;
  }
  if (graph.period() != 1) {
    return invalid(fmt::format(
        "graph {} has rounds that differ; compressed differences need neighbors that stay",
        graph.name()));
  }
  if (graph_ == 0 || graph_ == graph.identity()) return Status::ok();
  return invalid(
      fmt::format("this method has begun on another graph than {}, and the sums it keeps "
                  "are of that one's weights; make a new one",
                  graph.name()));
}

Status ChocoSgd::meet(Communicator& comm, const Graph& graph, const std::vector<Rank>& sources) {
  const uint64_t mine = hash_of(compressor_->name(), options_.consensus_rate);
  std::vector<uint64_t> theirs(sources.size());
  Status done =
      start_neighbor_all_gather(comm, &mine, theirs.data(), 1, DataType::kUint64, graph, 0).wait();
  if (!done) return done;
  for (size_t k = 0; k < sources.size(); ++k) {
    if (theirs[k] == mine) continue;
    return Status::error(
        Code::kMismatch,
        fmt::format("rank {} has another compressor or consensus rate than {} and {}", sources[k],
                    compressor_->name(), options_.consensus_rate),
        sources[k]);
  }
  arrived_.resize(sources.size() * code_.size());
  graph_ = graph.identity();
  met_ = true;
  return Status::ok();
}

Status ChocoSgd::exchange(Communicator& comm, const Graph& graph, void* x) {
  const bool wide = options_.type == DataType::kFloat64;
  (wide ? subtract<double> : subtract<float>)(difference_, x, copy_);
  compressor_->encode(difference_, code_);
  Status done = start_neighbor_all_gather(comm, code_.data(), arrived_.data(), code_.size(),
                                          DataType::kUint8, graph, 0)
                    .wait();
  if (!done) return done;
  const Rank self = comm.rank();
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  // All are looked at before any is added: none of the sums is left half done.
  const auto code_of = [&](size_t source) {
    return std::span<const std::byte>(arrived_).subspan(source * code_.size(), code_.size());
  };
  size_t source = 0;
  for (const Weight& w : mixing->row(self)) {
    if (w.rank == self) continue;
    Status sound = compressor_->check(code_of(source++), options_.count);
    if (sound) continue;
    return Status::error(
        Code::kMismatch,
        fmt::format("what rank {} sent is no {}: {}", w.rank, compressor_->name(), sound.message()),
        w.rank);
  }
  source = 0;
  for (const Weight& w : mixing->row(self)) {
    compressor_->add(w.rank == self ? code_ : code_of(source), w.value, mixed_);
    if (w.rank != self) ++source;
  }
  compressor_->add(code_, 1, copy_);
  (wide ? approach<double> : approach<float>)(x, copy_, mixed_, options_.consensus_rate);
  return Status::ok();
}

Status ChocoSgd::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                      double rate) {
  Status done = check_step(x, gradient, rate, options_.count * size_of(options_.type));
  if (done) done = check_graph_of(comm, graph);
  if (done && !met_) done = meet(comm, graph, graph.mixing(0)->sources(comm.rank()));
  if (!done) return done;
  add_scaled(options_.type, x, x, gradient, options_.count, -rate);
  done = exchange(comm, graph, x);
  if (done) ++round_;
  return done;
}

std::vector<std::byte> ChocoSgd::save() const {
  const std::string name = compressor_->name();
  StateWriter out(MethodKind::kChoco, 64 + 16 * options_.count);
  out.number(options_.count);
  out.number(static_cast<uint64_t>(options_.type));
  out.number(hash_of(name, options_.consensus_rate));
  out.number(round_);
  out.number(graph_);
  out.bytes(std::as_bytes(std::span(copy_)));
  out.bytes(std::as_bytes(std::span(mixed_)));
  return out.finish();
}

Status ChocoSgd::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kChoco, saved);
  if (!in) return in.status();
  in->expect(options_.count, "count");
  in->expect(static_cast<uint64_t>(options_.type), "element type");
  if (in->number() != hash_of(compressor_->name(), options_.consensus_rate)) {
    in->refuse(
        fmt::format("the state was saved with another compressor or consensus rate than {} "
                    "and {}",
                    compressor_->name(), options_.consensus_rate));
  }
  const uint64_t round = in->number();
  const uint64_t graph = in->number();
  const std::span<const std::byte> copy = in->bytes(copy_.size() * sizeof(double));
  const std::span<const std::byte> mixed = in->bytes(mixed_.size() * sizeof(double));
  if (Status sound = in->finish(); !sound) return sound;
  round_ = round;
  graph_ = graph;
  met_ = false;  // the group may be another one
  std::memcpy(copy_.data(), copy.data(), copy.size());
  std::memcpy(mixed_.data(), mixed.data(), mixed.size());
  return Status::ok();
}

}  // namespace gossamer
