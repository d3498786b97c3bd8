// Symbolic execution of all ranks at once.
//
// A value is known by what it sums and how: the set of contributors, a hash of the expression tree
// whose operands are sorted (addition commutes and does not associate), the element of the input it
// belongs to, and whether it was settled. Two different trees have equal hashes with probability
// 2^-64 per comparison.
//
// Every encoding makes a code of its own, whatever it encodes: ranks draw different random numbers
// and have different residuals. What decodes it has to have all of its bytes, and gets what was
// encoded, by the same element and contributors, with a node more in its tree.

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "gossamer/mixing.h"
#include "src/verify_code_values.h"
#include "src/verify_parts.h"
#include "src/verify_symbols.h"
#include "src/verify_weights.h"

namespace gossamer {
namespace {

class Run {
 public:
  Run(const Proof& proof, const std::vector<Schedule>& schedules)
      : proof_(proof),
        schedules_(schedules),
        weighted_(proof.call.collective == Collective::kNeighborAverage),
        exact_(proof.size <= 64 && !weighted_),
        everyone_(sum_of_weights()),
        codes_(proof, everyone_) {
    for (Rank r = 0; weighted_ && r < proof.size; ++r) averages_.push_back(average(r));
  }

  void prove(Verdict* verdict) {
    prepare();
    while (!ready_.empty() && reason_.empty()) {
      const Id id = ready_.back();
      ready_.pop_back();
      begin(id);
    }
    if (!reason_.empty()) {
      verdict->no_deadlock = !lengths_differ_;
      verdict->reason = reason_;
      return;
    }
    verdict->no_deadlock = finished_ == waits_.size();
    if (!verdict->no_deadlock) {
      verdict->reason = name_stuck();
      return;
    }
    verdict->complete = check_outputs();
    verdict->same_bits = verdict->complete && check_bits();
    verdict->reason = reason_;
  }

 private:
  using Id = uint32_t;  // of a step, over all ranks

  using Channel = ProvedChannel;

  uint64_t weight(Rank rank) const {
    const auto r = static_cast<uint64_t>(rank);
    if (weighted_) return leaf_hash(rank) % kFieldPrime;
    return exact_ ? uint64_t{1} << r : mix(r * 0xd1342543de82ef95U + 0x2545f4914f6cdd1dU);
  }

  uint64_t sum_of_weights() const {
    uint64_t sum = 0;
    for (Rank r = 0; r < proof_.size; ++r) sum += weight(r);
    return sum;
  }

  // Row `rank` of the matrix, of the inputs.
  uint64_t average(Rank rank) const {
    uint64_t sum = 0;
    for (const Weight& w : proof_.call.mixing->row(rank)) {
      sum = field_add(sum, field_multiply(field_of(w.value), weight(w.rank)));
    }
    return sum;
  }

  // What the sum on `rank` must be made of in the end.
  uint64_t whole_sum(Rank rank) const {
    return weighted_ ? averages_[static_cast<size_t>(rank)] : everyone_;
  }

  // Of the step, 1 where its schedule has no factors.
  Factors factors_of(Id id) const {
    const auto r = static_cast<size_t>(rank_of_[id]);
    const Schedule& s = schedules_[r];
    return s.factors.empty() ? Factors{} : s.factors[id - begin_of_[r]];
  }

  Value leaf(Rank rank, int64_t shift) const {
    return {weight(rank), leaf_hash(rank), shift, true, false};
  }

  // --- set-up ---

  void prepare() {
    const auto n = static_cast<size_t>(proof_.size);
    buffers_.resize(n);
    begin_of_.assign(1, 0);
    for (Rank r = 0; r < proof_.size; ++r) {
      const Schedule& s = schedules_[static_cast<size_t>(r)];
      begin_of_.push_back(begin_of_.back() + static_cast<Id>(s.steps.size()));
      lanes_ = std::max(lanes_, s.lanes);
      fill_memory(r, s);
    }
    const size_t steps = begin_of_.back();
    waits_.resize(steps);
    rank_of_.resize(steps);
    is_ready_.assign(steps, false);
    next_.assign(steps, kNone);
    channels_.assign(n * n * lanes_, {});
    for (Rank r = 0; r < proof_.size; ++r) enlist(r);
  }

  void fill_memory(Rank r, const Schedule& schedule) {
    const Memory memory(proof_, r);
    memories_.push_back(memory);
    auto& buffers = buffers_[static_cast<size_t>(r)];
    buffers[0].reset(memory.in_place ? 0 : memory.input_count, leaf(r, 0));
    buffers[1].reset(memory.output_end(), {});
    buffers[2].reset(schedule.scratch_count, {});
    buffers[3].reset(schedule.wide_count, {});
    buffers[4].reset(schedule.code_count, {});
    if (memory.in_place && memory.input_count > 0) {
      buffers[1].assign(memory.input_first, memory.input_first + memory.input_count,
                        leaf(r, -static_cast<int64_t>(memory.input_first)));
    }
  }

  void enlist(Rank r) {
    const Schedule& schedule = schedules_[static_cast<size_t>(r)];
    for (uint32_t i = 0; i < schedule.steps.size(); ++i) {
      const Id id = begin_of_[static_cast<size_t>(r)] + i;
      rank_of_[id] = r;
      waits_[id] = schedule.waits[i];
      if (schedule.steps[i].is_message()) {
        Channel& channel = channel_of(id);
        const bool sends = schedule.steps[i].sends();
        Id& first = sends ? channel.send_first : channel.recv_first;
        Id& last = sends ? channel.send_last : channel.recv_last;
        (last == kNone ? first : next_[last]) = id;
        last = id;
        channel.send_issue = channel.send_first;
      }
    }
    // Pushed backwards, so that a rank's first steps come off the stack first.
    for (Id id = begin_of_[static_cast<size_t>(r) + 1]; id-- > begin_of_[static_cast<size_t>(r)];) {
      if (waits_[id] == 0) ready_.push_back(id);
    }
  }

  const Step& step_of(Id id) const {
    const auto r = static_cast<size_t>(rank_of_[id]);
    return schedules_[r].steps[id - begin_of_[r]];
  }

  std::string name(Id id) const {
    const auto r = static_cast<size_t>(rank_of_[id]);
    return name_step(rank_of_[id], id - begin_of_[r], step_of(id));
  }

  Channel& channel_of(Id id) {
    const Step& step = step_of(id);
    const auto here = static_cast<size_t>(rank_of_[id]);
    const auto there = static_cast<size_t>(step.peer);
    const auto n = static_cast<size_t>(proof_.size);
    return channels_[(step.sends() ? here * n + there : there * n + here) * lanes_ + step.lane];
  }

  // --- running ---

  void begin(Id id) {
    if (step_of(id).is_message()) {
      is_ready_[id] = true;
      advance(channel_of(id));
    } else {
      run_local(id);
      finish(id);
    }
  }

  // Rendezvous: a message moves when both ends may start and all earlier ones of its channel have
  // moved. Small sends finish before that, as far as the window goes.
  void advance(Channel& channel) {
    while (reason_.empty() && channel.send_first != kNone && channel.recv_first != kNone &&
           is_ready_[channel.send_first] && is_ready_[channel.recv_first]) {
      const Id send = channel.send_first;
      const Id recv = channel.recv_first;
      channel.send_first = next_[send];
      channel.recv_first = next_[recv];
      if (channel.send_issue == send) channel.send_issue = next_[send];
      transfer(channel, send, recv);
    }
    if (proof_.call.eager_bytes > 0) issue_eagerly(channel);
  }

  bool is_eager(Id id) const {
    const uint64_t element = step_of(id).is_coded() ? 1 : size_of(proof_.call.type);
    return step_of(id).count * element <= proof_.call.eager_bytes;
  }

  void issue_eagerly(Channel& channel) {
    while (channel.send_issue != kNone && is_ready_[channel.send_issue] &&
           (proof_.window == 0 || channel.in_flight < proof_.window)) {
      const Id id = channel.send_issue;
      channel.send_issue = next_[id];
      if (!is_eager(id)) continue;
      load(id, step_of(id).from(), &buffered_[id]);
      ++channel.in_flight;
      finish(id);
    }
  }

  void transfer(Channel& channel, Id send, Id recv) {
    if (step_of(send).is_coded() != step_of(recv).is_coded()) {
      lengths_differ_ = true;
      reason_ = name(recv) + " and " + name(send) + ": one has codes and the other elements";
      return;
    }
    if (step_of(send).count != step_of(recv).count) {
      lengths_differ_ = true;
      reason_ = name(recv) + " expects " + std::to_string(step_of(recv).count) + " elements, but " +
                name(send) + " brings " + std::to_string(step_of(send).count);
      return;
    }
    const auto early = buffered_.find(send);
    if (early != buffered_.end()) {
      arrived_ = std::move(early->second);
      buffered_.erase(early);
      --channel.in_flight;
    } else {
      load(send, step_of(send).from(), &arrived_);
      finish(send);
    }
    if (step_of(recv).verb == Verb::kRecvReduce) {
      load(recv, step_of(recv).from(), &operand_);
      for (Fragment& f : operand_) scale(factors_of(recv).from, &f.value);
      for (Fragment& f : arrived_) scale(factors_of(recv).wire, &f.value);
      combine(recv, operand_, arrived_, &result_);
      store(recv, result_);
    } else {
      store(recv, arrived_);
    }
    finish(recv);
  }

  void run_local(Id id) {
    const Step& step = step_of(id);
    load(id, step.from(), &arrived_);
    if (step.encodes()) return encode(id);
    if (step.merges()) return merge(id);
    if (step.decodes()) {
      decode(id);
      if (!reason_.empty()) return;
    }
    if (step.reads_into()) {
      load(id, step.into(), &operand_);
      combine(id, operand_, arrived_, &result_);
      store(id, result_);
      return;
    }
    for (Fragment& f : arrived_) scale(factors_of(id).from, &f.value);
    if (step.verb == Verb::kSettle) {
      for (Fragment& f : arrived_) settle(id, &f.value);
    }
    store(id, arrived_);
  }

  void encode(Id id) {
    const Step& step = step_of(id);
    for (const Fragment& f : arrived_) {
      if (step.verb != Verb::kMeasure) encoded_.note(rank_of_[id], f);
    }
    if (step.verb != Verb::kEncodeAgreed) return store(id, codes_.encode(step, id, arrived_));
    const uint64_t numbers = codes_.number_bytes(step);
    operand_.clear();
    if (numbers > 0) load(id, step.into().part(0, numbers), &operand_);
    if (refused(id, codes_.encode_agreed(step, id, arrived_, operand_, &result_))) return;
    store(id, result_, numbers);
  }

  // Turns the code in arrived_ into what was encoded.
  void decode(Id id) {
    if (refused(id, codes_.decode(step_of(id), &arrived_))) return;
    for (Fragment& f : arrived_) scale(factors_of(id).wire, &f.value);
  }

  // Bytes in arrived_ into bytes.
  void merge(Id id) {
    const Step& step = step_of(id);
    if (step.reads_into()) load(id, step.into(), &operand_);
    if (step.verb == Verb::kAgree) {
      if (refused(id, codes_.agree(step, arrived_, operand_, &result_))) return;
      return store(id, result_);
    }
    if (refused(id, codes_.take_code(step, &arrived_))) return;
    if (step.verb == Verb::kBeginSum) return store(id, codes_.make_sum(step, arrived_));
    if (refused(id, codes_.take_sum(step, &operand_))) return;
    combine(id, operand_, arrived_, &result_);
    store(id, codes_.make_sum(step, result_));
  }

  bool refused(Id id, const char* why) {
    if (why != nullptr) reject(id, why);
    return !reason_.empty();
  }

  void settle(Id id, Value* value) {
    if (value->settled) reject(id, "settles a value twice");
    if (value->contributors != whole_sum(rank_of_[id])) {
      reject(id, "settles a sum that is not complete");
    }
    value->settled = true;
    value->hash = mix(value->hash ^ 0x5851f42d4c957f2dU);
  }

  void finish(Id id) {
    ++finished_;
    const auto r = static_cast<size_t>(rank_of_[id]);
    for (uint32_t after : schedules_[r].dependents_of(id - begin_of_[r])) {
      const Id next = begin_of_[r] + after;
      if (--waits_[next] == 0) ready_.push_back(next);
    }
  }

  void load(Id id, Slice slice, Fragments* out) {
    const auto r = static_cast<size_t>(rank_of_[id]);
    const Slice at = memories_[r].at(slice);
    out->clear();
    buffers_[r][static_cast<size_t>(at.buffer)].read(
        at.first, at.first + at.count, [&](uint64_t first, uint64_t end, Value value) {
          if (!value.defined) reject(id, "reads elements that nothing has written");
          value.shift += static_cast<int64_t>(at.first);
          out->push_back({first - at.first, end - at.first, value});
        });
  }

  // `skipped` elements are left as they are.
  void store(Id id, const Fragments& fragments, uint64_t skipped = 0) {
    const auto r = static_cast<size_t>(rank_of_[id]);
    Slice at = memories_[r].at(step_of(id).into());
    at.first += skipped;
    auto& buffer = buffers_[r][static_cast<size_t>(at.buffer)];
    for (const Fragment& f : fragments) {
      Value value = f.value;
      value.shift -= static_cast<int64_t>(at.first);
      buffer.assign(at.first + f.first, at.first + f.end, value);
    }
  }

  void combine(Id id, const Fragments& a, const Fragments& b, Fragments* out) {
    out->clear();
    for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
      const uint64_t first = std::max(a[i].first, b[j].first);
      const uint64_t end = std::min(a[i].end, b[j].end);
      const Rank rank = rank_of_[id];
      if (!weighted_ && (encoded_.have(rank, first, end, a[i].value) ||
                         encoded_.have(rank, first, end, b[j].value))) {
        reject(id, "adds what it has encoded, without what its code loses");
      }
      out->push_back({first, end, fold(id, a[i].value, b[j].value)});
      if (a[i].end == end) ++i;
      if (j < b.size() && b[j].end == end) ++j;
    }
  }

  Value fold(Id id, const Value& a, const Value& b) {
    if (a.coded || b.coded) reject(id, "adds codes");
    if (a.shift != b.shift) reject(id, "adds different elements");
    if (a.settled || b.settled) reject(id, "folds a value that was settled");
    if (exact_ && (a.contributors & b.contributors) != 0) {
      reject(id, "counts a contribution twice");
    }
    Value sum = a;
    sum.contributors =
        weighted_ ? field_add(a.contributors, b.contributors) : a.contributors + b.contributors;
    const uint64_t low = std::min(a.hash, b.hash);
    const uint64_t high = std::max(a.hash, b.hash);
    sum.hash = mix(low + 0x9e3779b97f4a7c15U * mix(high));
    return sum;
  }

  void reject(Id id, const char* what) {
    if (reason_.empty()) reason_ = name(id) + " " + what;
  }

  // --- the end ---

  std::string name_stuck() const {
    for (Id id = 0; id < waits_.size(); ++id) {
      if (is_ready_[id] && !moved(id)) {
        return "deadlock: " + name(id) + " waits for its peer for ever";
      }
    }
    return "deadlock: no step is able to start";
  }

  bool moved(Id id) const {
    // Whatever is still in its channel has not moved.
    const Channel& channel = const_cast<Run*>(this)->channel_of(id);
    for (Id i = step_of(id).sends() ? channel.send_first : channel.recv_first; i != kNone;
         i = next_[i]) {
      if (i == id) return false;
    }
    return true;
  }

  void reject_output(Rank rank, uint64_t element, const char* what) {
    if (reason_.empty()) reason_ = name_element(rank, element) + " " + what;
  }

  bool check_outputs() {
    for (Rank r = 0; r < proof_.size; ++r) {
      for (const Promise& promise : promises_of(proof_, r)) {
        buffers_[static_cast<size_t>(r)][1].read(
            promise.first, promise.first + promise.count,
            [&](uint64_t first, uint64_t, const Value& v) { check_value(r, first, promise, v); });
      }
    }
    return reason_.empty();
  }

  void check_value(Rank rank, uint64_t element, const Promise& promise, const Value& v) {
    const uint64_t sum = promise.from < 0 ? whole_sum(rank) : weight(promise.from);
    const char* const broken = broken_promise(proof_, rank, promise, v, sum);
    if (broken != nullptr) reject_output(rank, element, broken);
  }

  // Equal trees on every rank, by walking rank 0's runs along every other rank's. Other collectives
  // leave each sum on one rank, and copies were compared with what they are of, unless encoded.
  bool check_bits() {
    if (proof_.call.codec != nullptr && !sums(proof_.call.collective)) {
      reason_ = check_copies(proof_, buffers_, encoded_);
      return reason_.empty();
    }
    if (proof_.call.collective != Collective::kAllReduce) return true;
    const auto& reference = buffers_[0][1];
    for (Rank r = 1; r < proof_.size; ++r) {
      for (const auto& run : reference.runs()) {
        buffers_[static_cast<size_t>(r)][1].read(
            run.first, run.end, [&](uint64_t first, uint64_t, const Value& v) {
              if (v.hash != run.value.hash) {
                reject_output(r, first, "was summed in another order than on rank 0");
              }
            });
      }
    }
    return reason_.empty();
  }

  const Proof& proof_;
  const std::vector<Schedule>& schedules_;
  const bool weighted_;  // sums have weights: values are of the field in verify_weights.h
  const bool exact_;
  const uint64_t everyone_;
  std::vector<uint64_t> averages_;  // per rank
  uint8_t lanes_ = 1;
  std::vector<Memory> memories_;
  std::vector<ProvedMemory> buffers_;
  std::vector<Id> begin_of_;  // per rank, and one past the end
  std::vector<Rank> rank_of_;
  std::vector<uint32_t> waits_;
  std::vector<bool> is_ready_;  // messages: all edges satisfied
  std::vector<Id> next_;        // messages: the next one of the same channel
  std::vector<Channel> channels_;
  std::vector<Id> ready_;
  std::unordered_map<Id, Fragments> buffered_;
  ProvedCodes codes_;
  EncodedValues encoded_;
  Fragments arrived_, operand_, result_;
  size_t finished_ = 0;
  bool lengths_differ_ = false;
  std::string reason_;
};

}  // namespace

void check_values(const Proof& proof, const std::vector<Schedule>& schedules, Verdict* verdict) {
  Run(proof, schedules).prove(verdict);
}

}  // namespace gossamer
