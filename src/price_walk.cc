#include "src/price_walk.h"

#include <algorithm>
#include <set>

#include "src/check.h"
#include "src/plan.h"
#include "src/price_codec.h"

namespace gossamer {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr size_t kSampleSteps = 60'000;  // steps a sampled walk may take in all, roughly

// One direction of a link's port.
struct Port {
  double free_at = 0;
  double busy = 0;
};

// What a message still reads.
struct Lent {
  Slice slice;
  double until = 0;
};

struct RankState {
  double now = 0;   // processor clock
  double busy = 0;  // processor time, waiting excluded
  Port transmit;    // inside the host
  Port receive;
  double memory_bytes = 0;
  int waits = 0;
  std::vector<Lent> lent;
};

// The ranks of a host share its port to other hosts. In a sample each has one of its own, and what
// the whole host would occupy is a bound at the end.
struct HostState {
  Port transmit;
  Port receive;
};

class Walk {
 public:
  Walk(const Algorithm& algorithm, const Call& call, uint64_t piece_count, bool in_cache,
       bool from_memory, bool in_place, const Machine& machine)
      : algorithm_(algorithm),
        machine_(machine),
        element_bytes_(size_of(call.type)),
        in_cache_(in_cache),
        from_memory_(from_memory),
        in_place_(in_place),
        eager_bytes_(call.eager_bytes),
        coding_(call.codec != nullptr ? coding_cost(*call.codec) : CodingCost()) {
    shape_.size = static_cast<Rank>(machine.host_of.size());
    shape_.root = call.root;
    shape_.count = piece_count;
    shape_.wide = accumulates_wide(algorithm, call);
    shape_.stride = call.count;
    shape_.mixing = call.mixing;
    shape_.codec = call.codec;
    shape_.eager_count = call.eager_bytes / size_of(call.type);
    if (machine.host_of.back() > 0) shape_.hosts = machine.host_of;
    options_ = {.collective = call.collective,
                .size = shape_.size,
                .root = call.root,
                .count = call.count,
                .in_place = in_place_,
                .wide = shape_.wide,
                .finishes = call.op == ReduceOp::kAvg,
                .codec = call.codec,
                .element_bytes = size_of(call.type)};
  }

  PieceCost run() {
    choose_ranks();
    if (!sampled()) {
      const auto n = static_cast<size_t>(shape_.size);
      first_mail_.assign(n * n, kNone);
      last_mail_.assign(n * n, kNone);
    }
    const int rounds = algorithm_.rounds(shape_);
    for (int round = 0; round < rounds; ++round) run_round(round);
    PieceCost cost = sum_up();
    if (sampled()) cost.path_us = std::max(cost.path_us, rounds * hop_us());
    return cost;
  }

 private:
  struct Mail {
    double arrival;
    uint32_t next;
  };

  // The least a round takes. With fewer elements than ranks a sample may miss who is at work in it.
  double hop_us() const {
    const bool company = machine_.host_of.back() + 1 < shape_.size;
    const LinkCost& link = company ? machine_.same_host : machine_.other_host;
    return link.latency_us + 2 * (link.overhead_us + machine_.step_us);
  }

  bool sampled() const { return shape_.size > kWalkedRanksMax; }

  Builder builder_of(Rank rank) const {
    Builder::Options options = options_;
    options.rank = rank;
    return Builder(options);
  }

  Shape shape_of(Rank rank) const {
    Shape shape = shape_;
    shape.rank = rank;
    shape.in_place = in_place_ && (!has_root(options_.collective) || shape.is_root());
    return shape;
  }

  // All ranks; or whole hosts, since places on a host differ, around those ranks whose places in
  // rings and trees differ: the root, half way round, the last, the powers of two; fewer of them
  // when each one takes many steps.
  void choose_ranks() {
    std::set<Rank> ranks;
    if (!sampled()) {
      for (Rank r = 0; r < shape_.size; ++r) ranks.insert(r);
    } else {
      Builder b = builder_of(1);
      const int rounds = algorithm_.rounds(shape_);
      for (int round = 0; round < rounds; ++round) algorithm_.emit(shape_of(1), round, b);
      const size_t steps = std::max<size_t>(1, b.emitted().size() + static_cast<size_t>(rounds));
      const size_t wanted = std::max<size_t>(2, kSampleSteps / steps);
      std::vector<Rank> places = {0, shape_.size / 2, shape_.size - 1, 1};
      for (Rank power = 2; power < shape_.size; power *= 2) {
        places.insert(places.end(), {power - 1, power, shape_.size - power});
      }
      for (Rank place : places) {
        if (ranks.size() < wanted) add_host_of(shape_.rank_at(place), wanted, &ranks);
      }
    }
    for (Rank r : ranks) {
      ranks_.push_back(r);
      builders_.push_back(builder_of(r));
    }
    states_.resize(ranks_.size());
    hosts_.resize(static_cast<size_t>(machine_.host_of.back()) + 1);
  }

  // `place` alone when its host is too large for the sample.
  void add_host_of(Rank place, size_t wanted, std::set<Rank>* ranks) const {
    const auto& host_of = machine_.host_of;
    const auto range =
        std::equal_range(host_of.begin(), host_of.end(), host_of[static_cast<size_t>(place)]);
    if (range.second - range.first > static_cast<ptrdiff_t>(std::max<size_t>(wanted / 4, 16))) {
      ranks->insert(place);
      return;
    }
    for (auto r = range.first; r != range.second; ++r) {
      ranks->insert(static_cast<Rank>(r - host_of.begin()));
    }
  }

  void run_round(int round) {
    double front = 0;  // sampled: where the peers are taken to be
    for (const RankState& s : states_) front = std::max(front, s.now);
    for (size_t i = 0; i < ranks_.size(); ++i) {
      builders_[i].clear();
      std::erase_if(states_[i].lent,
                    [&](const Lent& lent) { return lent.until <= states_[i].now; });
      algorithm_.emit(shape_of(ranks_[i]), round, builders_[i]);
      bool received = false;
      for (const Step& step : builders_[i].emitted()) {
        received = received || step.receives();
        if (step.sends()) send(i, step);
        if (is_early(step, received)) work(&states_[i], step);
      }
    }
    for (size_t i = 0; i < ranks_.size(); ++i) {
      // Once it has its core back, a rank finds the whole round's messages waiting.
      bool waited = false;
      bool received = false;
      double remote = front;  // sampled: when the peers' sends of this round have left
      for (const Step& step : builders_[i].emitted()) {
        received = received || step.receives();
        if (step.receives()) {
          receive(i, step, &remote);
          waited = true;
        } else if (!step.sends() && !is_early(step, received)) {
          work(&states_[i], step);
        }
      }
      states_[i].waits += waited ? 1 : 0;
    }
    for (size_t slot : used_slots_) first_mail_[slot] = last_mail_[slot] = kNone;
    used_slots_.clear();
    mail_.clear();
  }

  HostState& host_of(size_t i) {
    const Rank host = machine_.host_of[static_cast<size_t>(ranks_[i])];
    return hosts_[static_cast<size_t>(host)];
  }

  double bytes_of(const Step& step) const {
    return static_cast<double>(step.count) * (step.is_coded() ? 1 : element_bytes_);
  }

  // What is encoded before the round's first receive is encoded before what is sent after it.
  static bool is_early(const Step& step, bool received) { return step.has_residual() && !received; }

  void spend(RankState* s, double us) const {
    s->now += us;
    s->busy += us;
  }

  static double length_us(const LinkCost& link, double bytes) {
    return link.long_us_per_byte * std::max(0.0, bytes - link.long_bytes);
  }

  // When nothing reads `slice` any more.
  static double free_at(const RankState& s, const Slice& slice) {
    double at = s.now;
    for (const Lent& lent : s.lent) {
      const Slice& read = lent.slice;
      const bool apart = read.buffer != slice.buffer || read.first + read.count <= slice.first ||
                         slice.first + slice.count <= read.first;
      if (!apart) at = std::max(at, lent.until);
    }
    return at;
  }

  void send(size_t i, const Step& step) {
    RankState& s = states_[i];
    const LinkCost& link = machine_.link(ranks_[i], step.peer);
    const double bytes = bytes_of(step);
    spend(&s, machine_.step_us + link.overhead_us + link.send_us_per_byte * bytes +
                  length_us(link, bytes));
    const bool remote = &link == &machine_.other_host;
    HostState& host = host_of(i);
    Port& port = remote && !sampled() ? host.transmit : s.transmit;
    port.free_at = std::max(port.free_at, s.now) + link.wire_us_per_byte * bytes;
    port.busy += link.wire_us_per_byte * bytes;
    if (remote && sampled()) host.transmit.busy += link.wire_us_per_byte * bytes;
    if (link.lends && bytes > static_cast<double>(eager_bytes_)) {
      s.lent.push_back({step.from(), port.free_at});
    }
    // Shared memory whose sender copies nothing is read by the receiver alone.
    if (remote || link.send_us_per_byte > 0) s.memory_bytes += in_cache_ ? 0 : bytes;
    if (sampled()) return;
    const size_t slot = static_cast<size_t>(ranks_[i]) * static_cast<size_t>(shape_.size) +
                        static_cast<size_t>(step.peer);
    const auto index = static_cast<uint32_t>(mail_.size());
    mail_.push_back({port.free_at + link.latency_us, kNone});
    if (last_mail_[slot] == kNone) {
      first_mail_[slot] = index;
      used_slots_.push_back(slot);
    } else {
      mail_[last_mail_[slot]].next = index;
    }
    last_mail_[slot] = index;
  }

  double arrival_of(size_t i, const Step& step, const LinkCost& link, double* remote) {
    if (sampled()) {
      *remote += machine_.step_us + link.overhead_us +
                 (link.send_us_per_byte + link.wire_us_per_byte) * bytes_of(step);
      return *remote + link.latency_us;
    }
    const size_t slot = static_cast<size_t>(step.peer) * static_cast<size_t>(shape_.size) +
                        static_cast<size_t>(ranks_[i]);
    const uint32_t index = first_mail_[slot];
    GOSSAMER_CHECK(index != kNone);  // both ends of a message are emitted in one round
    first_mail_[slot] = mail_[index].next;
    return mail_[index].arrival;
  }

  void receive(size_t i, const Step& step, double* remote) {
    RankState& s = states_[i];
    const LinkCost& link = machine_.link(ranks_[i], step.peer);
    const double bytes = bytes_of(step);
    const double occupied = link.wire_us_per_byte * bytes;
    const bool far = &link == &machine_.other_host;
    HostState& host = host_of(i);
    Port& port = far && !sampled() ? host.receive : s.receive;
    double arrival = arrival_of(i, step, link, remote);
    // Its sender waits to be told where it goes until this rank has sent what lies there.
    const double free = free_at(s, step.into());
    if (free > s.now) arrival = std::max(arrival, free + occupied + link.latency_us);
    port.free_at = std::max(arrival, port.free_at + occupied);
    port.busy += occupied;
    if (far && sampled()) host.receive.busy += occupied;
    s.now = std::max(s.now, port.free_at);
    const bool folds = step.verb == Verb::kRecvReduce;
    spend(&s, machine_.step_us + link.overhead_us + length_us(link, bytes) +
                  link.recv_us_per_byte * bytes);
    if (folds) spend(&s, (machine_.fold_us_per_byte + link.fold_us_per_byte) * bytes);
    // Beyond the cache: what arrives is read and the result written; a fold reads its operand too.
    // While a piece stays in the cache, sums are not read again and neither is what a peer has just
    // written (a plain receive).
    const bool onto_itself = folds && step.from() == step.into();
    double touched = folds ? 3 : 2;
    if (in_cache_) touched = folds && !onto_itself ? 3 : 1;
    s.memory_bytes += touched * bytes;
  }

  // Of an element.
  double us_of(const Step& step) const {
    switch (step.verb) {
      case Verb::kPack:
      case Verb::kUnpack:
        return coding_.pack_us;
      case Verb::kMeasure:
        return coding_.measure_us;
      case Verb::kAgree:
        return 0;
      case Verb::kBeginSum:
      case Verb::kAddCode:
        return coding_.merge_us;
      case Verb::kDecodeSum:
        return coding_.decode_sum_us;
      case Verb::kDecodeReduce:
        return coding_.add_us;
      default:
        return step.encodes() ? coding_.encode_us : coding_.decode_us;
    }
  }

  void work(RankState* s, const Step& step) const {
    const double bytes = bytes_of(step);
    if (step.codes()) {
      const auto count = static_cast<double>(step.count);
      const double us = us_of(step);
      s->now = free_at(*s, step.into());
      spend(s, machine_.step_us + coding_.call_us + count * us);
      const double touched = bytes + static_cast<double>(step.code_count);
      s->memory_bytes += in_cache_ ? touched / 2 : touched;
      return;
    }
    const bool folds = step.verb == Verb::kReduce;
    s->now = free_at(*s, step.into());
    spend(s, machine_.step_us +
                 bytes * (folds ? machine_.fold_us_per_byte : machine_.copy_us_per_byte));
    s->memory_bytes += bytes * (in_cache_ ? 1 : folds ? 3 : 2);
  }

  // Sampled ranks stand for the others of their host in proportion.
  PieceCost sum_up() const {
    struct HostSum {
      double busy = 0, waits = 0, memory = 0, walked = 0, ranks = 0;
    };
    std::vector<HostSum> hosts(static_cast<size_t>(machine_.host_of.back()) + 1);
    for (Rank h : machine_.host_of) hosts[static_cast<size_t>(h)].ranks += 1;
    PieceCost cost;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      const RankState& s = states_[i];
      cost.path_us = std::max(cost.path_us, s.now);
      cost.rank_us = std::max({cost.rank_us, s.busy, s.transmit.busy, s.receive.busy});
      HostSum& h = hosts[static_cast<size_t>(machine_.host_of[static_cast<size_t>(ranks_[i])])];
      h.busy += s.busy;
      h.waits += s.waits;
      h.memory += s.memory_bytes;
      h.walked += 1;
    }
    const double cores = std::max(1, machine_.cores_per_host);
    for (size_t i = 0; i < hosts.size(); ++i) {
      const HostSum& h = hosts[i];
      if (h.walked == 0) continue;
      const double scale = h.ranks / h.walked;
      const HostState& ports = hosts_[i];
      cost.port_us =
          std::max({cost.port_us, ports.transmit.busy * scale, ports.receive.busy * scale});
      cost.cores_us = std::max(cost.cores_us, h.busy * scale / cores);
      if (h.ranks > cores) {
        const double us = machine_.switch_us / cores;
        cost.waits_us = std::max(cost.waits_us, h.waits * scale * us);
        cost.idle_us = cost.path_us * (1 - 1 / cores);
        cost.switch_us = std::max(cost.switch_us, h.ranks * us);
      }
      if (from_memory_) {
        cost.memory_us = std::max(cost.memory_us, h.memory * scale * machine_.memory_us_per_byte);
      }
    }
    return cost;
  }

  const Algorithm& algorithm_;
  const Machine& machine_;
  const double element_bytes_;
  const bool in_cache_;
  const bool from_memory_;
  const bool in_place_;
  const uint64_t eager_bytes_;
  const CodingCost coding_;
  Shape shape_;
  Builder::Options options_;
  std::vector<Rank> ranks_;  // walked, ascending
  std::vector<Builder> builders_;
  std::vector<RankState> states_;
  std::vector<HostState> hosts_;
  std::vector<Mail> mail_;            // this round's messages
  std::vector<uint32_t> first_mail_;  // per (from, to): queue in mail_
  std::vector<uint32_t> last_mail_;
  std::vector<size_t> used_slots_;  // queues used in this round
};

}  // namespace

PieceCost walk_piece(const Algorithm& algorithm, const Call& call, uint64_t piece_count,
                     bool in_cache, bool from_memory, bool in_place, const Machine& machine) {
  return Walk(algorithm, call, piece_count, in_cache, from_memory, in_place, machine).run();
}

}  // namespace gossamer
