// What ranks agree on before they exchange gradients: that they have the same list and options,
// which iteration they are in, and the order of buckets.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// What each rank says of itself.
struct Hello {
  uint64_t digest = 0;
  uint64_t parameters = 0;
  uint64_t iteration = 0;
  uint64_t learned = 0;
  uint64_t revertible = 0;  // whether its last iteration can be taken back
  uint64_t meetings = 0;    // that it came to the end of
};
constexpr uint64_t kHelloWords = sizeof(Hello) / sizeof(uint64_t);

Result<std::vector<Hello>> exchange_hellos(Communicator& comm, const Hello& mine) {
  std::vector<Hello> all(static_cast<size_t>(comm.size()));
  Status done = comm.start_all_gather(&mine, all.data(), kHelloWords, DataType::kUint64).wait();
  if (!done) return done;
  return all;
}

}  // namespace

Status GradientHook::Impl::check(const Options& options, const Graph* graph,
                                 const Communicator& comm) {
  if (options.bucket_bytes_max == 0 || options.first_bucket_bytes_max == 0) {
    return invalid("a bucket of 0 bytes; 1 gives each parameter a bucket of its own");
  }
  if (options.ready_timeout.count() <= 0) {
    return invalid("a ready_timeout of 0 ms; it is how long wait() waits for parameters");
  }
  if (options.exchange > Exchange::kGossip) return invalid("no such exchange");
  if (Status sound = check_encoders(options); !sound) return sound;
  if (options.exchange != Exchange::kGossip) return Status::ok();
  if (graph == nullptr) return invalid("gossip needs a graph; make_graph() makes one");
  if (graph->size() == comm.size()) return Status::ok();
  return invalid(fmt::format("the graph {} is of {} ranks and this communicator of {}",
                             graph->name(), graph->size(), comm.size()));
}

Status GradientHook::Impl::check_rules(const Options& options, const Policy& policy,
                                       const Graph* graph) {
  const bool gossip = options.exchange == Exchange::kGossip;
  for (uint32_t group = 1; group <= options.rules.size(); ++group) {
    const std::string& keys = options.rules[group - 1].keys;
    const bool choco = policy.choco(group) != nullptr;
    if (choco && !gossip) {
      return invalid(
          fmt::format("the rule for '{}': choco is for kGossip; ef14 is for sums over all "
                      "ranks",
                      keys));
    }
    if (gossip && !choco && !policy.always_in_collective(group)) {
      return invalid(
          fmt::format("the rule for '{}' has feedback, or a codec that needs it, and with "
                      "neighbors alone that makes up for nothing; take \"choco:rate=...\"",
                      keys));
    }
  }
  return gossip && policy.has_choco() ? Choco::check(*graph) : Status::ok();
}

Result<std::unique_ptr<GradientHook::Impl>> GradientHook::Impl::make(
    Communicator& comm, std::vector<Parameter> parameters, const Options& options) {
  if (Status sound = check(options, options.graph, comm); !sound) return sound;
  Result<ParameterList> list = ParameterList::make(std::move(parameters));
  if (!list) return list.status();
  std::unique_ptr<Impl> made(new Impl(options));
  made->parameters_ = std::move(list).value();
  Result<Policy> policy = Policy::make(options.rules, options.seed, made->parameters_);
  if (!policy) return policy.status();
  made->policy_ = std::move(policy).value();
  if (Status sound = check_rules(options, made->policy_, options.graph); !sound) return sound;
  const size_t count = made->parameters_.size();
  for (const Callbacks& each : made->options_.callbacks) {
    made->calls_back_ |= each.pre != nullptr || each.post != nullptr || each.encode != nullptr;
    made->calls_after_ |= each.post != nullptr;
    if (each.encode != nullptr) made->encoders_.push_back(&each);
  }
  made->slots_.resize(count);
  made->arrival_.resize(count);
  made->order_.resize(count);
  std::iota(made->order_.rbegin(), made->order_.rend(), 0U);
  if (Status met = made->meet(comm); !met) return met;
  if (options.overlap) made->thread_ = std::thread([impl = made.get()] { impl->serve(); });
  return made;
}

GradientHook::Impl::~Impl() {
  if (process_ != getpid()) {  // a forked child has a copy, and no thread
    if (thread_.joinable()) thread_.detach();
    return;
  }
  {
    Lock lock(mutex_);
    leaving_ = true;
    work_.notify_all();
    changed_.wait(lock, [this] { return !conducting_; });
  }
  if (thread_.joinable()) thread_.join();
}

uint64_t GradientHook::Impl::digest() const {
  Digest digest;
  for (size_t i = 0; i < parameters_.size(); ++i) digest.add(parameters_.digest(i));
  digest.add(static_cast<uint64_t>(options_.exchange));
  digest.add(options_.bucket_bytes_max);
  digest.add(options_.first_bucket_bytes_max);
  digest.add(calls_back_ ? 1 : 0);
  digest.add(encoders_.size());
  digest.add(policy_.digest());
  digest.add(options_.seed);
  if (options_.graph != nullptr) digest.add(options_.graph->identity());
  return digest.value();
}

// Everybody has heard that some lists differ: where do they?
Status GradientHook::Impl::compare_lists(Communicator& comm, uint64_t count_at_0) const {
  std::vector<uint64_t> at_0(count_at_0);
  for (size_t i = 0; i < at_0.size() && comm.rank() == 0; ++i) at_0[i] = parameters_.digest(i);
  Status done =
      comm.start_broadcast(at_0.data(), at_0.data(), count_at_0, DataType::kUint64, 0).wait();
  if (!done) return done;
  const size_t common = std::min(at_0.size(), parameters_.size());
  uint64_t own = 0;
  while (own < common && parameters_.digest(own) == at_0[own]) ++own;
  if (own == common && at_0.size() == parameters_.size()) own = UINT64_MAX;
  std::vector<uint64_t> all(static_cast<size_t>(comm.size()));
  done = comm.start_all_gather(&own, all.data(), 1, DataType::kUint64).wait();
  if (!done) return done;
  const auto other =
      std::find_if(all.begin(), all.end(), [](uint64_t i) { return i != UINT64_MAX; });
  if (other == all.end()) {
    return Status::error(Code::kMismatch,
                         "ranks give their gradient hooks different options: exchange, limits of "
                         "buckets, rules, seed, graph, whether there are callbacks and how many "
                         "encode must be the same");
  }
  const auto rank = static_cast<Rank>(other - all.begin());
  const size_t at = *other;
  return Status::error(
      Code::kMismatch,
      fmt::format("rank {}'s list of parameters differs from rank 0's at place {}; here that is {}",
                  rank, at,
                  at < parameters_.size() ? parameters_.describe(at) : "the end of the list"),
      rank);
}

Status GradientHook::Impl::meet(Communicator& comm) {
  const Hello mine{digest(),           parameters_.size(),    iteration_,
                   learned_ ? 1U : 0U, revertible_ ? 1U : 0U, meetings_};
  Result<std::vector<Hello>> hellos = exchange_hellos(comm, mine);
  if (!hellos) return hellos.status();
  const std::vector<Hello>& all = *hellos;
  for (const Hello& other : all) {
    if (other.digest != mine.digest) return compare_lists(comm, all[0].parameters);
  }
  const auto [least, most] =
      std::minmax_element(all.begin(), all.end(),
                          [](const Hello& a, const Hello& b) { return a.iteration < b.iteration; });
  const uint64_t common = least->iteration;
  const bool too_far = std::any_of(all.begin(), all.end(), [&](const Hello& one) {
    return one.iteration > common + (one.revertible != 0 ? 1 : 0);
  });
  if (too_far) {
    return Status::error(
        Code::kMismatch,
        fmt::format("rank {} is in iteration {} of its gradient hook and rank {} in {}; one can be "
                    "taken back, unless it was saved: all ranks load() states of one iteration",
                    least - all.begin(), least->iteration, most - all.begin(), most->iteration),
        static_cast<Rank>(most - all.begin()));
  }
  if (Status done = take_order(comm, order_); !done) return done;
  learned_ = all[0].learned != 0;
  comm_ = &comm;
  iteration_ > common ? drop_pending() : commit_pending();
  iteration_ = common;
  const auto [fewest, last] =
      std::minmax_element(all.begin(), all.end(),
                          [](const Hello& a, const Hello& b) { return a.meetings < b.meetings; });
  if (meetings_ > fewest->meetings) {
    if (Status done = policy_.take_back(); !done) return done;
  }
  if (Status done = policy_.regroup(comm); !done) return done;
  const Policy::Choice choice{options_.exchange == Exchange::kAllReduce && encoders_.empty(),
                              options_.bucket_bytes_max, meetings_ == 0};
  if (Status done = policy_.choose_sides(comm, parameters_, choice); !done) return done;
  if (options_.exchange == Exchange::kGossip) {
    if (Status done = policy_.meet_neighbors(comm, *options_.graph); !done) return done;
  }
  vote_ = PersistentCollective();  // before the memory that it uses
  votes_ = VoteBoard(comm.rank(), comm.size(), parameters_.size());
  const std::span<std::byte> votes = votes_.bytes();
  const uint64_t bytes = votes_.bytes_per_rank();
  Result<PersistentCollective> vote =
      comm.plan_all_gather(votes.data() + bytes * static_cast<uint64_t>(comm.rank()), votes.data(),
                           bytes, DataType::kUint8);
  if (!vote) return vote.status();
  vote_ = std::move(vote).value();
  Status built = build();
  if (!built) return built;
  meetings_ = last->meetings + 1;
  begin_iteration();
  return built;
}

// Rank 0's order becomes everybody's.
Status GradientHook::Impl::take_order(Communicator& comm, std::vector<uint32_t> order) {
  Status done =
      comm.start_broadcast(order.data(), order.data(), order.size(), DataType::kUint32, 0).wait();
  if (!done) return done;
  std::vector<bool> seen(order.size(), false);
  for (const uint32_t parameter : order) {
    if (parameter >= seen.size() || seen[parameter]) {
      return Status::error(Code::kMismatch, "rank 0 sent an order that is none", 0);
    }
    seen[parameter] = true;
  }
  order_ = std::move(order);
  return Status::ok();
}

// After the first iteration: the order in which gradients came on rank 0.
Status GradientHook::Impl::learn_order() {
  std::vector<uint32_t> order(order_.size());
  std::iota(order.begin(), order.end(), 0U);
  {
    const Lock lock(mutex_);
    std::sort(order.begin(), order.end(),
              [this](uint32_t a, uint32_t b) { return arrival_[a] < arrival_[b]; });
  }
  Status done = take_order(*comm_, std::move(order));
  if (!done) return done;
  learned_ = true;
  reordered_ = true;
  return done;
}

Status GradientHook::Impl::rebind(Communicator& comm, const Graph* graph) {
  const Graph* const chosen = graph != nullptr ? graph : options_.graph;
  if (Status sound = check(options_, chosen, comm); !sound) return sound;
  if (Status sound = check_rules(options_, policy_, chosen); !sound) return sound;
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return !conducting_; });
  conducting_ = true;  // keeps the thread away
  // Ended, and nobody has heard of it: dropped.
  if (now_.over && now_.failure && pending_) drop_pending();
  lock.unlock();
  options_.graph = chosen;
  Status met = meet(comm);
  if (!met) {
    if (Status back = policy_.take_back(); !back) met = std::move(back);
  }
  lock.lock();
  conducting_ = false;
  broken_ = met;
  return met;
}

}  // namespace gossamer
