// RelaySum: sums that travel along a tree, with the number of values in them.

#include <fmt/format.h>

#include <cstring>

#include "gossamer/gossip_groups.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/mass.h"
#include "gossip/methods/saved_state.h"
#include "gossip/methods/wait_all.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

Status check_tree(const Graph& graph) {
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  size_t edges = 0;
  for (Rank r = 0; r < graph.size(); ++r) edges += mixing->targets(r).size();
  if (edges / 2 + 1 == static_cast<size_t>(graph.size())) return Status::ok();
  return invalid(
      fmt::format("graph {} is no tree: {} edges between {} ranks; spanning_tree() makes "
                  "one of it",
                  graph.name(), edges / 2, graph.size()));
}

}  // namespace

Result<std::unique_ptr<RelaySum>> RelaySum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  return std::unique_ptr<RelaySum>(new RelaySum(options));
}

void RelaySum::reset() {
  in_.clear();
  out_.clear();
  round_ = 0;
  graph_ = 0;
  heard_ = 1;
}

Status RelaySum::step(Communicator& comm, const Graph& tree, void* x, const void* gradient,
                      double rate) {
  constexpr double kAnySpectrum = -2;
  const DataType type = options_.type;
  const uint64_t elements = options_.count + 1;
  const uint64_t bytes = elements * size_of(type);
  Status done = check_step(x, gradient, rate, bytes - size_of(type));
  uint64_t admitted = admitted_;
  if (done) done = admit_static(&admitted, comm, tree, graph_, kAnySpectrum, "");
  if (done && admitted != admitted_) done = check_tree(tree);
  if (!done) return done;
  admitted_ = admitted;
  const std::shared_ptr<const Mixing> mixing = tree.mixing(0);
  const std::span<const Rank> neighbors = mixing->targets(comm.rank());
  if (graph_ == 0) {
    in_.assign(neighbors.size(), Message(bytes));  // zeros: nothing was heard
    out_.assign(neighbors.size(), Message(bytes));
    sum_.resize(bytes);
    rank_ = comm.rank();
    graph_ = tree.identity();
  }
  if (rank_ != comm.rank() || in_.size() != neighbors.size()) {
    return invalid(
        fmt::format("these are the messages to rank {} and this is rank {}; load() its "
                    "own, or reset() all",
                    rank_, comm.rank()));
  }
  add_scaled(type, x, x, gradient, options_.count, -rate);
  const FoldKernel fold = fold_kernel(type, ReduceOp::kSum);
  std::byte* const sum = sum_.data();
  // What goes to each neighbor lacks what came from it: sums of those before it, then of those
  // behind it, for to subtract it from the sum of all would leave its rounding there.
  start_mass(type, sum, x, options_.count);
  for (size_t j = 0; j < neighbors.size(); ++j) {
    std::memcpy(out_[j].data(), sum, bytes);
    fold(sum, sum, in_[j].data(), elements);
  }
  std::memset(sum, 0, bytes);
  for (size_t j = neighbors.size(); j-- > 0;) {
    fold(out_[j].data(), out_[j].data(), sum, elements);
    fold(sum, sum, in_[j].data(), elements);
  }
  for (size_t j = 0; j < neighbors.size(); ++j) {
    works_.push_back(comm.start_recv(in_[j].data(), elements, type, neighbors[j]));
  }
  for (size_t j = 0; j < neighbors.size(); ++j) {
    works_.push_back(comm.start_send(out_[j].data(), elements, type, neighbors[j]));
  }
  if (done = wait_all(&works_); !done) return done;
  start_mass(type, sum, x, options_.count);
  for (const Message& message : in_) fold(sum, sum, message.data(), elements);
  value_of(type, sum, x, options_.count);
  heard_ = weight_of(type, sum, options_.count);
  ++round_;
  return Status::ok();
}

std::vector<std::byte> RelaySum::save() const {
  StateWriter out(MethodKind::kRelaySum, 56 + in_.size() * sum_.size());
  out.elements(options_.count, options_.type);
  out.number(round_);
  out.number(graph_);
  out.number(static_cast<uint64_t>(rank_));
  out.real(heard_);
  out.number(in_.size());
  for (const Message& message : in_) out.bytes(message);
  return out.finish();
}

Status RelaySum::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kRelaySum, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->take(&round_);
  in->take(&graph_);
  const auto rank = static_cast<Rank>(in->number());
  in->take(&heard_);
  const uint64_t neighbors = in->number();
  const uint64_t bytes = (options_.count + 1) * size_of(options_.type);
  const bool fits = neighbors <= saved.size() / bytes;  // else the product may overflow
  if (!fits) in->refuse("the saved state ends too early");
  const std::span<const std::byte> messages = in->bytes(fits ? neighbors * bytes : 0);
  if (Status sound = in->finish(); !sound) return sound;
  rank_ = rank;
  in_.clear();
  for (uint64_t j = 0; j < neighbors; ++j) {
    const std::span<const std::byte> message = messages.subspan(j * bytes, bytes);
    in_.emplace_back(message.begin(), message.end());
  }
  out_.assign(neighbors, Message(bytes));
  sum_.resize(bytes);
  return Status::ok();
}

}  // namespace gossamer
