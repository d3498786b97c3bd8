// Local SGD: an average every so many steps.

#include "gossamer/gossip_methods.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {

Result<std::unique_ptr<LocalSgd>> LocalSgd::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, false); !sound) return sound;
  if (options.interval == 0) {
    return Status::error(Code::kInvalidArgument,
                         "an interval of 0 steps; 1 averages in every step");
  }
  return std::unique_ptr<LocalSgd>(new LocalSgd(options));
}

Status LocalSgd::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                      double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  Status done = check_step(x, gradient, rate, count * size_of(type));
  if (done) done = admit(&admitted_, comm, graph, Stochastic::kDouble, false);
  if (!done) return done;
  add_scaled(type, x, x, gradient, count, -rate);
  if ((steps_ + 1) % options_.interval == 0) {
    const uint64_t round = steps_ / options_.interval;
    done = start_neighbor_average(comm, x, x, count, type, graph, round).wait();
    if (!done) return done;
  }
  ++steps_;
  return Status::ok();
}

Status LocalSgd::step(Communicator& comm, void* x, const void* gradient, double rate) {
  const DataType type = options_.type;
  const uint64_t count = options_.count;
  Status done = check_step(x, gradient, rate, count * size_of(type));
  if (!done) return done;
  add_scaled(type, x, x, gradient, count, -rate);
  if ((steps_ + 1) % options_.interval == 0) {
    done = comm.start_all_reduce(x, x, count, type, ReduceOp::kAvg).wait();
    if (!done) return done;
  }
  ++steps_;
  return Status::ok();
}

std::vector<std::byte> LocalSgd::save() const {
  StateWriter out(MethodKind::kLocalSgd, 32);
  out.elements(options_.count, options_.type);
  out.number(options_.interval);
  out.number(steps_);
  return out.finish();
}

Status LocalSgd::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kLocalSgd, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(options_.interval, "interval");
  in->take(&steps_);
  return in->finish();
}

}  // namespace gossamer
