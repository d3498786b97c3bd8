// Epidemic learning: an average over the graph "epidemic", which is drawn for the communicator's
// size.

#include <fmt/format.h>

#include "gossamer/gossip_groups.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

Result<std::unique_ptr<EpidemicPush>> EpidemicPush::create(const Options& options) {
  constexpr Rank kPeersMax = 64;
  if (Status sound = check_elements(options.count, options.type, false); !sound) return sound;
  if (options.peers < 1 || options.peers > kPeersMax) {
    return invalid(fmt::format("{} peers; 1 to {} are pushed to", options.peers, kPeersMax));
  }
  if (options.form != Form::kLocal && options.form != Form::kOracle) {
    return invalid("the form is neither kLocal nor kOracle");
  }
  return std::unique_ptr<EpidemicPush>(new EpidemicPush(options));
}

Status EpidemicPush::step(Communicator& comm, void* x, const void* gradient, double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  if (Status sound = check_step(x, gradient, rate, count * size_of(type)); !sound) return sound;
  if (graph_ == nullptr || graph_->size() != comm.size()) {
    const std::string text = fmt::format("epidemic:peers={},oracle={}", options_.peers,
                                         options_.form == Form::kOracle ? 1 : 0);
    Result<std::unique_ptr<Graph>> made = make_graph(text, comm.size(), options_.seed);
    if (!made) return made.status();
    graph_ = std::move(made).value();
  }
  add_scaled(type, x, x, gradient, count, -rate);
  Status done = start_neighbor_average(comm, x, x, count, type, *graph_, round_).wait();
  if (!done) return done;
  ++round_;
  return Status::ok();
}

std::vector<std::byte> EpidemicPush::save() const {
  StateWriter out(MethodKind::kEpidemicPush, 48);
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.peers));
  out.number(static_cast<uint64_t>(options_.form));
  out.number(options_.seed);
  out.number(round_);
  return out.finish();
}

Status EpidemicPush::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kEpidemicPush, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.peers), "peers");
  in->expect(static_cast<uint64_t>(options_.form), "form");
  in->expect(options_.seed, "seed");
  in->take(&round_);
  return in->finish();
}

}  // namespace gossamer
