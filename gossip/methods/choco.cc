// CHOCO: compressed differences to a copy that the neighbors have.

#include <fmt/format.h>

#include <algorithm>
#include <bit>

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
uint64_t hash_of(const Codec& codec, double rate) {
  uint64_t hash = 0xCBF29CE484222325 ^ std::bit_cast<uint64_t>(rate);
  for (const char c : codec.name()) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return hash;
}

// Another number for each rank and round.
uint64_t draw_of(uint64_t round, uint64_t rank) {
  uint64_t x = (round * 0x9E3779B97F4A7C15 ^ rank) + 0xD1342543DE82EF95;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
  x = (x ^ x >> 27) * 0x94D049BB133111EB;
  return x ^ x >> 31;
}

void add_decoded(std::span<const float> decoded, double factor, std::span<double> into) {
  for (size_t i = 0; i < into.size(); ++i) into[i] += factor * static_cast<double>(decoded[i]);
}

}  // namespace

Result<std::unique_ptr<ChocoSgd>> ChocoSgd::create(const Options& options,
                                                   std::unique_ptr<Codec> codec) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.count > UINT32_MAX) {
    return invalid(fmt::format("{} elements; compressed positions have 32 bits: split the vector",
                               options.count));
  }
  if (codec == nullptr) return invalid("there is no codec; make_codec() makes one");
  if (!(options.consensus_rate > 0 && options.consensus_rate <= 1)) {
    return invalid(
        fmt::format("the consensus rate is {}; it must be in (0, 1]: choco_rate() gives "
                    "one that converges",
                    options.consensus_rate));
  }
  return std::unique_ptr<ChocoSgd>(new ChocoSgd(options, std::move(codec)));
}

ChocoSgd::ChocoSgd(const Options& options, std::unique_ptr<Codec> codec)
    : options_(options),
      codec_(std::move(codec)),
      copy_(options.count),
      mixed_(options.count),
      difference_(options.count),
      decoded_(options.count),
      code_(codec_->bytes_max(options.count)),
      workspace_(codec_->workspace_bytes(options.count)) {
  // An unbiased codec is as far off as its variance makes it; divided by 1 + that it is closer.
  if (codec_->traits().unbiased) scale_ = 1 / (1 + codec_->error_max(options.count));
}

double contraction(const Codec& codec, uint64_t count) {
  const double error = codec.error_max(count);
  return codec.traits().unbiased ? 1 / (1 + error) : std::max(0.0, 1 - error);
}

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
  const uint64_t mine = hash_of(*codec_, options_.consensus_rate);
  std::vector<uint64_t> theirs(sources.size());
  Status done =
      start_neighbor_all_gather(comm, &mine, theirs.data(), 1, DataType::kUint64, graph, 0).wait();
  if (!done) return done;
  for (size_t k = 0; k < sources.size(); ++k) {
    if (theirs[k] == mine) continue;
    return Status::error(Code::kMismatch,
                         fmt::format("rank {} has another codec or consensus rate than {} and {}",
                                     sources[k], codec_->name(), options_.consensus_rate),
                         sources[k]);
  }
  sources_ = sources;
  arrived_.resize(sources.size() * code_.size());
  lengths_.resize(sources.size());
  graph_ = graph.identity();
  met_ = true;
  return Status::ok();
}

// Codes of a fixed length are one neighbor all-gather. Others follow their lengths, as messages of
// just so many bytes.
Status ChocoSgd::pass_codes(Communicator& comm, const Graph& graph, uint64_t bytes) {
  if (codec_->traits().fixed_size) {
    std::fill(lengths_.begin(), lengths_.end(), bytes);
    return start_neighbor_all_gather(comm, code_.data(), arrived_.data(), code_.size(),
                                     DataType::kUint8, graph, 0)
        .wait();
  }
  Status done =
      start_neighbor_all_gather(comm, &bytes, lengths_.data(), 1, DataType::kUint64, graph, 0)
          .wait();
  if (!done) return done;
  for (size_t k = 0; k < sources_.size(); ++k) {
    if (lengths_[k] <= code_.size()) continue;
    return Status::error(
        Code::kMismatch,
        fmt::format("rank {} sends a code of {} bytes; no {} of {} elements is longer than {}",
                    sources_[k], lengths_[k], codec_->name(), options_.count, code_.size()),
        sources_[k]);
  }
  // The graph is symmetric: those that send to this rank are those it sends to.
  std::vector<Work> works;
  works.reserve(2 * sources_.size());
  for (size_t k = 0; k < sources_.size(); ++k) {
    works.push_back(comm.start_recv(arrived_.data() + k * code_.size(), lengths_[k],
                                    DataType::kUint8, sources_[k]));
    works.push_back(comm.start_send(code_.data(), bytes, DataType::kUint8, sources_[k]));
  }
  for (Work& work : works) {
    const Status one = work.wait();
    if (done && !one) done = one;
  }
  return done;
}

Status ChocoSgd::exchange(Communicator& comm, const Graph& graph, void* x) {
  const bool wide = options_.type == DataType::kFloat64;
  const Rank self = comm.rank();
  (wide ? subtract<double> : subtract<float>)(difference_, x, copy_);
  const Draws draws = {.own = draw_of(round_, static_cast<uint64_t>(self) + 1),
                       .shared = draw_of(round_, 0)};
  const uint64_t bytes = codec_->encode(difference_, draws, code_, workspace_).bytes;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  if (Status done = pass_codes(comm, graph, bytes); !done) return done;
  const auto code_of = [&](size_t source) {
    return std::span<const std::byte>(arrived_).subspan(source * code_.size(), lengths_[source]);
  };
  // All are looked at before any is added: none of the sums is left half done.
  for (size_t k = 0; k < sources_.size(); ++k) {
    const Status sound = codec_->check(code_of(k), options_.count);
    if (sound) continue;
    return Status::error(
        Code::kMismatch,
        fmt::format("what rank {} sent is no {}: {}", sources_[k], codec_->name(), sound.message()),
        sources_[k]);
  }
  size_t source = 0;
  for (const Weight& w : mixing->row(self)) {
    const bool own = w.rank == self;
    codec_->decode(own ? std::span<const std::byte>(code_).first(bytes) : code_of(source++),
                   decoded_);
    add_decoded(decoded_, scale_ * w.value, mixed_);
    if (own) add_decoded(decoded_, scale_, copy_);
  }
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
  StateWriter out(MethodKind::kChoco, 64 + 16 * options_.count);
  out.elements(options_.count, options_.type);
  out.number(hash_of(*codec_, options_.consensus_rate));
  out.number(round_);
  out.number(graph_);
  out.bytes(std::as_bytes(std::span(copy_)));
  out.bytes(std::as_bytes(std::span(mixed_)));
  return out.finish();
}

Status ChocoSgd::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kChoco, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  if (in->number() != hash_of(*codec_, options_.consensus_rate)) {
    in->refuse(
        fmt::format("the state was saved with another codec or consensus rate than {} "
                    "and {}",
                    codec_->name(), options_.consensus_rate));
  }
  in->take(&round_);
  in->take(&graph_);
  in->take(std::as_writable_bytes(std::span(copy_)));
  in->take(std::as_writable_bytes(std::span(mixed_)));
  Status done = in->finish();
  if (done) met_ = false;  // the group may be another one
  return done;
}

}  // namespace gossamer
