// Overlap push-sum: rounds whose messages are still under way, in a ring of staleness + 1.

#include <fmt/format.h>

#include "gossamer/gossip_overlap.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/mass.h"
#include "gossip/methods/saved_state.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// As the arithmetic of `type` takes it.
double rounded(DataType type, double weight) {
  return type == DataType::kFloat64 ? weight : static_cast<double>(static_cast<float>(weight));
}

}  // namespace

// One round's messages. Buffers stay for the rounds that take its place; a Work comes after the
// buffer it uses, and so ends before it.
struct OverlapPushSum::Round {
  struct Arrival {
    std::vector<std::byte> mass;
    double weight = 0;
    bool taken = true;
    Work work;
  };
  std::vector<std::byte> message;
  std::vector<Arrival> arrivals;  // the first are this round's
  std::vector<Work> sends;
  bool complete = true;
};

Result<std::unique_ptr<OverlapPushSum>> OverlapPushSum::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.staleness > kStalenessMax) {
    return invalid(
        fmt::format("a staleness of {} steps keeps the messages of as many; {} is the "
                    "limit",
                    options.staleness, kStalenessMax));
  }
  return std::unique_ptr<OverlapPushSum>(new OverlapPushSum(options));
}

OverlapPushSum::OverlapPushSum(const Options& options)
    : options_(options),
      state_((options.count + 1) * size_of(options.type)),
      rounds_(options.staleness + 1) {}

OverlapPushSum::~OverlapPushSum() = default;

double OverlapPushSum::weight() const {
  return started_ ? weight_of(options_.type, state_.data(), options_.count) : 1;
}

// Receives are posted before anything is sent: a peer's message of this round has where to go.
void OverlapPushSum::send(Communicator& comm, const Mixing& mixing, Round* round) {
  const DataType type = options_.type;
  const uint64_t elements = options_.count + 1;
  const Rank me = comm.rank();
  round->complete = false;
  size_t sources = 0;
  for (const Weight& w : mixing.row(me)) {
    if (w.rank == me) continue;
    if (sources == round->arrivals.size()) round->arrivals.emplace_back();
    Round::Arrival& arrival = round->arrivals[sources++];
    arrival.mass.resize(state_.size());
    arrival.weight = rounded(type, w.value);
    arrival.work = comm.start_recv(arrival.mass.data(), elements, type, w.rank);
    arrival.taken = false;
  }
  round->message = state_;
  const double sent = weight();
  // What rounding takes from the targets' weights stays here: the column's sum is kept.
  double own = mixing.weight(me, me);
  for (const Rank to : mixing.targets(me)) {
    const double share = mixing.weight(to, me);
    own += share - rounded(type, share);
    pushed_ += rounded(type, share) * sent;
    round->sends.push_back(comm.start_send(round->message.data(), elements, type, to));
  }
  scale_kernel(type)(state_.data(), state_.data(), elements, own);
}

// What has come of a round, or, if `waits`, all of it.
Status OverlapPushSum::take(Round* round, bool waits) {
  const uint64_t elements = options_.count + 1;
  bool complete = true;
  for (Round::Arrival& arrival : round->arrivals) {
    if (arrival.taken) continue;
    if (!waits && !arrival.work.test()) {
      complete = false;
      continue;
    }
    if (Status arrived = arrival.work.wait(); !arrived) return arrived;
    arrival.work = Work();  // it may not outlive the communicator
    arrival.taken = true;
    mix_kernel(options_.type)(state_.data(), state_.data(), arrival.mass.data(), elements, 1,
                              arrival.weight);
    taken_ += arrival.weight * weight_of(options_.type, arrival.mass.data(), options_.count);
  }
  for (Work& work : round->sends) {
    if (!waits && !work.test()) {
      complete = false;
      continue;
    }
    if (Status sent = work.wait(); !sent) return sent;
  }
  if (complete) round->sends.clear();
  round->complete = complete;
  return Status::ok();
}

// Takes what has come, and waits for rounds that are more than `late` steps old.
Status OverlapPushSum::advance(uint64_t late) {
  for (uint64_t t = oldest_; t < round_; ++t) {
    Round& round = rounds_[t % rounds_.size()];
    if (round.complete) continue;
    if (Status taken = take(&round, round_ - t > late); !taken) return taken;
  }
  while (oldest_ < round_ && rounds_[oldest_ % rounds_.size()].complete) ++oldest_;
  return Status::ok();
}

Status OverlapPushSum::step(Communicator& comm, const Graph& graph, void* z, const void* gradient,
                            double rate) {
  const DataType type = options_.type;
  const uint64_t bytes = options_.count * size_of(type);
  if (Status sound = check_step(z, gradient, rate, bytes); !sound) return sound;
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kColumn, false); !sound) {
    return sound;
  }
  if (!started_) start_mass(type, state_.data(), z, options_.count);
  started_ = true;
  add_scaled(type, state_.data(), state_.data(), gradient, options_.count, -rate);
  // What came since the last step is passed on by this one.
  if (Status taken = advance(options_.staleness); !taken) return taken;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(round_);
  send(comm, *mixing, &rounds_[round_ % rounds_.size()]);
  ++round_;
  if (Status taken = advance(options_.staleness); !taken) return taken;
  value_of(type, state_.data(), z, options_.count);
  return Status::ok();
}

Status OverlapPushSum::finish(void* z) {
  if (Status sound = check_buffer(z, "value"); !sound) return sound;
  if (!started_) return Status::ok();
  if (Status taken = advance(0); !taken) return taken;
  value_of(options_.type, state_.data(), z, options_.count);
  return Status::ok();
}

Result<std::vector<std::byte>> OverlapPushSum::save() const {
  if (lag() > 0) return invalid("messages are under way; call finish() before save()");
  StateWriter out(MethodKind::kOverlapPushSum, 56 + state_.size());
  out.elements(options_.count, options_.type);
  out.number(options_.staleness);
  out.number(round_);
  out.real(pushed_);
  out.real(taken_);
  out.number(started_ ? 1 : 0);
  if (started_) out.bytes(state_);
  return out.finish();
}

Status OverlapPushSum::load(std::span<const std::byte> saved) {
  if (lag() > 0) return invalid("messages are under way; call finish() before load()");
  Result<StateReader> in = StateReader::open(MethodKind::kOverlapPushSum, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(options_.staleness, "staleness");
  in->take(&round_);
  in->take(&pushed_);
  in->take(&taken_);
  const bool started = in->number() == 1;
  if (started) in->take(state_);
  if (Status sound = in->finish(); !sound) return sound;
  oldest_ = round_;
  started_ = started;
  return Status::ok();
}

}  // namespace gossamer
