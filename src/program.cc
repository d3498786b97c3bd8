#include "src/program.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "gossamer/code_sums.h"
#include "src/call_buffers.h"
#include "src/check.h"
#include "src/packing.h"
#include "src/reduce_double.h"

namespace gossamer {
namespace {

uint64_t bytes_per_element(Buffer buffer, uint32_t element_bytes) {
  if (buffer == Buffer::kCode) return 1;
  return buffer == Buffer::kWide ? sizeof(float) : element_bytes;
}

Kernels kernels_for(const Call& call, Rank size) {
  Kernels k;
  k.element_bytes = size_of(call.type);
  if (call.collective == Collective::kNeighborAverage) {
    k.fold = fold_kernel(call.type, ReduceOp::kSum);  // of steps whose factors are 1
    k.fold_wide = fold_wide_kernel(call.type, ReduceOp::kSum);
    k.widen = widen_kernel(call.type);
    k.narrow = narrow_kernel(call.type);
  }
  if (call.codec != nullptr) {
    k.widen = widen_kernel(call.type);
    k.narrow = narrow_kernel(call.type);
  }
  if (!reduces(call.collective)) return k;
  k.fold = fold_kernel(call.type, call.op);
  k.fold_wide = fold_wide_kernel(call.type, call.op);
  k.widen = widen_kernel(call.type);
  k.narrow = narrow_kernel(call.type);
  k.divide = divide_kernel(call.type);
  k.scale = scale_kernel(call.type);
  k.narrow_divide = narrow_divide_kernel(call.type);
  k.divide_wide = divide_kernel(DataType::kFloat32);
  k.divisor = size;
  k.finishes = call.op == ReduceOp::kAvg;
  return k;
}

// Accumulators of fp64 are fp32 too, where a codec decodes into them.
void pass_by_float(const Call& call, Kernels* k) {
  if (call.codec == nullptr || call.type != DataType::kFloat64) return;
  k->widen = float_of_double;
  k->narrow = double_of_float;
  k->narrow_divide = double_of_float_divided;
  k->fold_wide = sum_double_into_float;
}

Weighted weighted_of(const Step& step, const Factors& factors, DataType type) {
  const bool from_wide = step.from_buffer == Buffer::kWide;
  const bool into_wide = step.into_buffer == Buffer::kWide;
  Weighted w;
  w.factors = factors;
  w.wire_bytes = size_of(type);
  w.from_bytes = static_cast<uint32_t>(bytes_per_element(step.from_buffer, w.wire_bytes));
  w.into_bytes = static_cast<uint32_t>(bytes_per_element(step.into_buffer, w.wire_bytes));
  if (step.verb == Verb::kCopy) {
    GOSSAMER_CHECK(!from_wide);
    w.scale = scale_kernel(into_wide ? DataType::kFloat32 : type);
  } else {
    GOSSAMER_CHECK(step.verb == Verb::kRecvReduce && (into_wide || !from_wide));
    w.mix = !into_wide  ? mix_kernel(type)
            : from_wide ? mix_wide_kernel(type)
                        : mix_widening_kernel(type);
  }
  GOSSAMER_CHECK(w.mix != nullptr || w.scale != nullptr);
  return w;
}

// Numbers the sends that carry the same bytes: same slice, with nothing written to it in between.
class Shares {
 public:
  uint32_t of_send(const Slice& slice) {
    auto& live = live_[static_cast<size_t>(slice.buffer)];
    const auto [it, fresh] = live.try_emplace({slice.first, slice.count}, next_);
    if (fresh) ++next_;
    return it->second;
  }

  void written(const Slice& slice) {
    auto& live = live_[static_cast<size_t>(slice.buffer)];
    for (auto it = live.begin(); it != live.end() && it->first.first < slice.first + slice.count;) {
      const bool overlaps = it->first.first + it->first.second > slice.first;
      it = overlaps ? live.erase(it) : std::next(it);
    }
  }

 private:
  std::array<std::map<std::pair<uint64_t, uint64_t>, uint32_t>, kBufferCount> live_;
  uint32_t next_ = 1;
};

// A share number is worth something only where two sends have it.
void drop_single_shares(Program* program) {
  std::map<uint32_t, uint32_t> uses;
  for (const Op& op : program->ops) ++uses[op.share];
  for (Op& op : program->ops) {
    if (uses[op.share] == 1) op.share = 0;
  }
}

// Two ranks that exchange exactly two messages each way, of which the second is the first one's
// reduction passed on unchanged: the two-shot between two ranks.
void find_answer(const Schedule& schedule, Program* program) {
  std::vector<uint32_t> sends;
  std::vector<uint32_t> receives;
  for (uint32_t i = 0; i < program->ops.size(); ++i) {
    const Step& step = schedule.steps[i];
    if (!step.is_message()) continue;
    std::vector<uint32_t>& list = step.sends() ? sends : receives;
    if (list.size() == 2 || step.peer != schedule.steps[sends.empty() ? i : sends.front()].peer) {
      return;
    }
    list.push_back(i);
  }
  if (sends.size() != 2 || receives.size() != 2) return;
  const Step& folded = schedule.steps[receives[0]];
  const Step& passed_on = schedule.steps[sends[1]];
  const std::span<const uint32_t> after = schedule.dependents_of(receives[0]);
  const bool answers = folded.verb == Verb::kRecvReduce && folded.into() == passed_on.from() &&
                       schedule.waits[sends[1]] == 1 &&
                       std::find(after.begin(), after.end(), sends[1]) != after.end();
  if (!answers) return;
  program->ops[receives[0]].answer = sends[1];
  // The peer's answer may come early where only the message that it answers holds its place.
  const Step& answered = schedule.steps[sends[0]];
  const Step& answer = schedule.steps[receives[1]];
  const std::span<const uint32_t> next = schedule.dependents_of(sends[0]);
  const bool vacant = schedule.waits[receives[1]] == 0 ||
                      (schedule.waits[receives[1]] == 1 &&
                       std::find(next.begin(), next.end(), receives[1]) != next.end());
  if (vacant && answer.verb == Verb::kRecv && answer.into_buffer != Buffer::kWide &&
      answer.count == answered.count && answer.lane == answered.lane) {
    program->ops[sends[0]].answer = receives[1];
  }
}

// The steps that a codec carries out.
class Codings {
 public:
  Codings(const Schedule& schedule, const Call& call, Rank size, Program* program)
      : schedule_(schedule), call_(call), size_(size), program_(*program) {}

  void sent_by(Rank peer, const Slice& code) { sender_of_[code.first] = peer; }

  uint32_t add(uint32_t index) {
    const Step& step = schedule_.steps[index];
    const Buffer elements = step.decodes() ? step.into_buffer : step.from_buffer;
    Coding c;
    c.verb = step.verb;
    c.is_float = elements == Buffer::kWide || call_.type == DataType::kFloat32;
    c.count = step.count;
    c.code_bytes = step.code_count;
    c.sum_bytes = step.sum_count;
    c.ranks = static_cast<uint32_t>(size_);
    if (step.has_residual()) add_encoding(index, &c);
    if (step.decodes() || step.merges()) {
      const auto sender = sender_of_.find(step.from_first);
      c.is_foreign = sender != sender_of_.end();
      if (c.is_foreign) c.from = sender->second;
    }
    if (step.verb == Verb::kPack || step.verb == Verb::kUnpack) {
      c.entries = packed_entries(*call_.codec, size_, step.count);
      GOSSAMER_CHECK(c.is_float || step.verb == Verb::kUnpack);
      if (step.verb == Verb::kPack) sender_of_.erase(step.into_first);
    }
    if (step.verb == Verb::kDecodeReduce) {
      GOSSAMER_CHECK(c.is_float);
      if (!schedule_.factors.empty()) c.factor = static_cast<float>(schedule_.factors[index].wire);
    }
    // An encoding may need it for its residual, whatever its elements are.
    if ((!c.is_float && !step.merges()) || step.has_residual()) {
      program_.staging_count = std::max(program_.staging_count, step.count);
    }
    program_.codings.push_back(c);
    return static_cast<uint32_t>(program_.codings.size() - 1);
  }

 private:
  // What encodes, or measures for an encoding.
  void add_encoding(uint32_t index, Coding* c) {
    const Step& step = schedule_.steps[index];
    c->element_first = schedule_.encodings[index].element_first;
    c->residual_first = schedule_.encodings[index].residual_first;
    if (step.verb != Verb::kMeasure) c->place = encodings_++;
    sender_of_.erase(step.into_first);
    program_.workspace_bytes =
        std::max(program_.workspace_bytes, call_.codec->workspace_bytes(step.count));
    if (step.verb == Verb::kEncode) return;
    program_.numbers_count =
        std::max(program_.numbers_count, call_.codec->sums()->agreed_count(step.count));
  }

  const Schedule& schedule_;
  const Call& call_;
  const Rank size_;
  Program& program_;
  std::map<uint64_t, Rank> sender_of_;  // of the code at a place
  uint32_t encodings_ = 0;
};

}  // namespace

Program lower(const Schedule& schedule, const Call& call, Rank size, std::span<const Rank> order) {
  Program p;
  p.kernels = kernels_for(call, size);
  pass_by_float(call, &p.kernels);
  const uint32_t element = p.kernels.element_bytes;
  p.scratch_bytes = schedule.scratch_count * element;
  p.wide_bytes = schedule.wide_count * sizeof(float);
  p.code_bytes = schedule.code_count;
  p.residual_count = schedule.residual_count;
  p.waits = schedule.waits;
  p.dependents = schedule.dependents;
  p.ops.resize(schedule.steps.size());

  Shares shares;
  Codings codings(schedule, call, size, &p);
  std::map<std::tuple<Rank, Lane, bool>, std::pair<uint32_t, uint32_t>> queues;  // index, last op
  for (uint32_t i = 0; i < p.ops.size(); ++i) {
    const Step& step = schedule.steps[i];
    Op& op = p.ops[i];
    op.verb = step.verb;
    op.from_buffer = step.from_buffer;
    op.into_buffer = step.into_buffer;
    op.lane = step.lane;
    op.peer =
        step.is_message() && !order.empty() ? order[static_cast<size_t>(step.peer)] : step.peer;
    op.count = step.count;
    op.from_offset = step.from_first * bytes_per_element(step.from_buffer, element);
    op.into_offset = step.into_first * bytes_per_element(step.into_buffer, element);
    op.wire_bytes = step.is_message() ? step.count * (step.is_coded() ? 1 : element) : 0;
    if (step.codes()) op.coding = codings.add(i);
    if (step.receives() && step.is_coded()) codings.sent_by(op.peer, step.into());
    op.dependents_begin = schedule.dependents_begin[i];
    op.dependents_end = schedule.dependents_begin[i + 1];
    if (p.waits[i] == 0) p.ready.push_back(i);
    if (!schedule.factors.empty() && schedule.factors[i] != Factors{} && !step.codes()) {
      op.weighted = static_cast<uint32_t>(p.weighted.size());
      p.weighted.push_back(weighted_of(step, schedule.factors[i], call.type));
    }
    if (step.sends()) {
      GOSSAMER_CHECK(step.from_buffer != Buffer::kWide);  // the wire carries the data type
      op.share = shares.of_send(step.from());
      ++p.messages_sent;
      p.bytes_sent += op.wire_bytes;
    }
    if (step.writes_into()) shares.written(step.into());
    if (!step.is_message()) continue;
    const auto next = static_cast<uint32_t>(p.queue_heads.size());
    const auto [it, fresh] =
        queues.try_emplace({step.peer, step.lane, step.sends()}, std::pair{next, i});
    if (fresh) {
      p.queue_heads.push_back(i);
    } else {
      p.ops[it->second.second].next_in_queue = i;
      it->second.second = i;
    }
    op.queue = it->second.first;
    p.peers.push_back(op.peer);
  }
  drop_single_shares(&p);
  p.whole_bytes = call.count * element * shares_of(call.collective, size);
  find_answer(schedule, &p);
  std::sort(p.peers.begin(), p.peers.end());
  p.peers.erase(std::unique(p.peers.begin(), p.peers.end()), p.peers.end());
  return p;
}

}  // namespace gossamer
